import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Pod, PodSpec, Secret, Volume } from '../src/api/core-v1.ts';
import { NamespaceMode } from '../src/api/cri.ts';
import { containerConfigOf, sandboxConfigOf } from './host/start-pod.ts';
import { TestHost } from './host/test-host.ts';
import { busyboxImage } from './images/images.ts';
import type { Answer, Request } from './volumes-inside.ts';

const ROOT = '/var/lib/kubelet';
const IMAGE = 'registry.test/sleeper:1';
const signal = AbortSignal.timeout(120_000);
const script = fileURLToPath(new URL('volumes-inside.ts', import.meta.url));
let host: TestHost;

before(async () => {
  host = await TestHost.boot('volumes', { images: [busyboxImage(IMAGE, ['sh', '-c', 'sleep 600'])] });
});
after(() => host[Symbol.asyncDispose]());

/** One life of a volume manager on the host. */
async function ask(request: Partial<Request>): Promise<Answer> {
  const input = JSON.stringify({ rootDir: ROOT, ...request });
  return JSON.parse(await host.exec(process.execPath, [script], { input }));
}

const secret = (value: string): Secret => ({
  metadata: { namespace: 'default', name: 'sec' },
  data: { password: Buffer.from(value).toString('base64') },
});
const secretVolume: Volume = { name: 's', secret: { secretName: 'sec', defaultMode: 0o400 } };
const podWith = (uid: string, volumes: readonly Volume[], spec: Partial<PodSpec> = {}): Pod => ({
  metadata: { namespace: 'default', name: uid, uid },
  spec: {
    containers: [{ name: 'c', volumeMounts: volumes.map(({ name }) => ({ name, mountPath: `/${name}` })) }],
    volumes,
    ...spec,
  },
});
const mountPoints = async () =>
  (await host.exec('cat', ['/proc/self/mountinfo'])).split('\n').map((line) => line.split(' ')[4] ?? '');

/** A container of user 1000, group 3000 and supplementary group 2000 that has the volumes at /<name>. */
async function startContainer(name: string, volumes: NonNullable<Answer['volumes']>): Promise<string> {
  const { runtime } = host.cri();
  const base = sandboxConfigOf(name);
  const namespaceOptions = { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER };
  const config = { ...base, hostname: '', linux: { ...base.linux, securityContext: { namespaceOptions } } };
  const sandboxId = await runtime.runPodSandbox(config, '', signal);
  const container = containerConfigOf({ name, image: IMAGE });
  const securityContext = {
    namespaceOptions,
    runAsUser: { value: 1000 },
    runAsGroup: { value: 3000 },
    supplementalGroups: [2000],
  };
  const mounts = Object.entries(volumes).map(([volume, { hostPath, readOnly }]) => ({
    containerPath: `/${volume}`,
    hostPath,
    readonly: readOnly,
  }));
  const id = await runtime.createContainer(
    sandboxId,
    { ...container, mounts, linux: { ...container.linux, securityContext } },
    config,
    signal,
  );
  await runtime.startContainer(id, signal);
  return id;
}

async function inside(id: string, command: string): Promise<string> {
  const { stdout, stderr, exitCode } = await host.cri().runtime.execSync(id, ['sh', '-c', command], 10, signal);
  const text = (bytes?: Uint8Array | string) =>
    Buffer.from(bytes ?? '')
      .toString()
      .trim();
  return exitCode ? `failed: ${text(stderr)}` : text(stdout);
}

test('a container sees secrets and tokens through the link, in memory, readable to its group and read-only', async () => {
  const volumes: Volume[] = [
    secretVolume,
    { name: 'p', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } },
    { name: 'm', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    { name: 'e' },
  ];
  const pod = podWith('uid-seen', volumes, { securityContext: { fsGroup: 2000 } });
  const { volumes: made, error } = await ask({ secrets: [secret('first')], setUp: pod });
  assert.ok(made, JSON.stringify(error));
  assert.equal(made['s']?.hostPath, `${ROOT}/pods/uid-seen/volumes/kubernetes.io~secret/s`);
  const id = await startContainer('seen', made);
  assert.equal(await inside(id, 'cat /s/password'), 'first');
  assert.match(await inside(id, 'cat /p/token'), /^token-of-default-/);
  assert.equal(await inside(id, 'stat -L -c "%u %g %a" /s/password /p/token'), '0 2000 440\n0 2000 640');
  assert.match(await inside(id, 'stat -f -c %T /s /p /m'), /^tmpfs\s+tmpfs\s+tmpfs$/);
  assert.match(await inside(id, 'touch /s/x'), /Read-only file system/);
  assert.equal(await inside(id, 'touch /e/x /m/x && stat -c "%u %g" /e/x /m/x'), '1000 2000\n1000 2000');
  assert.match(await inside(id, 'dd if=/dev/zero of=/m/big bs=1M count=2 2>&1 || true'), /No space left on device/);

  // Another life of the manager finds another secret: the running container sees it, by one rename.
  await ask({ secrets: [secret('second')], setUp: pod });
  assert.equal(await inside(id, 'cat /s/password; ls -A /s | grep -c "^\\.\\.2"'), 'second1');

  const targets = await mountPoints();
  assert.equal(targets.filter((target) => target === `${ROOT}/keelson/memory`).length, 1);
  assert.deepEqual(
    targets.filter((target) => target.startsWith(`${ROOT}/pods/`)),
    [`${ROOT}/pods/uid-seen/volumes/kubernetes.io~empty-dir/m`],
  );
  await host.cri().runtime.stopContainer(id, 0, signal);
  assert.deepEqual(await ask({ tearDown: 'uid-seen' }), {});
  assert.ok(!(await mountPoints()).some((target) => target.startsWith(`${ROOT}/pods/`)));
  assert.equal(
    await host.exec('ls', ['-A', `${ROOT}/pods/uid-seen`, `${ROOT}/keelson/memory`]),
    `${ROOT}/keelson/memory:\n\n${ROOT}/pods/uid-seen:\n`,
  );
});

