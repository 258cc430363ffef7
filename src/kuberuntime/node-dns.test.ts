import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { NodeDns } from './node-dns.ts';

const folder = mkdtempSync(join(tmpdir(), 'node-dns-'));
after(() => rmSync(folder, { recursive: true }));
const pod: Pod = { metadata: { name: 'p', namespace: 'ns' }, spec: { containers: [], dnsPolicy: 'Default' } };

function dnsOf(resolvConf: string) {
  const said: string[] = [];
  const dns = new NodeDns({
    resolvConf,
    clusterDNS: ['10.96.0.10'],
    clusterDomain: 'cluster.local',
    nodeIPs: () => ['192.0.2.2'],
    warnNode: ({ reason, message }) => said.push(`${reason}: ${message}`),
  });
  return { dns, said };
}

test("a pod gets what the host's file says at that moment", async () => {
  const path = join(folder, 'moving');
  const { dns } = dnsOf(path);
  writeFileSync(path, 'nameserver 10.0.0.1\n');
  assert.deepEqual((await dns.forPod(pod)).config, { servers: ['10.0.0.1'] });
  writeFileSync(path, 'nameserver 10.0.0.2\n');
  assert.deepEqual((await dns.forPod(pod)).config, { servers: ['10.0.0.2'] });
});

test('no file by choice resolves nothing', async () => {
  assert.deepEqual((await dnsOf('').dns.forPod(pod)).config, { servers: ['127.0.0.1'], searches: ['.'] });
});

test('a file that is not there keeps pods from starting, and the node says so', async () => {
  const path = join(folder, 'none');
  const { dns, said } = dnsOf(path);
  await assert.rejects(dns.forPod(pod), { message: `open ${path}: no such file or directory`, retryable: true });
  await dns.check();
  assert.deepEqual(said, [`CheckLimitsForResolvConf: open ${path}: no such file or directory`]);
});

test("limits of the host's file are said once for each of its versions", async () => {
  const path = join(folder, 'long');
  const { dns, said } = dnsOf(path);
  const text = `Resolv.conf file '${path}' contains search line consisting of more than 29 domains!`;
  writeFileSync(path, `search ${'a '.repeat(30)}\n`);
  await dns.check();
  await dns.forPod(pod);
  assert.deepEqual(said, [`CheckLimitsForResolvConf: ${text}`]);
  writeFileSync(path, `search ${'a '.repeat(31)}\n`);
  await dns.forPod(pod);
  assert.equal(said.length, 2);
});
