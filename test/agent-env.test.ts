import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Pod } from '../src/api/core-v1.ts';
import type { DraftObject } from './apiserver/objects.ts';
import { Cluster, containerOf } from './host/cluster.ts';
import { BUSYBOX_IMAGE } from './images/images.ts';

/** What containers are started with, seen from inside them, on a real containerd. */

const trap = 'trap "exit 0" TERM; while :; do sleep 1; done';
const signal = AbortSignal.timeout(600_000);

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('env');
});
after(() => cluster[Symbol.asyncDispose]());

const container = (script: string, name = 'c') => ({ name, image: BUSYBOX_IMAGE, command: ['sh', '-c', script] });
const create = (kind: string, name: string, more: object) =>
  cluster.api.create({ apiVersion: 'v1', kind, metadata: { name, namespace: 'default' }, ...more } as DraftObject);

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** The container's output as soon as it has said `done`, without that. */
async function output(pod: string, attempt = 0): Promise<string> {
  const uid = cluster.pod(pod)?.metadata.uid;
  const file = `/var/log/pods/default_${pod}_${uid}/c/${attempt}.log`;
  const script = 'until grep -q " F done" "$0"; do sleep 0.05; done; cat "$0"';
  const text = await cluster.host.exec('sh', ['-c', script, file], { timeoutMs: 30_000 });
  return text.replaceAll(/^\S+ (stdout|stderr) F /gm, '').replace(/^done\r?\n/m, '');
}

const terminated = (pod: Pod, name = 'c') => containerOf(pod, name)?.state?.terminated;

test('variables come from the pod, its node, objects, files, resources and Services', async () => {
  create('ConfigMap', 'cm', { data: { color: 'blue', 'odd.key-x': 'odd' } });
  create('Secret', 'sec', { data: { password: base64('s3cret') } });
  create('Service', 'websvc', {
    spec: { clusterIP: '10.96.7.9', clusterIPs: ['10.96.7.9'], ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
  });
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  cluster.createPod(
    'seen',
    {
      volumes: [{ name: 'work', emptyDir: {} }],
      initContainers: [
        {
          ...container(`printf "# made\\nFROM_FILE='line one\\nline two'\\n" > /work/app.env`, 'first'),
          volumeMounts: [{ name: 'work', mountPath: '/work' }],
        },
      ],
      containers: [
        {
          ...container(`tr "\\n\\0" "|\\n" < /proc/1/environ; echo done; ${trap}`),
          resources: { requests: { cpu: '10m' }, limits: { memory: '64Mi' } },
          envFrom: [
            { prefix: 'P_', configMapRef: { name: 'cm' } },
            { secretRef: { name: 'sec' } },
            { configMapRef: { name: 'absent', optional: true } },
          ],
          env: [
            { name: 'A', value: '1' },
            { name: 'B', value: '$(A)-$(NOPE)-$$(A)-$(P_color)' },
            field('POD', 'metadata.name'),
            field('LABEL', "metadata.labels['app']"),
            field('IP', 'status.podIP'),
            field('IPS', 'status.podIPs'),
            field('HOST', 'status.hostIP'),
            field('NODE', 'spec.nodeName'),
            { name: 'MI', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
            { name: 'CPUS', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
            { name: 'CM', valueFrom: { configMapKeyRef: { name: 'cm', key: 'color' } } },
            { name: 'OPT', valueFrom: { secretKeyRef: { name: 'nope', key: 'k', optional: true } } },
            { name: 'FILE', valueFrom: { fileKeyRef: { volumeName: 'work', path: 'app.env', key: 'FROM_FILE' } } },
          ],
        },
      ],
    },
    { labels: { app: 'web' } },
  );
  const pod = await cluster.whenPodReady('seen');
  const env = new Map<string, string>();
  for (const [, name = '', value = ''] of (await output('seen')).matchAll(/^(\w[\w.-]*)=(.*)$/gm)) env.set(name, value);
  const ip = pod.status?.podIP;
  const cpus = await cluster.host.exec('nproc', []);
  const expected: Record<string, string | undefined> = {
    ...{ A: '1', B: '1-$(NOPE)-$(A)-blue', POD: 'seen', LABEL: 'web', IP: ip, IPS: ip, NODE: 'node-a' },
    ...{ HOST: cluster.host.nodeIp, MI: '64', CPUS: cpus.trim(), CM: 'blue', OPT: undefined },
    ...{ FILE: 'line one|line two', P_color: 'blue', 'P_odd.key-x': 'odd', password: 's3cret' },
    ...{ WEBSVC_SERVICE_HOST: '10.96.7.9', WEBSVC_PORT_80_TCP: 'tcp://10.96.7.9:80' },
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(env.get(name), value, name);
});

test('a pod whose variables need a ConfigMap that is missing says so, and starts when it appears', async () => {
  const env = [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'late', key: 'a' } } }];
  cluster.createPod('waits', { containers: [{ ...container(`echo "A=$A"; echo done; ${trap}`), env }] });
  const waiting = await cluster.whenPod(
    'waits',
    (s) => s.containerStatuses?.[0]?.state?.waiting?.message !== undefined,
  );
  assert.deepEqual(containerOf(waiting, 'c')?.state?.waiting, {
    reason: 'CreateContainerConfigError',
    message: 'configmap "late" not found',
  });
  assert.equal((await cluster.whenEvent('waits', 'Failed')).message, 'Error: configmap "late" not found');
  create('ConfigMap', 'late', { data: { b: '2' } });
  await cluster.whenPod(
    'waits',
    (s) => s.containerStatuses?.[0]?.state?.waiting?.message === "couldn't find key a in ConfigMap default/late",
  );
  await cluster.kubectl('patch', 'configmap', 'late', '--type=merge', '-p', '{"data":{"a":"1"}}');
  await cluster.whenPodReady('waits');
  assert.equal(await output('waits'), 'A=1\n');
});

test('parts of volumes are mounted by name and by expression, and are the volume', async () => {
  const env = [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }];
  const volumeMounts = [
    { name: 'work', mountPath: '/whole' },
    { name: 'work', mountPath: '/part', subPath: 'a/b' },
    { name: 'work', mountPath: '/own', subPathExpr: 'logs/$(POD)' },
    { name: 'cm', mountPath: '/etc/color', subPath: 'color' },
  ];
  const script = 'echo x > /part/x; echo y > /own/y; cat /whole/a/b/x /whole/logs/parts/y /etc/color; echo; echo done';
  cluster.createPod('parts', {
    volumes: [
      { name: 'work', emptyDir: {} },
      { name: 'cm', configMap: { name: 'cm' } },
    ],
    containers: [{ ...container(`${script}; ${trap}`), env, volumeMounts }],
  });
  await cluster.whenPodReady('parts');
  assert.equal(await output('parts'), 'x\ny\nblue\n');
  await cluster.kubectl('delete', 'pod', 'parts', '--wait=false');
  await cluster.whenPodGone('parts');
});

