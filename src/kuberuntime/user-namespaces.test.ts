import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { RuntimeHandler } from '../api/cri.ts';
import { NamespaceMode } from '../api/cri.ts';
import { podUid } from '../api/ids.ts';
import { silentLog } from '../lib/log.ts';
import { type IdRange, parseSubordinateIds, UserNamespaces, userNamespaceRefusal } from './user-namespaces.ts';

const block = 65_536;

/** A root folder with those of some pods, and ranges handed out in it. */
function ids(range?: IdRange, maxPods = 3) {
  const rootDir = mkdtempSync(join(tmpdir(), 'userns-'));
  for (const uid of ['a', 'b', 'c', 'd']) mkdirSync(join(rootDir, 'pods', uid), { recursive: true });
  const open = () =>
    new UserNamespaces({ rootDir, idsPerPod: block, maxPods, subordinate: async () => range, log: silentLog });
  const file = (uid: string) => join(rootDir, 'pods', uid, 'userns');
  const remove = () => rmSync(rootDir, { recursive: true });
  return { open, file, [Symbol.dispose]: remove };
}
const firstOf = async (users: UserNamespaces, uid: string) => (await users.take(podUid(uid))).uids?.[0]?.hostId;

test('each pod gets ids of its own, from above those of the host', async () => {
  using given = ids();
  const users = given.open();
  const mapping = [{ hostId: block, containerId: 0, length: block }];
  assert.deepEqual(await users.take(podUid('a')), { mode: NamespaceMode.POD, uids: mapping, gids: mapping });
  assert.deepEqual(await Promise.all(['b', 'c', 'a'].map((uid) => firstOf(users, uid))), [2 * block, 3 * block, block]);
});

test("a pod's ids are kept in its folder, in upstream's form", async () => {
  using given = ids();
  await given.open().take(podUid('a'));
  const mapping = [{ hostId: block, containerId: 0, length: block }];
  assert.deepEqual(JSON.parse(readFileSync(given.file('a'), 'utf8')), { uidMappings: mapping, gidMappings: mapping });
});

test('a restart finds them there, and gives them to nobody else', async () => {
  using given = ids();
  const before = given.open();
  await firstOf(before, 'a');
  await firstOf(before, 'b');
  const after = given.open();
  assert.equal(await firstOf(after, 'c'), 3 * block);
  assert.equal(await firstOf(after, 'b'), 2 * block);
});

test('what is given back is the last to be given again', async () => {
  using given = ids({ first: 2 * block, length: 3 * block });
  const users = given.open();
  await firstOf(users, 'a');
  await users.release(podUid('a'));
  assert.equal(existsSync(given.file('a')), false);
  const next = [await firstOf(users, 'b'), await firstOf(users, 'c'), await firstOf(users, 'd')];
  assert.deepEqual(next, [3 * block, 4 * block, 2 * block]);
});

test('nobody shares: when all are given the next pod is refused', async () => {
  using given = ids({ first: block, length: block }, 1);
  const users = given.open();
  await firstOf(users, 'a');
  await assert.rejects(users.take(podUid('b')), {
    message: 'could not find an empty slot to allocate a user namespace',
  });
});

test('a file that says something else is not taken for a range', async () => {
  using given = ids();
  writeFileSync(given.file('b'), '{"uidMappings":[{"hostId":7,"containerId":0,"length":1}]}');
  assert.equal(await firstOf(given.open(), 'a'), block);
});

test('a range that could not be written is free again', async () => {
  using given = ids();
  const users = given.open();
  await assert.rejects(users.take(podUid('no-folder')));
  assert.equal(await firstOf(users, 'a'), 2 * block);
});

const badRanges: Record<string, { range: IdRange; message: RegExp }> = {
  'begins in the middle of a block': { range: { first: block + 1, length: 8 * block }, message: /is not a multiple/ },
  'begins with the ids of the host': { range: { first: 0, length: 8 * block }, message: /must be greater or equal/ },
  'ends in the middle of a block': {
    range: { first: block, length: 8 * block + 1 },
    message: /length .* not a multiple/,
  },
  'is too small for all pods': { range: { first: block, length: 2 * block }, message: /not enough to support 3 pods/ },
};
for (const [sentence, { range, message }] of Object.entries(badRanges)) {
  test(`a range is refused that ${sentence}`, async () => {
    using given = ids(range);
    await assert.rejects(given.open().take(podUid('a')), message);
  });
}

const line = `kubelet:${block}:${2 * block}`;
const subordinate: Record<string, { subuid: string; subgid: string; expect: IdRange | 'mismatched' | undefined }> = {
  'nothing for the user': { subuid: 'me:100000:65536\n', subgid: '', expect: undefined },
  'the same line in both': {
    subuid: `me:1:1\n${line}\n`,
    subgid: `${line}\n`,
    expect: { first: block, length: 2 * block },
  },
  'a line in one': { subuid: line, subgid: '', expect: 'mismatched' },
  'a line in the other': { subuid: '', subgid: line, expect: 'mismatched' },
  'two lines': { subuid: `${line}\n${line}`, subgid: line, expect: 'mismatched' },
  'no numbers': { subuid: 'kubelet:a:b', subgid: 'kubelet:a:b', expect: 'mismatched' },
};
for (const [sentence, { subuid, subgid, expect }] of Object.entries(subordinate)) {
  test(`/etc/subuid and /etc/subgid: ${sentence}`, () => {
    if (expect === 'mismatched') assert.throws(() => parseSubordinateIds(subuid, subgid), /mismatched/);
    else assert.deepEqual(parseSubordinateIds(subuid, subgid), expect);
  });
}

test('users of its own need a handler that has them', () => {
  const handlers: RuntimeHandler[] = [
    { name: '', features: { userNamespaces: true } },
    { name: 'old', features: { userNamespaces: false } },
  ];
  assert.equal(userNamespaceRefusal('', handlers), undefined);
  assert.equal(userNamespaceRefusal('old', handlers), 'RuntimeClass handler "old" does not support user namespaces');
  assert.equal(userNamespaceRefusal('other', handlers), 'the handler "other" is not known');
  assert.equal(userNamespaceRefusal('', []), 'the handler "" is not known');
});
