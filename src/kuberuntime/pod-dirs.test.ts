import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { PodDirs } from './pod-dirs.ts';

const uid = podUid('u1');
const pod: Pod = deepFreeze({
  metadata: { name: 'p', namespace: 'ns', uid },
  spec: { containers: [{ name: 'a', image: 'i' }] },
});
const container = deepFreeze({ name: 'a', image: 'i' });

let base = '';
let dirs: PodDirs;
const at = (path: string) => join(base, path);
const mode = (path: string) => statSync(at(path)).mode & 0o7777;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'pod-dirs-'));
  dirs = new PodDirs({ rootDir: at('root'), podLogsDir: at('log/pods'), clusterDomain: 'cluster.local' });
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

test('a pod gets its folders, again without harm', async () => {
  await dirs.create(uid, pod);
  await dirs.create(uid, pod);
  assert.deepEqual(readdirSync(at('root/pods/u1')).sort(), ['containers', 'plugins', 'volumes']);
  assert.deepEqual([mode('root/pods/u1/volumes'), mode('log/pods/ns_p_u1')], [0o750, 0o755]);
});

test('a folder that cannot be made is named', async () => {
  writeFileSync(at('root'), '');
  await assert.rejects(dirs.create(uid, pod), { code: 'WriteFailed', message: /root\/pods\/u1/ });
});

test("a pod's hosts name its addresses, and are written again when those change", async () => {
  await dirs.create(uid, pod);
  const path = await dirs.writeHosts(uid, pod, ['10.88.0.2']);
  assert.equal(path, at('root/pods/u1/etc-hosts'));
  assert.match(readFileSync(path, 'utf8'), /^10\.88\.0\.2\tp$/m);
  const { ino } = statSync(path);
  await dirs.writeHosts(uid, pod, ['10.88.0.2']);
  assert.equal(statSync(path).ino, ino, 'what is right is not touched: containers have this file mounted');
  await dirs.writeHosts(uid, pod, ['10.88.0.3']);
  assert.match(readFileSync(path, 'utf8'), /^10\.88\.0\.3\tp$/m);
  assert.equal(mode('root/pods/u1/etc-hosts'), 0o644);
});

test('whatever a container has made of its hosts is written over, and not read first', async () => {
  await dirs.create(uid, pod);
  const path = await dirs.writeHosts(uid, pod, ['10.88.0.2']);
  const text = readFileSync(path, 'utf8');
  // Takes no space, and is more than a string can hold.
  truncateSync(path, 2 ** 30);
  await dirs.writeHosts(uid, pod, ['10.88.0.2']);
  assert.equal(readFileSync(path, 'utf8'), text);
  writeFileSync(path, text.replace('10.88.0.2', '10.88.0.9'));
  await dirs.writeHosts(uid, pod, ['10.88.0.2']);
  assert.equal(readFileSync(path, 'utf8'), text);
});

