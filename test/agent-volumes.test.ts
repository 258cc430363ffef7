import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Event, PersistentVolume, PersistentVolumeClaim, PodSpec } from '../src/api/core-v1.ts';
import { CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS } from './apiserver/kinds.ts';
import type { DraftObject } from './apiserver/objects.ts';
import { Cluster, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE } from './images/images.ts';

/** Volumes of every kind, as a container on a real containerd sees them. */

const signal = AbortSignal.timeout(600_000);
const idle = 'trap "exit 0" TERM; while :; do sleep 0.2; done';
const sleeper = { name: 'c', image: BUSYBOX_IMAGE, command: ['sh', '-c', idle] };

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('agent-volumes');
});
after(() => cluster[Symbol.asyncDispose]());

const host = (script: string): Promise<string> => cluster.host.exec('sh', ['-ec', script]).then((out) => out.trim());

/** What a shell in the pod's running container says. */
async function inside(pod: string, script: string): Promise<string> {
  const { runtime } = cluster.host.cri();
  const { containerID = '' } = cluster.pod(pod)?.status?.containerStatuses?.[0] ?? {};
  const id = containerID.replace(/^containerd:\/\//, '');
  const { stdout, stderr, exitCode } = await runtime.execSync(id, ['sh', '-c', script], 10, signal);
  const said = [stdout, stderr]
    .map((bytes) => Buffer.from(bytes ?? '').toString())
    .join('')
    .trim();
  assert.equal(exitCode ?? 0, 0, said);
  return said;
}

const create = (object: object) => cluster.api.create(object as DraftObject);
const capacity = { storage: '1Gi' };

/** A claim and a volume that are bound to each other; without `bound` only the claim, which waits. */
function createClaim(
  name: string,
  spec: Partial<PersistentVolume['spec']>,
  options: { readonly bound?: boolean; readonly claim?: Partial<PersistentVolumeClaim['metadata']> } = {},
): void {
  const { bound = true, claim = {} } = options;
  const accessModes = ['ReadWriteOnce'];
  const mode = spec?.volumeMode ? { volumeMode: spec.volumeMode } : {};
  const made = create({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace: 'default', ...claim },
    spec: { accessModes, resources: { requests: capacity }, ...mode },
  });
  const claimRef = { kind: 'PersistentVolumeClaim', namespace: 'default', name, uid: made.metadata.uid };
  create({
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: `pv-${name}` },
    spec: { capacity, accessModes, claimRef, ...spec },
  });
  if (bound) bind(name);
}

/** As the controller does it: the volume's name first, then the phase. */
function bind(name: string): void {
  const { registry } = cluster.api;
  const set = (body: object, options = {}) =>
    registry.patch(PERSISTENT_VOLUME_CLAIMS, 'default', name, { type: 'merge', body }, options);
  set({ spec: { volumeName: `pv-${name}` } });
  set({ status: { phase: 'Bound', capacity } }, { subresource: 'status' });
}

const claimVolume = (claimName: string, readOnly = false): Partial<PodSpec> => ({
  containers: [{ ...sleeper, volumeMounts: [{ name: 'data', mountPath: '/data' }] }],
  volumes: [{ name: 'data', persistentVolumeClaim: { claimName, readOnly } }],
});

