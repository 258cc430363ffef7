import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AdminPodList } from '../src/admin/admin-api.ts';
import type { Pod, PodCondition } from '../src/api/core-v1.ts';
import { Cluster } from './host/cluster.ts';
import { BUSYBOX_IMAGE } from './images/images.ts';

/** Pods that are stuck, each in another step: what they wait for is said in their conditions and by `keelson get pods`. */

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const shell = (script: string) => ({ name: 'c', image: BUSYBOX_IMAGE, command: ['sh', '-c', script] });
const forever = 'trap "exit 0" TERM; while :; do sleep 1; done';

interface Stuck {
  readonly spec: Partial<Pod['spec']>;
  readonly step: string;
  readonly says: RegExp;
  /** The condition that carries the sentence, and what upstream says in it. */
  readonly condition: string;
  readonly upstream: string;
}

const unready = 'containers with unready status: [c]';
const stuck: Record<string, Stuck> = {
  'a-volume': {
    spec: {
      containers: [{ ...shell(forever), volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
      volumes: [{ name: 'v', configMap: { name: 'nowhere' } }],
    },
    step: 'volumes',
    says: /MountVolume.SetUp failed for volume "v" : configmap "nowhere" not found/,
    condition: 'Ready',
    upstream: unready,
  },
  'an-image': {
    spec: { containers: [{ ...shell(forever), image: '127.0.0.1:1/nothing:1' }] },
    step: 'start',
    says: /container c waits, (ErrImagePull|ImagePullBackOff): .*127.0.0.1:1\/nothing:1/,
    condition: 'ContainersReady',
    upstream: unready,
  },
  'an-init': {
    spec: { initContainers: [{ ...shell(forever), name: 'first' }], containers: [shell(forever)] },
    step: 'init',
    says: /init container first \(1 of 1\) runs/,
    condition: 'Ready',
    upstream: unready,
  },
  'a-probe': {
    spec: {
      containers: [
        {
          ...shell(forever),
          readinessProbe: { exec: { command: ['sh', '-c', 'echo not yet; exit 1'] }, periodSeconds: 1 },
        },
      ],
    },
    step: 'readiness',
    says: /the readiness probe of container c fails: not yet/,
    condition: 'Ready',
    upstream: unready,
  },
  'a-loop': {
    spec: { restartPolicy: 'Always', containers: [shell('exit 3')] },
    step: 'back-off',
    // The second back-off: long enough that nothing is tried again while we look.
    says: /container c waits, CrashLoopBackOff: back-off 20s .*; it ended with exit code 3 \(Error\)/,
    condition: 'Ready',
    upstream: unready,
  },
  'a-gate': {
    spec: { readinessGates: [{ conditionType: 'lb/open' }], containers: [shell(forever)] },
    step: 'gates',
    says: /waits for the readiness gate "lb\/open"/,
    condition: 'Ready',
    upstream: 'corresponding condition of pod readiness gate "lb/open" does not exist.',
  },
};

let cluster: Cluster;
const keelson = (...args: readonly string[]) => cluster.host.exec(process.execPath, [main, ...args]);

before(async () => {
  cluster = await Cluster.create('why');
});
after(() => cluster[Symbol.asyncDispose]());

test('without a daemon the commands say so, and where they asked', async () => {
  await assert.rejects(
    keelson('get', 'pods'),
    /keelson is not running here: no answer at \/run\/keelson\/admin.sock\n.*systemctl status keelson/,
  );
});

test('each pod says what it waits for', async () => {
  await cluster.startKeelson();
  for (const [name, { spec }] of Object.entries(stuck)) cluster.createPod(name, spec);
  for (const [name, { condition, upstream, says }] of Object.entries(stuck)) {
    const message = (conditions: readonly PodCondition[] = []) =>
      conditions.find((c) => c.type === condition)?.message ?? '';
    const pod = await cluster.whenPod(name, (status) => says.test(message(status.conditions)));
    const text = message(pod.status?.conditions);
    assert.ok(text.startsWith(`${upstream}; `), `${name}: ${text}`);
    assert.match(text, /, since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  }

  const { items }: AdminPodList = JSON.parse(await keelson('get', 'pods', '-o', 'json'));
  const lines = (await keelson('get', 'pods')).split('\n');
  assert.match(lines[0] ?? '', /^NAME +READY +STATUS +RESTARTS +AGE +WHY$/);
  for (const [name, { step, says }] of Object.entries(stuck)) {
    assert.equal(items.find((p) => p.name === name)?.why?.step, step, name);
    const line = lines.find((l) => l.startsWith(`${name} `)) ?? '';
    assert.match(line, says);
    assert.match(line, /, for \d+[ms]/);
  }
});

test('why shows the containers and the last answers of their probes', async () => {
  const text = await keelson('why', 'default/a-probe');
  assert.match(text, /^default\/a-probe: Running\n {2}the readiness probe of container c fails: not yet, for /);
  assert.match(
    text,
    /\n {2}c +regular +running for \d+\w+ +readiness: failure for \d+\w+ \(failure \d+s ago: not yet\)\n/,
  );
  await assert.rejects(keelson('why', 'nobody'), /there is no pod nobody on this node/);
});

test('what was waited for comes, and there is nothing left to say', async () => {
  cluster.api.create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'nowhere', namespace: 'default' },
    data: { a: 'b' },
  });
  const pod = await cluster.whenPodReady('a-volume');
  assert.ok(pod.status?.conditions?.every((c) => !c.message));
  const { items }: AdminPodList = JSON.parse(await keelson('get', 'pods', 'a-volume', '-o', 'json'));
  assert.deepEqual([items[0]?.isReady, items[0]?.why], [true, undefined]);
});
