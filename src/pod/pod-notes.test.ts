import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { podUid } from '../api/ids.ts';
import { silentLog } from '../lib/log.ts';
import { PodNotes } from './pod-notes.ts';

const uid = podUid('u1');

function folder() {
  const rootDir = mkdtempSync(join(tmpdir(), 'notes-'));
  mkdirSync(join(rootDir, 'pods', uid), { recursive: true });
  return { rootDir, [Symbol.dispose]: () => rmSync(rootDir, { recursive: true }) };
}

test('what was noted is there after a restart', async () => {
  using dir = folder();
  const before = new PodNotes({ ...dir, log: silentLog });
  before.note(uid, { allocated: { c: { requests: { cpu: '1' } } } });
  before.note(uid, { postStartDone: ['id'] });
  await before.flush(uid);
  const after = new PodNotes({ ...dir, log: silentLog });
  await after.load();
  assert.deepEqual(after.get(uid), { allocated: { c: { requests: { cpu: '1' } } }, postStartDone: ['id'] });
});

test('rubbish in one file costs only that pod its notes', async () => {
  using dir = folder();
  mkdirSync(join(dir.rootDir, 'pods', 'u2'));
  writeFileSync(join(dir.rootDir, 'pods', uid, 'keelson-notes.json'), '\0\0');
  writeFileSync(join(dir.rootDir, 'pods', 'u2', 'keelson-notes.json'), '{"postStartDone":["x"]}');
  const notes = new PodNotes({ ...dir, log: silentLog });
  await notes.load();
  assert.deepEqual(notes.get(uid), {});
  assert.deepEqual(notes.get(podUid('u2')), { postStartDone: ['x'] });
});

test('a pod without a folder is remembered in memory, and written when there is one', async () => {
  using dir = folder();
  const late = podUid('late');
  const notes = new PodNotes({ ...dir, log: silentLog });
  notes.note(late, { postStartDone: ['a'] });
  await notes.flush(late);
  assert.deepEqual(notes.get(late), { postStartDone: ['a'] });
  mkdirSync(join(dir.rootDir, 'pods', late));
  notes.note(late, {});
  await notes.flush(late);
  const text = readFileSync(join(dir.rootDir, 'pods', late, 'keelson-notes.json'), 'utf8');
  assert.deepEqual(JSON.parse(text), { postStartDone: ['a'] });
});

test('a node without any pod folder has no notes', async () => {
  using dir = folder();
  rmSync(join(dir.rootDir, 'pods'), { recursive: true });
  await new PodNotes({ ...dir, log: silentLog }).load();
});