const onThisNode = {
  nodeAffinity: {
    required: {
      nodeSelectorTerms: [
        { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In' as const, values: [NODE] }] },
      ],
    },
  },
};

test('a pod waits until its claim is bound to a local disk, which belongs to its fsGroup then', async () => {
  await host('mkdir -p /run/disks/a/sub; echo old > /run/disks/a/sub/file; ln -s /etc /run/disks/a/link');
  createClaim('local', { local: { path: '/run/disks/a' }, ...onThisNode }, { bound: false });
  cluster.createPod('local', { ...claimVolume('local'), securityContext: { fsGroup: 2000, runAsUser: 1000 } });
  const event = await cluster.whenEvent('local', (e) => e.reason === 'FailedMount');
  assert.equal(
    event.message,
    'Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process volumes=[data]: error processing PVC default/local: PVC is not bound',
  );
  bind('local');
  await cluster.whenPodReady('local');
  assert.equal(await inside('local', 'cat /data/sub/file; echo new > /data/new; stat -c %g /data/new'), 'old\n2000');
  assert.equal(
    await host('cat /run/disks/a/new; stat -c "%g %a" /run/disks/a /run/disks/a/sub/file /etc'),
    'new\n2000 2775\n2000 664\n0 755',
  );

  cluster.createPod('shares', claimVolume('local'));
  await cluster.whenPodReady('shares');
  assert.equal(await inside('shares', 'cat /data/new'), 'new');
  await cluster.kubectl('delete', 'pod', 'local', 'shares', '--wait=false');
  const uids = ['local', 'shares'].map((name) => cluster.pod(name)?.metadata.uid);
  await Promise.all(
    uids.map((uid) => cluster.keelson.waitForLog((line) => line.includes('purged') && line.includes(uid ?? 'none'))),
  );
  for (const uid of uids) assert.ok(!existsSync(cluster.host.path(`/var/lib/kubelet/pods/${uid}`)));
  assert.equal(await host('cat /run/disks/a/sub/file /run/disks/a/new'), 'old\nnew');
});

test('a claim of a host path, read-only, and one that was made for its pod', async () => {
  await host('mkdir -p /run/disks/b; echo here > /run/disks/b/file');
  createClaim('read', { hostPath: { path: '/run/disks/b', type: 'Directory' } });
  cluster.createPod('reads', claimVolume('read', true));
  await cluster.whenPodReady('reads');
  assert.match(await inside('reads', 'cat /data/file; touch /data/x 2>&1 || true'), /^here\n.*Read-only file system$/);

  const pod = cluster.createPod('brings', {
    containers: [{ ...sleeper, volumeMounts: [{ name: 'scratch', mountPath: '/s' }] }],
    volumes: [{ name: 'scratch', ephemeral: { volumeClaimTemplate: { spec: {} } } }],
  });
  const event = await cluster.whenEvent('brings', (e) => e.reason === 'FailedMount');
  assert.match(event.message, /failed to fetch PVC from API server: persistentvolumeclaims "brings-scratch" not found/);
  await host('mkdir -p /run/disks/c');
  const { uid = '' } = pod.metadata;
  const owner = { apiVersion: 'v1', kind: 'Pod', name: 'brings', uid, controller: true };
  createClaim('brings-scratch', { local: { path: '/run/disks/c' } }, { claim: { ownerReferences: [owner] } });
  await cluster.whenPodReady('brings');
  await inside('brings', 'echo mine > /s/file');
  assert.equal(await host('cat /run/disks/c/file'), 'mine');
});

test('a local disk is formatted once, shared by its pods and let go by the last', async () => {
  const device = await host('truncate -s 64M /run/disk.img; losetup -f --show /run/disk.img');
  try {
    createClaim('disk', { local: { path: device, fsType: 'ext4' } });
    cluster.createPod('disk-1', claimVolume('disk'));
    await cluster.whenPodReady('disk-1');
    await inside('disk-1', 'echo kept > /data/file');
    cluster.createPod('disk-2', claimVolume('disk'));
    await cluster.whenPodReady('disk-2');
    assert.match(await inside('disk-2', 'cat /data/file; grep " /data " /proc/mounts'), /^kept\n\S+ \/data ext4 /);
    const global = '/var/lib/kubelet/plugins/kubernetes.io/local-volume/mounts/pv-disk';
    const mounted = () => host(`grep -c " ${global} " /proc/self/mountinfo || true`);
    assert.equal(await mounted(), '1');
    for (const [name, left] of [
      ['disk-1', '1'],
      ['disk-2', '0'],
    ] as const) {
      const uid = cluster.pod(name)?.metadata.uid ?? 'none';
      await cluster.kubectl('delete', 'pod', name, '--wait=false');
      await cluster.keelson.waitForLog((line) => line.includes('purged') && line.includes(uid));
      assert.equal(await mounted(), left);
    }
    createClaim('raw', { local: { path: device }, volumeMode: 'Block' });
    cluster.createPod('raw', {
      containers: [{ ...sleeper, volumeDevices: [{ name: 'data', devicePath: '/dev/disk' }] }],
      volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'raw' } }],
    });
    await cluster.whenPodReady('raw');
    // The mark of an ext4 file system.
    assert.equal(
      await inside('raw', 'dd if=/dev/disk bs=1 skip=1080 count=2 2>/dev/null | hexdump -e \'"%04x"\''),
      'ef53',
    );
    await cluster.kubectl('delete', 'pod', 'raw', '--wait=false');
    await cluster.whenPodGone('raw');
  } finally {
    await host(`losetup -d ${device}`);
  }
});

