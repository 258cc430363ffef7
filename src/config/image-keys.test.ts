import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ConfigError, problemText } from './config-error.ts';
import { loadConfig } from './load-config.ts';
import { noOptions, type RunOptions } from './run-options.ts';

const folder = mkdtempSync(join(tmpdir(), 'keelson-image-keys-'));
after(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'config.yaml');

function refusals(keys: string, more: Partial<RunOptions> = {}): string[] {
  writeFileSync(file, `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${keys}`);
  try {
    loadConfig({ ...noOptions, podManifestPath: '/m', config: [file], ...more }, '/cwd');
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems.map((p) => problemText(p).replaceAll(`${file}:`, ''));
  }
  return [];
}

const allowlisted = 'imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages\n';
const pattern =
  'is not a whole image name without tag such as registry.example/team/app, or a prefix such as registry.example/team/*';

const cases: Record<string, { keys?: string; more?: Partial<RunOptions>; says: string[] }> = {
  'names and prefixes may be listed': {
    keys: `${allowlisted}preloadedImagesVerificationAllowlist: [registry.test/app, docker.io/library/*]\n`,
    says: [],
  },
  'a tag, a short name and an asterisk in the middle may not': {
    keys: `${allowlisted}preloadedImagesVerificationAllowlist: [registry.test/app:1, busybox, "r.test/*/app"]\n`,
    says: ['registry.test/app:1', 'busybox', 'r.test/*/app'].map(
      (name, i) => `4:${[40, 61, 70][i]}: preloadedImagesVerificationAllowlist[${i}]: "${name}" ${pattern}`,
    ),
  },
  'a list without its policy does nothing': {
    keys: 'preloadedImagesVerificationAllowlist: [registry.test/app]\n',
    says: [
      '3:1: preloadedImagesVerificationAllowlist: does nothing while imagePullCredentialsVerificationPolicy is NeverVerifyPreloadedImages (set imagePullCredentialsVerificationPolicy to NeverVerifyAllowlistedImages, or leave the list out)',
    ],
  },
  'providers need their programs': {
    more: { imageCredentialProviderConfig: 'providers.yaml' },
    says: [
      '--image-credential-provider-config: does nothing without --image-credential-provider-bin-dir (give --image-credential-provider-bin-dir too, or neither)',
    ],
  },
  'and programs their configuration': {
    more: { imageCredentialProviderBinDir: '/opt' },
    says: [
      '--image-credential-provider-bin-dir: does nothing without --image-credential-provider-config (give --image-credential-provider-config too, or neither)',
    ],
  },
  'a configuration that is not there is named': {
    more: { imageCredentialProviderConfig: 'providers.yaml', imageCredentialProviderBinDir: '/opt' },
    says: ['/cwd/providers.yaml: there is no such file (check --image-credential-provider-config)'],
  },
};

for (const [sentence, { keys = '', more = {}, says }] of Object.entries(cases)) {
  test(sentence, () => assert.deepEqual(refusals(keys, more), says));
}
