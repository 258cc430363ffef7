import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { NodeDockerConfig } from './node-docker-config.ts';

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

function setUp(files: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(join(tmpdir(), 'node-docker-'));
  folders.push(folder);
  const write = (name: string, text: string) => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  };
  for (const [name, text] of Object.entries(files)) write(name, text);
  const clock = new FakeClock();
  const at = (name: string) => join(folder, name);
  return {
    ...{ clock, write },
    node: new NodeDockerConfig({ rootDir: at('root'), workingDir: at('work'), homeDir: at('home'), clock }),
  };
}

const modern = (name: string) => JSON.stringify({ auths: { [name]: {} } });
const old = (name: string) => JSON.stringify({ [name]: {} });

const cases: Record<string, { files: Record<string, string>; finds: string[] }> = {
  'the root directory comes first': {
    files: {
      'root/config.json': modern('r'),
      'work/config.json': modern('w'),
      'home/.docker/config.json': modern('h'),
    },
    finds: ['r'],
  },
  'then the working directory': {
    files: { 'work/config.json': modern('w'), 'home/.docker/config.json': modern('h') },
    finds: ['w'],
  },
  "then the user's own": { files: { 'home/.docker/config.json': modern('h') }, finds: ['h'] },
  'the older form counts last': {
    files: { 'root/.dockercfg': old('o'), 'home/.docker/config.json': modern('h') },
    finds: ['h'],
  },
  'but it counts': { files: { 'home/.dockercfg': old('o') }, finds: ['o'] },
  'what cannot be read is passed over': {
    files: { 'root/config.json': '{', 'work/config.json': '[]', 'root/.dockercfg': old('o') },
    finds: ['o'],
  },
  'nothing is nothing': { files: {}, finds: [] },
};

for (const [sentence, { files, finds }] of Object.entries(cases)) {
  test(sentence, async () => assert.deepEqual(Object.keys(await setUp(files).node.current()), finds));
}

test('a change is seen within five minutes', async () => {
  const o = setUp({ 'root/config.json': modern('before') });
  await o.node.current();
  o.write('root/config.json', modern('after'));
  await o.clock.advance(299_999);
  assert.deepEqual(Object.keys(await o.node.current()), ['before']);
  await o.clock.advance(1);
  assert.deepEqual(Object.keys(await o.node.current()), ['after']);
});