test('last words are read from the file or the log, and share the room', async () => {
  const fallback = { terminationMessagePolicy: 'FallbackToLogsOnError' as const };
  cluster.createPod('words', {
    restartPolicy: 'Never',
    containers: [
      container('echo done well > /dev/termination-log', 'file'),
      { ...container('echo elsewhere > /tmp/last; exit 1', 'path'), terminationMessagePath: '/tmp/last' },
      { ...container('echo out; echo err >&2; exit 1', 'log'), ...fallback },
      { ...container('echo out; exit 0', 'success'), ...fallback },
      container('head -c 10000 /dev/zero | tr "\\0" a > /dev/termination-log', 'long'),
    ],
  });
  const pod = await cluster.whenPod('words', (s) => s.phase === 'Failed');
  const words = ['file', 'path', 'success'].map((name) => terminated(pod, name)?.message);
  assert.deepEqual(words, ['done well\n', 'elsewhere\n', undefined]);
  assert.deepEqual(terminated(pod, 'log')?.message?.split('\n').sort(), ['', 'err', 'out']);
  assert.equal(terminated(pod, 'long')?.message, 'a'.repeat(Math.floor((12 * 1024) / 5)));
});

test('a container has a terminal and an input where it asks for them', async () => {
  const script = `[ -t 0 ] && [ -t 1 ] && echo terminal; pwd; echo done; ${trap}`;
  cluster.createPod('terminal', {
    containers: [{ ...container(script), stdin: true, stdinOnce: true, tty: true, workingDir: '/tmp' }],
  });
  await cluster.whenPodReady('terminal');
  assert.equal((await output('terminal')).replaceAll('\r', ''), 'terminal\n/tmp\n');
});

test('restarts are counted on where the runtime has forgotten the containers', async () => {
  const pod = cluster.pod('terminal');
  const { runtime } = cluster.host.cri();
  const labelSelector = { 'io.kubernetes.pod.uid': pod?.metadata.uid ?? '' };
  // Awake, keelson might start the container once more in the sandbox that is being taken away.
  cluster.keelson.pause();
  for (const { id } of await runtime.listPodSandbox({ labelSelector }, signal)) {
    await runtime.stopPodSandbox(id ?? '', signal);
    await runtime.removePodSandbox(id ?? '', signal);
  }
  cluster.keelson.resume();
  const again = await cluster.whenPod('terminal', (s) => {
    const [status] = s.containerStatuses ?? [];
    return status?.state?.running !== undefined && status.restartCount === 1;
  });
  assert.equal(containerOf(again, 'c')?.restartCount, 1);
  assert.match(await output('terminal', 1), /terminal/);
});

test('root is refused where it is forbidden', async () => {
  cluster.createPod('root', { containers: [{ ...container(trap), securityContext: { runAsNonRoot: true } }] });
  const event = await cluster.whenEvent('root', 'Failed');
  const { uid } = cluster.pod('root')?.metadata ?? {};
  const where = `(pod: "root_default(${uid})", container: c)`;
  assert.equal(event.message, `Error: container has runAsNonRoot and image will run as root ${where}`);
});
