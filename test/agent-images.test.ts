import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import type { Pod } from '../src/api/core-v1.ts';
import { buildImage, type OciImage } from '../src/lib/oci-image.ts';
import { Cluster } from './host/cluster.ts';
import { BUSYBOX_IMAGE, busyboxFilesWith, busyboxImage } from './images/images.ts';
import { TestRegistry } from './images/registry.ts';

/** Where images come from, on a real containerd: policies, credentials of every kind, and how pulls are told of. */

const own = 'registry.test:5000';
const plugin = 'plugin.test:5001';
const open = 'open.test:5002';
const bob = { username: 'bob', password: 's3cret' };
const robot = { username: 'robot', password: 'clank' };
const sleeper = { name: 'c', command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1; done'] };

const busybox = busyboxImage();
/** A busybox with a layer of its own, which nobody has yet. */
function ownLayer(name: string, bytes = 64 * 1024): OciImage {
  const file = { path: 'etc/only-here', content: Buffer.alloc(bytes, name), mode: 0o644 };
  return buildImage({ name, architecture: busybox.architecture, files: [...busyboxFilesWith(['sh', 'sleep']), file] });
}

/** Says what it was asked into a file, and knows robot's password for its own registry. */
const program = `#!/bin/sh
cat > "$ASKED"
case "$(cat "$ASKED")" in
  *fails*) echo "no cloud today" >&2; exit 3 ;;
esac
echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","cacheDuration":"0s","auth":{"plugin.test:5001":{"username":"robot","password":"clank"}}}'
`;
const providers = `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: cloud
  matchImages: ["*.test:5001"]
  defaultCacheDuration: 0s
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  env: [{name: ASKED, value: /tmp/asked}]
  tokenAttributes:
    serviceAccountTokenAudience: registry
    cacheType: Token
    requireServiceAccount: false
`;

let cluster: Cluster;
let registries: TestRegistry[];
before(async () => {
  cluster = await Cluster.create('images', {
    registries: [own, plugin, open],
    kubelet: 'serializeImagePulls: false\nmaxParallelImagePulls: 2',
  });
  await cluster.host.writeFile('/etc/keelson/providers.yaml', providers);
  await cluster.host.writeFile('/opt/providers/cloud', program);
  await chmod(cluster.host.path('/opt/providers/cloud'), 0o755);
  const listen = (port: number) => cluster.host.listen(port);
  registries = [
    new TestRegistry({
      listener: await listen(5000),
      images: ['json', 'legacy', 'digest', 'tenant', 'wrong', 'missing'].map((n) => busyboxImage(`${own}/${n}:1`)),
      credentials: bob,
    }).start(),
    new TestRegistry({
      listener: await listen(5001),
      images: ['app', 'fails'].map((n) => busyboxImage(`${plugin}/${n}:1`)),
      credentials: robot,
    }).start(),
    new TestRegistry({
      listener: await listen(5002),
      images: [
        ...['public', 'broken'].map((n) => busyboxImage(`${open}/${n}:1`)),
        ...['one', 'two', 'three'].map((n) => ownLayer(`${open}/${n}:1`)),
        ...['large', 'unwanted'].map((n) => ownLayer(`${open}/${n}:1`, 8 * 1024 * 1024)),
      ],
    }).start(),
  ];
  await cluster.startKeelson([
    '--image-credential-provider-config=/etc/keelson/providers.yaml',
    '--image-credential-provider-bin-dir=/opt/providers',
  ]);
  secret('json', 'kubernetes.io/dockerconfigjson', '.dockerconfigjson', { auths: { [`http://${own}/v2/`]: bob } });
  const auth = btoa(`${bob.username}:${bob.password}`);
  secret('legacy', 'kubernetes.io/dockercfg', '.dockercfg', { [own]: { auth } });
  secret('wrong', 'kubernetes.io/dockerconfigjson', '.dockerconfigjson', { auths: { [own]: robot } });
});
after(async () => {
  await cluster[Symbol.asyncDispose]();
  for (const registry of registries) registry[Symbol.dispose]();
});

function secret(name: string, type: string, key: string, content: object): void {
  const data = { [key]: btoa(JSON.stringify(content)) };
  cluster.api.create({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: 'default' }, type, data });
}

