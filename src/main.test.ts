import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const main = fileURLToPath(new URL('main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'keelson-main-'));
after(() => rmSync(folder, { recursive: true }));

function keelson(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], { cwd: folder }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

test('check says what is wrong and exits with 1, and with 0 when all is well', async () => {
  writeFileSync(join(folder, 'bad.yaml'), 'apiVersion: keelson.io/v1alpha1\nkind: KeelsonConfiguration\nnetwrok: {}\n');
  writeFileSync(join(folder, 'good.yaml'), 'apiVersion: keelson.io/v1alpha1\nkind: KeelsonConfiguration\n');
  assert.deepEqual(await keelson('check', '--config', 'bad.yaml'), {
    code: 1,
    stdout: '',
    stderr: 'bad.yaml:3:1: netwrok: no such key (did you mean network?)\n',
  });
  assert.deepEqual(await keelson('check', '--config=good.yaml'), { code: 0, stdout: 'good.yaml: good\n', stderr: '' });
});

test('a run with a refused configuration ends with 1 and says why', async () => {
  const { code, stderr } = await keelson('run', '--node-ip=nowhere');
  assert.equal(code, 1);
  assert.match(stderr, /^keelson: --node-ip: "nowhere" is not an IP address\n {2}correct what is named above/);
});

test('a plan of files needs no daemon: on stdout what would be programmed, on stderr what is left out', async () => {
  const object = (kind: string) => `apiVersion: v1\nkind: ${kind}\nmetadata: {name: web}\n`;
  const good = `${object('Service')}spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}\n`;
  writeFileSync(join(folder, 'web.yaml'), good);
  writeFileSync(join(folder, 'half.yaml'), `${good}---\n${object('Servce')}`);
  const whole = await keelson('svc', 'plan', '-f', 'web.yaml', '--mode', 'iptables');
  assert.deepEqual([whole.code, whole.stderr], [0, '']);
  assert.match(whole.stdout, /^# iptables, IPv4\n\*\w+\n/);
  assert.match(whole.stdout, /\n-I KUBE-SERVICES -d 10\.96\.0\.10\/32 .* -j REJECT/);
  const half = await keelson('svc', 'plan', '-f', 'half.yaml', '--mode=iptables');
  assert.deepEqual(half, {
    ...{ code: 1, stdout: whole.stdout },
    stderr: 'half.yaml:6:1: document 2: kind "Servce" is not known (did you mean Service?)\n',
  });
});

test('what is longer than a pipe holds is printed to its end', async () => {
  const items = Array.from({ length: 20_000 }, (_, i) => ({
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: `s${i}` } },
    spec: { clusterIP: `10.96.${i >> 8}.${i & 255}`, ports: [{ port: 80 }] },
  }));
  writeFileSync(join(folder, 'many.json'), JSON.stringify({ kind: 'List', items }));
  // A shell's pipe: what Node gives its children is a socket, which takes more.
  const args = ['-c', '"$0" "$@" | cat', process.execPath, main, 'svc', 'plan', '-f', join(folder, 'many.json')];
  const { stdout } = await promisify(execFile)('sh', args);
  assert.match(stdout, /^# nftables, IPv4\n/);
  assert.match(stdout, /10\.96\.78\.31 \. tcp \. 80 : goto refuse \}\n$/);
  assert.ok(stdout.length > 10 * 65_536);
});

test('version and help are no failures, an unknown command is', async () => {
  const version = await keelson('version');
  assert.equal(version.code, 0);
  assert.match(version.stdout, /^keelson \d+\.\d+\.\d+ \(Node\.js v24\./);
  assert.equal((await keelson('--help')).code, 0);
  assert.equal((await keelson('frobnicate')).code, 1);
});