test('volumes that cannot be are named, with what to do', async () => {
  createClaim('gone', { local: { path: '/run/disks/none' } });
  cluster.createPod('gone', claimVolume('gone'));
  const gone = await cluster.whenEvent('gone', (e) => e.reason === 'FailedMount');
  assert.match(
    gone.message,
    /^MountVolume.NewMounter initialization failed for volume "pv-gone" : path "\/run\/disks\/none" does not exist/,
  );
  createClaim('csi', { csi: { driver: 'csi.test' } });
  cluster.createPod('csi', claimVolume('csi'));
  const csi = await cluster.whenEvent('csi', (e) => e.reason === 'FailedMount');
  assert.match(csi.message, /PV pv-csi: CSI driver "csi.test" is not supported by keelson/);
  createClaim('nfs', { nfs: { server: '127.0.0.1', path: '/none' } });
  cluster.createPod('nfs', claimVolume('nfs'));
  const nfs = await cluster.whenEvent('nfs', (e) => e.reason === 'FailedMount');
  assert.match(nfs.message, /^MountVolume.SetUp failed for volume "pv-nfs" : /);
  await host('mkdir /run/disks/none');
  await cluster.whenPodReady('gone');
});

test('a projected volume of everything, trust bundles too, follows its sources at once and as a whole', async () => {
  const pem = (text: string) => `-----BEGIN CERTIFICATE-----\n${btoa(text)}\n-----END CERTIFICATE-----\n`;
  const map = (value: string) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'pair', namespace: 'default' },
    data: { a: value, b: value },
    binaryData: { bin: btoa('\u0000\u00ff') },
  });
  create(map('0'));
  create({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace: 'default' }, data: { key: btoa('v') } });
  const bundle = { apiVersion: 'certificates.k8s.io/v1beta1', kind: 'ClusterTrustBundle' };
  create({ ...bundle, metadata: { name: 'one' }, spec: { trustBundle: pem('one') } });
  create({
    ...bundle,
    metadata: { name: 'signer.test:ca:x', labels: { live: 'yes' } },
    spec: { signerName: 'signer.test/ca', trustBundle: pem('two') },
  });
  const labelSelector = { matchLabels: { live: 'yes' } };
  // Counts how often it saw half a change, until it sees the last one.
  const watch = `torn=0; while [ "$(cat /p/a)" != 20 ]; do d=$(readlink /p/..data); x=$(cat /p/$d/a 2>/dev/null); y=$(cat /p/$d/b 2>/dev/null);
    [ -z "$x" ] || [ -z "$y" ] || [ "$x" = "$y" ] || torn=$((torn+1)); done; echo "torn $torn" > /dev/termination-log; exit 0`;
  cluster.createPod('all', {
    restartPolicy: 'Never',
    containers: [
      { ...sleeper, volumeMounts: [{ name: 'p', mountPath: '/p' }] },
      { ...sleeper, name: 'w', command: ['sh', '-c', watch], volumeMounts: [{ name: 'p', mountPath: '/p' }] },
    ],
    volumes: [
      {
        name: 'p',
        projected: {
          defaultMode: 0o440,
          sources: [
            { serviceAccountToken: { path: 'token', audience: 'vault' } },
            { configMap: { name: 'pair' } },
            { configMap: { name: 'none', optional: true } },
            { secret: { name: 's', items: [{ key: 'key', path: 'deep/key', mode: 0o400 }] } },
            { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
            { clusterTrustBundle: { name: 'one', path: 'one.pem' } },
            { clusterTrustBundle: { signerName: 'signer.test/ca', labelSelector, path: 'two.pem' } },
          ],
        },
      },
    ],
  });
  await cluster.whenPodReady('all');
  const seen =
    'cd /p; cat deep/key name; echo; cat one.pem two.pem; stat -L -c %a a deep/key; hexdump -e \'"%04x"\' bin; ls';
  assert.equal(
    await inside('all', seen),
    `vall\n${pem('one')}${pem('two')}440\n400\nff00a\nb\nbin\ndeep\nname\none.pem\ntoken\ntwo.pem`,
  );
  for (let i = 1; i <= 20; i++)
    cluster.api.registry.update(CONFIG_MAPS, 'default', 'pair', map(String(i)) as DraftObject);
  const done = await cluster.whenPod('all', (s) => s.containerStatuses?.some((c) => c.state?.terminated) === true);
  const watcher = done.status?.containerStatuses?.find(({ name }) => name === 'w');
  assert.equal(watcher?.state?.terminated?.message, 'torn 0\n');
});