interface Wanted {
  readonly image: string;
  readonly policy?: 'Always' | 'IfNotPresent' | 'Never';
  readonly secrets?: readonly string[];
  readonly account?: string;
}

function createPod(name: string, { image, policy, secrets = [], account }: Wanted): void {
  cluster.createPod(name, {
    containers: [{ ...sleeper, image, ...(policy ? { imagePullPolicy: policy } : {}) }],
    imagePullSecrets: secrets.map((secretName) => ({ name: secretName })),
    ...(account ? { serviceAccountName: account } : {}),
  });
}

const waiting = (pod: Pod) => pod.status?.containerStatuses?.[0]?.state?.waiting;
const whenWaiting = (name: string, reason: string) =>
  cluster.whenPod(name, (_, pod) => waiting(pod)?.reason === reason);

const good: Record<string, Wanted> = {
  json: { image: `${own}/json:1`, secrets: ['json'] },
  legacy: { image: `${own}/legacy:1`, secrets: ['wrong', 'legacy'] },
  public: { image: `${open}/public:1` },
  digest: {
    image: `${own}/digest@${busyboxImage(`${own}/digest:1`).manifest.digest}`,
    secrets: ['json'],
  },
  plugin: { image: `${plugin}/app:1`, account: 'default' },
};

for (const [name, wanted] of Object.entries(good)) {
  test(`an image is pulled: ${name}`, async () => {
    createPod(name, wanted);
    await cluster.whenPodReady(name);
    await cluster.whenEvent(
      name,
      /^Pulled: Successfully pulled image .* in .* \(.* including waiting\)\. Image size: \d+ bytes\.$/,
    );
  });
}

test('a credential provider is told of the image and given a token of the pod', async () => {
  const asked = JSON.parse(await cluster.host.exec('cat', ['/tmp/asked']));
  assert.deepEqual(Object.keys(asked).sort(), ['apiVersion', 'image', 'kind', 'serviceAccountToken']);
  assert.equal(asked.image, `${plugin}/app`);
  const claims = JSON.parse(Buffer.from(asked.serviceAccountToken.split('.')[1], 'base64url').toString());
  assert.deepEqual([claims.aud, claims['kubernetes.io'].pod.name], [['registry'], 'plugin']);
});

test('a credential provider that fails is said, and the pull goes on without it', async () => {
  createPod('fails', { image: `${plugin}/fails:1` });
  const pod = await whenWaiting('fails', 'ErrImagePull');
  assert.match(waiting(pod)?.message ?? '', /401 Unauthorized|no basic auth credentials/);
  await cluster.keelson.waitForLog(/no cloud today/);
});

test('wrong credentials are told in the words of the runtime, and backed off from', async () => {
  createPod('wrong', { image: `${own}/wrong:1`, secrets: ['wrong'] });
  const pod = await whenWaiting('wrong', 'ImagePullBackOff');
  const message = waiting(pod)?.message ?? '';
  assert.match(message, new RegExp(`^Back-off pulling image "${own}/wrong:1": ErrImagePull: .*401 Unauthorized`));
  await cluster.whenEvent('wrong', /^Failed: Failed to pull image ".*wrong:1": .*401 Unauthorized/);
  await cluster.whenEvent('wrong', /^Failed: Error: ErrImagePull$/);
  await cluster.whenEvent('wrong', /^Failed: Error: ImagePullBackOff$/);
  await cluster.whenEvent('wrong', /^BackOff: Back-off pulling image/);
});

test('a missing pull secret is told, and harms no public image', async () => {
  createPod('missing', { image: BUSYBOX_IMAGE, secrets: ['nobody', 'json'] });
  await cluster.whenPodReady('missing');
  const said =
    /^FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets \(nobody\); attempting to pull the image may not succeed\.$/;
  await cluster.whenEvent('missing', said);
});

