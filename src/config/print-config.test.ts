import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { readTable } from './keys.ts';
import { kubeletKeys } from './kubelet-keys.ts';
import { printKubeletConfig } from './print-config.ts';

const golden = JSON.parse(readFileSync(new URL('../../test/golden/node/configz.json', import.meta.url), 'utf8'));

test('a configuration is written as it was read, like upstream', () => {
  const { kind: _, apiVersion: __, ...document } = golden.kubeletconfig;
  const faults: unknown[] = [];
  const { values } = readTable(kubeletKeys, document, (fault) => faults.push(fault));
  assert.deepEqual(faults, []);
  const printed = printKubeletConfig(values);
  assert.deepEqual(Object.keys(printed), Object.keys(golden.kubeletconfig));
  assert.deepEqual(printed, golden.kubeletconfig);
});