test('parts of volumes: folders that are made, files, names from variables, and no way out', async () => {
  create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'part', namespace: 'default' },
    data: { 'app.conf': 'on' },
  });
  const common = { name: 'e', subPathExpr: '$(WHO)/logs' };
  const env = [{ name: 'WHO', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }];
  const volumes = [
    { name: 'e', emptyDir: {} },
    { name: 'm', configMap: { name: 'part' } },
  ];
  cluster.createPod('parts', {
    securityContext: { fsGroup: 2000, runAsUser: 1000 },
    containers: [
      {
        ...sleeper,
        env,
        volumeMounts: [
          { ...common, mountPath: '/logs' },
          { name: 'm', mountPath: '/etc/app.conf', subPath: 'app.conf' },
          { name: 'e', mountPath: '/e' },
        ],
      },
    ],
    volumes,
  });
  await cluster.whenPodReady('parts');
  const script =
    'echo x > /logs/file; cat /etc/app.conf; echo; cat /e/parts/logs/file; stat -c "%g %a" /logs; ln -s / /e/out';
  assert.equal(await inside('parts', script), 'on\nx\n2000 2777');

  cluster.createPod('escapes', {
    initContainers: [
      {
        ...sleeper,
        name: 'links',
        command: ['ln', '-s', '/etc', '/e/out'],
        volumeMounts: [{ name: 'e', mountPath: '/e' }],
      },
    ],
    containers: [{ ...sleeper, volumeMounts: [{ name: 'e', mountPath: '/e', subPath: 'out' }] }],
    volumes,
  });
  const refused = await cluster.whenPod(
    'escapes',
    (s) => s.containerStatuses?.[0]?.state?.waiting?.reason === 'CreateContainerConfigError',
  );
  assert.equal(
    refused.status?.containerStatuses?.[0]?.state?.waiting?.message,
    'failed to prepare subPath for volumeMount "e" of container "c"',
  );
});

test('what a pod leaves behind when keelson is killed is found, unmounted and removed, and told of once', async () => {
  await host('mkdir -p /run/disks/d; echo precious > /run/disks/d/file');
  createClaim('crash', { local: { path: '/run/disks/d' } });
  cluster.createPod('crash', {
    containers: [
      {
        ...sleeper,
        volumeMounts: [
          { name: 'data', mountPath: '/data', subPath: 'sub' },
          { name: 'm', mountPath: '/m' },
        ],
      },
    ],
    volumes: [
      { name: 'data', persistentVolumeClaim: { claimName: 'crash' } },
      { name: 'm', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    ],
  });
  const pod = await cluster.whenPodReady('crash');
  const { uid = 'none' } = pod.metadata;
  const mounts = () => host(`grep -c "/pods/${uid}/" /proc/self/mountinfo || true`);
  assert.equal(await mounts(), '3');
  await cluster.keelson.kill('SIGKILL');
  await cluster.kubectl('delete', 'pod', 'crash', '--force', '--grace-period=0');
  const { runtime } = cluster.host.cri();
  const labelSelector = { 'io.kubernetes.pod.uid': uid };
  for (const { id = '' } of await runtime.listPodSandbox({ labelSelector }, signal)) {
    await runtime.stopPodSandbox(id, signal);
    await runtime.removePodSandbox(id, signal);
  }
  await cluster.startKeelson();
  const about = (event: Event) => event.reason === 'OrphanedPodRemoved' && event.message.includes(uid);
  const event = await cluster.whenEvent(NODE, about);
  assert.equal(event.count ?? 1, 1);
  assert.equal(await mounts(), '0');
  assert.ok(!existsSync(cluster.host.path(`/var/lib/kubelet/pods/${uid}`)));
  assert.equal(await host('cat /run/disks/d/file; ls /run/disks/d'), 'precious\nfile\nsub');
});
