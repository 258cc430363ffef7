import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';

const run = promisify(execFile);
const missing =
  spawnSync('kubectl', ['version', '--client']).status !== 0 && 'kubectl is not installed (Debian: kubernetes-client)';

const MANIFEST = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {run: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
`;

describe('a session with kubectl against the server as a process', { skip: missing }, () => {
  let dir: string;
  let server: ChildProcess;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'standin-'));
    const main = new URL('./main.ts', import.meta.url).pathname;
    server = spawn(process.execPath, [main, '--dir', dir, '--node', 'n1', '--auto-bind', 'n1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    assert.ok(server.stdout);
    const [line] = await once(createInterface({ input: server.stdout }), 'line');
    assert.match(JSON.parse(line).url, /^https:\/\/127\.0\.0\.1:\d+$/);
    writeFileSync(join(dir, 'objects.yaml'), MANIFEST);
  });
  after(async () => {
    const ended = once(server, 'exit');
    server.kill('SIGTERM');
    await ended;
    rmSync(dir, { recursive: true });
  });
  const kubectlAs = async (who: string, ...args: string[]): Promise<string> => {
    const { stdout } = await run('kubectl', ['--kubeconfig', join(dir, `${who}.kubeconfig`), ...args], {
      env: { ...process.env, HOME: dir },
    });
    return stdout.trim();
  };
  const kubectl = (...args: string[]) => kubectlAs('admin', ...args);

  test('create, get, apply and delete what a file says', async () => {
    const file = join(dir, 'objects.yaml');
    assert.match(
      await kubectl('create', '--validate=false', '-f', file),
      /service\/web created\nconfigmap\/settings created/,
    );
    assert.equal(await kubectl('get', 'cm', 'settings', '-o', 'jsonpath={.data.colour}'), 'blue');
    writeFileSync(file, MANIFEST.replace('blue', 'green'));
    await kubectl('apply', '--validate=false', '-f', file);
    assert.equal(await kubectl('get', 'cm', 'settings', '-o', 'jsonpath={.data.colour}'), 'green');
    await kubectl('delete', '-f', file);
    await assert.rejects(kubectl('get', 'cm', 'settings'), /configmaps "settings" not found/);
  });

  test('run, describe, label, patch and delete a pod', async () => {
    await kubectl('run', 'web', '--image=busybox:1.35', '--restart=Never', '--', 'sleep', '60');
    const description = await kubectl('describe', 'pod', 'web');
    assert.match(description, /Node:\s+n1/);
    assert.match(description, /serviceaccount from kube-api-access-/);
    await kubectl('label', 'pod', 'web', 'a=b');
    await kubectl('patch', 'pod', 'web', '-p', '{"metadata":{"annotations":{"c":"d"}}}');
    assert.equal(
      await kubectl('get', 'pod', 'web', '-o', 'jsonpath={.metadata.labels.a}{.metadata.annotations.c}'),
      'bd',
    );
    await kubectl('delete', 'pod', 'web', '--force', '--grace-period=0');
    assert.equal(await kubectl('get', 'pods', '-o', 'name'), '');
  });

  test('watch configuration change and go', async () => {
    const arguments_ = [
      '--kubeconfig',
      join(dir, 'admin.kubeconfig'),
      'get',
      'cm',
      '-l',
      'w=1',
      '-w',
      '-o',
      'jsonpath={.type}{"\\n"}',
    ];
    const watching = spawn('kubectl', [...arguments_, '--output-watch-events'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const ended = once(watching, 'exit');
    try {
      const lines = createInterface({ input: watching.stdout })[Symbol.asyncIterator]();
      await kubectl('create', 'cm', 'watched');
      await kubectl('label', 'cm', 'watched', 'w=1');
      await kubectl('delete', 'cm', 'watched');
      const seen = [(await lines.next()).value, (await lines.next()).value];
      assert.deepEqual(seen, ['ADDED', 'DELETED']);
    } finally {
      watching.kill();
      await ended;
    }
  });

  test('the remedy for a node that may not see endpoints works', async () => {
    await assert.rejects(kubectlAs('n1', 'get', 'endpointslices', '-A'), /cannot list resource "endpointslices"/);
    await kubectl('create', 'clusterrolebinding', 'x', '--clusterrole=system:node-proxier', '--group=system:nodes');
    await kubectlAs('n1', 'get', 'endpointslices', '-A');
    assert.equal(await kubectl('auth', 'can-i', 'delete', 'nodes'), 'yes');
  });

  test('a namespace comes and goes', async () => {
    await kubectl('create', 'namespace', 'brief');
    await kubectl('create', 'secret', 'generic', 's', '-n', 'brief', '--from-literal=a=b');
    assert.equal(await kubectl('get', 'secret', 's', '-n', 'brief', '-o', 'jsonpath={.data.a}'), 'Yg==');
    await kubectl('delete', 'namespace', 'brief');
    await assert.rejects(kubectl('get', 'secret', 's', '-n', 'brief'), /not found/);
  });

  test('faults are switched on and off from outside, by the administrator only', async () => {
    const fault = join(dir, 'fault.json');
    writeFileSync(fault, JSON.stringify({ match: { verb: 'list', resource: 'nodes' }, action: '500', count: 1 }));
    await kubectl('create', '--raw', '/_faults', '-f', fault);
    await assert.rejects(kubectl('get', 'nodes'), /etcdserver: request timed out/);
    await kubectl('get', 'nodes');
    await assert.rejects(kubectlAs('n1', 'create', '--raw', '/_faults', '-f', fault), /Forbidden|forbidden|cannot/);
  });
});