test('hosts are written over where they are: containers have the very file mounted', async () => {
  await dirs.create(uid, pod);
  const path = await dirs.writeHosts(uid, pod, ['10.88.0.2', 'fd00::2']);
  const { ino } = statSync(path);
  writeFileSync(path, `${'# by a container\n'.repeat(100)}`);
  await dirs.writeHosts(uid, pod, ['10.88.0.3']);
  assert.equal(statSync(path).ino, ino);
  const text = readFileSync(path, 'utf8');
  assert.match(text, /^# Kubernetes-managed hosts file\.\n/);
  assert.match(text, /\n10\.88\.0\.3\tp\n$/);
});

/** What lies in a container's log folder, and the attempt that comes next. */
const attempts: Record<string, { logs: string[]; expect: number }> = {
  'nothing yet': { logs: [], expect: 0 },
  'one log': { logs: ['0.log'], expect: 1 },
  'a gap does not matter': { logs: ['5.log', '23.log'], expect: 24 },
  'rotated logs count': { logs: ['6.log', '7.log.20260101-000000.gz'], expect: 8 },
  'files of others do not': { logs: ['x9.log', '-9.log', '9a.log', '12', '3.log', '99999999999.log'], expect: 4 },
};

for (const [sentence, { logs, expect }] of Object.entries(attempts)) {
  test(`the next attempt by the logs: ${sentence}`, async () => {
    await dirs.create(uid, pod);
    if (logs.length > 0) mkdirSync(at('log/pods/ns_p_u1/a'));
    for (const name of logs) writeFileSync(at(`log/pods/ns_p_u1/a/${name}`), '');
    assert.equal(await dirs.nextAttempt(pod, 'a'), expect);
  });
}

test('a subdomain makes a full name', async () => {
  await dirs.create(uid, pod);
  const inDomain = { ...pod, spec: { ...pod.spec, hostname: 'h', subdomain: 'sub' } };
  const path = await dirs.writeHosts(uid, inDomain, ['10.88.0.2']);
  assert.match(readFileSync(path, 'utf8'), /^10\.88\.0\.2\th\.sub\.ns\.svc\.cluster\.local\th$/m);
});

test("a pod in the host's network gets the host's own file too", async () => {
  await dirs.create(uid, pod);
  const path = await dirs.writeHosts(uid, { ...pod, spec: { ...pod.spec, hostNetwork: true } }, ['192.0.2.2']);
  assert.ok(readFileSync(path, 'utf8').includes(readFileSync('/etc/hosts', 'utf8').trimEnd()));
});

test('a termination log is empty and may be written by any user', async () => {
  await dirs.create(uid, pod);
  const path = await dirs.createTerminationLog(uid, container, 0);
  assert.equal(dirname(path), at('root/pods/u1/containers/a'));
  assert.deepEqual([statSync(path).size, statSync(path).mode & 0o777], [0, 0o666]);
  writeFileSync(path, 'last words of a start that failed');
  assert.equal(statSync(await dirs.createTerminationLog(uid, container, 0)).size, 0);
});

test('termination logs of the two attempts before are kept, older ones go', async () => {
  await dirs.create(uid, pod);
  for (let attempt = 0; attempt <= 17; attempt++) await dirs.createTerminationLog(uid, container, attempt);
  assert.deepEqual(readdirSync(at('root/pods/u1/containers/a')).sort(), ['0000000f', '00000010', '00000011']);
});

test('a log has a link by the names of pod and container', async () => {
  await dirs.linkLog(pod, 'a', 'id1', 2);
  await dirs.linkLog(pod, 'a', 'id1', 2);
  assert.equal(readlinkSync(at('log/containers/p_ns_a-id1.log')), at('log/pods/ns_p_u1/a/2.log'));
});

test("removing a container's log leaves those of the others", async () => {
  await dirs.create(uid, pod);
  mkdirSync(at('log/pods/ns_p_u1/a'));
  for (const attempt of [0, 1]) {
    await dirs.linkLog(pod, 'a', `id${attempt}`, attempt);
    writeFileSync(at(`log/pods/ns_p_u1/a/${attempt}.log`), '');
  }
  for (const rotated of ['0.log.20060102-150405.gz', '0.log.20060102-150406', '10.log']) {
    writeFileSync(at(`log/pods/ns_p_u1/a/${rotated}`), '');
  }
  await dirs.removeLog(pod, 'a', 'id0', 0);
  assert.deepEqual(readdirSync(at('log/containers')), ['p_ns_a-id1.log']);
  assert.deepEqual(readdirSync(at('log/pods/ns_p_u1/a')).sort(), ['1.log', '10.log']);
});

test('removing what is not there is no error', async () => {
  await dirs.removeLog(pod, 'a', 'id0', 0);
  await dirs.unlinkLogs('p', 'ns', new Map([['id0', 'a']]));
  await dirs.removeLogs(uid, 'p', 'ns');
});

test('the logs of a pod go with it, those of its namesakes stay', async () => {
  await dirs.create(uid, pod);
  await dirs.create(podUid('u2'), { ...pod, metadata: { ...pod.metadata, uid: 'u2' } });
  await dirs.removeLogs(uid, 'p', 'ns');
  assert.deepEqual([existsSync(at('log/pods/ns_p_u1')), existsSync(at('log/pods/ns_p_u2'))], [false, true]);
});