test('nobody but root finds the way to the memory', async () => {
  await ask({});
  assert.equal((await host.exec('stat', ['-c', '%u %a', `${ROOT}/keelson/memory`])).trim(), '0 700');
});

test('a volume that is in use is not torn down, and nothing in it is lost', async () => {
  const pod = podWith('uid-busy', [{ name: 'm', emptyDir: { medium: 'Memory' } }]);
  const { volumes } = await ask({ setUp: pod });
  const path = volumes?.['m']?.hostPath ?? '';
  await host.exec('sh', ['-c', `echo data > ${path}/file`]);
  const holder = host.spawn('holder', ['sh', '-c', `cd ${path} && echo ready && exec sleep 600`]);
  await holder.waitForLog(/ready/);
  const { error } = await ask({ tearDown: 'uid-busy' });
  assert.match(error?.err ?? '', /umount.*target is busy/s);
  assert.equal(await host.exec('cat', [`${path}/file`]), 'data\n');
  await holder.kill('SIGKILL');
  assert.deepEqual(await ask({ tearDown: 'uid-busy' }), {});
});

test('huge pages are a file system of their own, whose page size does not change under a pod', async () => {
  const volume = (medium: string): Volume => ({ name: 'h', emptyDir: { medium } });
  const asks = (...sizes: string[]): Partial<PodSpec> => {
    const limits = Object.fromEntries(sizes.map((size) => [`hugepages-${size}`, '2Mi']));
    const volumeMounts = [{ name: 'h', mountPath: '/h' }];
    return { containers: [{ name: 'c', resources: { limits }, volumeMounts }], securityContext: { fsGroup: 2000 } };
  };
  const set = (medium: string, ...sizes: string[]) =>
    ask({ setUp: podWith('uid-huge', [volume(medium)], asks(...sizes)) });
  const { volumes, error } = await set('HugePages', '2Mi');
  const path = volumes?.['h']?.hostPath ?? '';
  assert.ok(path, JSON.stringify(error));
  assert.equal(await host.exec('stat', ['-f', '-c', '%T', path]), 'hugetlbfs\n');
  assert.equal(await host.exec('stat', ['-c', '%g %a', path]), '2000 2775\n');
  assert.equal((await set('HugePages-2Mi', '2Mi')).error, undefined);
  const other = await set('HugePages-1Gi', '1Gi');
  assert.match(other.error?.err ?? '', /mounted dir .* pagesize '2M' and requested medium size '1Gi' differ$/);
  assert.deepEqual(await ask({ tearDown: 'uid-huge' }), {});
});

test('what a kubelet mounted for a pod is kept: its containers have it', async () => {
  const path = `${ROOT}/pods/uid-kept/volumes/kubernetes.io~secret/s`;
  await host.exec('mkdir', ['-p', path]);
  await host.exec('mount', ['-t', 'tmpfs', 'tmpfs', path]);
  const { volumes } = await ask({ secrets: [secret('v')], setUp: podWith('uid-kept', [secretVolume]) });
  assert.equal(volumes?.['s']?.hostPath, path);
  assert.equal(await host.exec('cat', [join(path, 'password')]), 'v');
  assert.equal((await host.exec('stat', ['-c', '%F', path])).trim(), 'directory');
  assert.deepEqual(await ask({ tearDown: 'uid-kept' }), {});
  assert.ok(!(await mountPoints()).includes(path));
});

test('memory that is full is said, with what to do, and mended by doing it', async () => {
  const rootDir = '/var/lib/small';
  const pod = podWith('uid-full', [secretVolume]);
  const request = { rootDir, memoryBytes: 64 * 1024, secrets: [secret('x'.repeat(200_000))], setUp: pod };
  const { error } = await ask(request);
  assert.equal(
    error?.err,
    `MountVolume.SetUp failed for volume "s" : the node's memory for secrets and tokens, ${rootDir}/keelson/memory, is full: cannot write ${rootDir}/keelson/memory/uid-full/kubernetes.io~secret/s: no space left on its file system`,
  );
  assert.match(error?.hint ?? '', /mount -o remount,size=<bytes> \/var\/lib\/small\/keelson\/memory/);
  await host.exec('mount', ['-o', 'remount,size=1m', `${rootDir}/keelson/memory`]);
  assert.equal((await ask(request)).volumes?.['s']?.readOnly, true);
});

test('a full and a read-only disk are said by path, with what to do', async () => {
  const rootDir = '/var/lib/disk';
  await host.exec('mkdir', ['-p', rootDir]);
  await host.exec('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', rootDir]);
  await ask({ rootDir });
  await host.exec('sh', ['-c', `dd if=/dev/zero of=${rootDir}/filler bs=4k 2>/dev/null; true`]);
  const items = [{ path: 'n', fieldRef: { fieldPath: 'metadata.name' } }];
  const pod = podWith('uid-disk', [{ name: 'd', downwardAPI: { items } }]);
  const full = await ask({ rootDir, setUp: pod });
  assert.match(full.error?.err ?? '', /volume "d" : cannot write \/var\/lib\/disk\/pods\/uid-disk\/.*no space left/);
  assert.match(full.error?.hint ?? '', /df -h/);
  await host.exec('mount', ['-o', 'remount,ro', rootDir]);
  const readOnly = await ask({ rootDir, setUp: pod });
  assert.match(readOnly.error?.err ?? '', /cannot write \/var\/lib\/disk\/.*read-only/);
  assert.match(readOnly.error?.hint ?? '', /remount,rw/);
});