test("an image that one tenant's secret brought is nobody else's", async () => {
  const image = `${own}/tenant:1`;
  createPod('owner', { image, secrets: ['json'] });
  await cluster.whenPodReady('owner');
  createPod('other', { image, policy: 'IfNotPresent' });
  await whenWaiting('other', 'ErrImagePull');
  createPod('never', { image, policy: 'Never' });
  const pod = await whenWaiting('never', 'ErrImageNeverPull');
  assert.equal(waiting(pod)?.message, `Container image "${image}" is not present with pull policy of Never`);
  createPod('same', { image, policy: 'IfNotPresent', secrets: ['legacy'] });
  await cluster.whenPodReady('same');
  await cluster.whenEvent(
    'same',
    /^Pulled: Container image .* already present on machine and can be accessed by the pod$/,
  );
  const records = await cluster.host.exec('sh', ['-c', 'cat /var/lib/kubelet/image_manager/pulled/sha256-*']);
  const tenant = records
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .find((record) => record.credentialMapping[`${own}/tenant`]);
  const names = tenant.credentialMapping[`${own}/tenant`].kubernetesSecrets.map((s: { name: string }) => s.name);
  assert.deepEqual(names, ['json', 'legacy']);
});

test('a registry that fails is tried again after the back-off', async () => {
  const [, , registry] = registries;
  registry?.fail(4, 503);
  createPod('broken', { image: `${open}/broken:1` });
  const pod = await whenWaiting('broken', 'ErrImagePull');
  assert.match(waiting(pod)?.message ?? '', /503/);
  registry?.fail(0);
  await cluster.whenPodReady('broken');
});

const refused: Record<string, { wanted: Wanted; reason: string; message: RegExp }> = {
  invalid: {
    wanted: { image: 'Busy/Box' },
    reason: 'InvalidImageName',
    message:
      /^Failed to apply default image tag "Busy\/Box": couldn't parse image name "Busy\/Box": invalid reference format/,
  },
  absent: {
    wanted: { image: `${open}/nothing:1`, policy: 'Never' },
    reason: 'ErrImageNeverPull',
    message: /^Container image ".*nothing:1" is not present with pull policy of Never$/,
  },
  unknown: {
    wanted: { image: `${open}/nothing:1` },
    reason: 'ErrImagePull',
    message: /^rpc error: code = NotFound desc = failed to pull and unpack image/,
  },
};

for (const [name, { wanted, reason, message }] of Object.entries(refused)) {
  test(`a pod waits with the reason ${reason}`, async () => {
    createPod(name, wanted);
    const pod = await whenWaiting(name, reason);
    assert.match(waiting(pod)?.message ?? '', message);
    await cluster.whenEvent(name, new RegExp(`^Failed: Error: ${reason}$`));
  });
}

test('no more pulls run at a time than are allowed, and a long one says how far it is', async () => {
  const [, , registry] = registries;
  assert.ok(registry);
  registry.layerBytesPerTick = 32 * 1024;
  const { promise: two, resolve } = Promise.withResolvers<void>();
  registry.onLayer = () => registry.sending.size === 2 && resolve();
  createPod('large', { image: `${open}/large:1` });
  for (const name of ['one', 'two', 'three']) createPod(name, { image: `${open}/${name}:1` });
  await two;
  await cluster.whenEvent('large', /^Pulling: Pulling image ".*large:1": [1-9] MiB of 10 MiB$/, 90_000);
  await cluster.keelson.waitForLog(/image is being pulled/);
  registry.layerBytesPerTick = undefined;
  for (const name of ['large', 'one', 'two', 'three']) await cluster.whenPodReady(name);
  assert.equal(registry.mostAtOnce, 2);
});

test('a pod that is deleted while its image is pulled does not wait for it', async () => {
  const [, , registry] = registries;
  assert.ok(registry);
  // At this pace the layer would take an hour.
  registry.layerBytesPerTick = 1024;
  const { promise: pulling, resolve } = Promise.withResolvers<void>();
  registry.onLayer = () => resolve();
  createPod('leaves', { image: `${open}/unwanted:1` });
  await pulling;
  await cluster.kubectl('delete', 'pod', 'leaves', '--wait=false');
  await cluster.whenPodGone('leaves');
  registry.layerBytesPerTick = undefined;
});
