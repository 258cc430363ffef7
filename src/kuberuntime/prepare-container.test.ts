import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { Container, PodSpec } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { podUid } from '../api/ids.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { silentLog } from '../lib/log.ts';
import { ManifestObjectSource } from '../volumes/manifest-object-source.ts';
import { EnvObjects } from './env-objects.ts';
import type { ContainerVolume } from './generate-mounts.ts';
import { PodDirs } from './pod-dirs.ts';
import { type ContainerRequest, type ContainerSources, prepareContainer } from './prepare-container.ts';
import { ContainerError } from './sync-error.ts';

const signal = AbortSignal.timeout(10_000);
const uid = podUid('u');

let base = '';
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'prepare-container-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

interface Given {
  readonly container?: Partial<Container>;
  readonly spec?: Partial<PodSpec>;
  readonly image?: cri.Image;
  readonly static?: boolean;
  readonly request?: Partial<ContainerRequest>;
  readonly sources?: Partial<ContainerSources>;
}

function prepare(given: Given): Promise<cri.ContainerConfig> {
  const container: Container = { name: 'c', image: 'i', ...given.container };
  const annotations = given.static ? { 'kubernetes.io/config.source': 'file' } : {};
  const objects = new ManifestObjectSource(() => ({ configMaps: [], secrets: [] }));
  const volumes = new Map<string, ContainerVolume>([['data', { hostPath: join(base, 'data') }]]);
  return prepareContainer(
    {
      ...deepFreeze({
        uid,
        container,
        pod: {
          metadata: { name: 'p', namespace: 'ns', uid, annotations },
          spec: { containers: [container], ...given.spec },
        },
      }),
      ...{ attempt: 0, podIPs: ['fd00::9', '10.0.0.9'], hostsPath: '/hosts', volumes, resources: {} },
      image: given.image ?? { id: 'sha256:abc', username: '' },
      ...given.request,
    },
    {
      dirs: new PodDirs({ rootDir: join(base, 'root'), podLogsDir: join(base, 'log'), clusterDomain: 'cluster.local' }),
      ...{ security: { seccompRoot: '/s' }, services: () => [], servicesRead: () => true, log: silentLog },
      envObjects: new EnvObjects({ objects, wake: () => {} }),
      subPaths: { subPath: async ({ volumePath, subPath, index }) => `${volumePath}#${index}/${subPath}` },
      ...{ allocatable: () => ({}), hostIPs: () => ['192.0.2.1'], handlers: () => [], selinux: false },
      ...given.sources,
    },
    signal,
  );
}

const variable = (config: cri.ContainerConfig, name: string) => {
  const value = config.envs?.find((env) => env.key === name)?.value;
  return value && Buffer.from(value).toString();
};

test('a container gets its hosts, and an empty file for its last words', async () => {
  const config = await prepare({});
  const [hosts, words, ...others] = config.mounts ?? [];
  assert.deepEqual([hosts?.containerPath, hosts?.hostPath, others], ['/etc/hosts', '/hosts', []]);
  assert.equal(statSync(words?.hostPath ?? '').size, 0);
});

test("addresses in variables come in the order of the node's own", async () => {
  const env = [{ name: 'IPS', valueFrom: { fieldRef: { fieldPath: 'status.podIPs' } } }];
  assert.equal(variable(await prepare({ container: { env } }), 'IPS'), '10.0.0.9,fd00::9');
});

test('a pod without an address gets no hosts, unless it has those of the host', async () => {
  const hosts = async (given: Given) =>
    (await prepare({ ...given, request: { podIPs: [] } })).mounts?.some((m) => m.containerPath === '/etc/hosts');
  assert.equal(await hosts({}), false);
  assert.equal(await hosts({ spec: { hostNetwork: true } }), true);
});

test('a part of a volume is mounted from where it was made available', async () => {
  const volumeMounts = [
    { name: 'data', mountPath: '/whole' },
    { name: 'data', mountPath: '/part', subPathExpr: '$(WHO)/logs' },
  ];
  const config = await prepare({ container: { env: [{ name: 'WHO', value: 'me' }], volumeMounts } });
  assert.deepEqual(
    config.mounts?.slice(0, 2).map((m) => [m.containerPath, m.hostPath?.slice(base.length)]),
    [
      ['/whole', '/data'],
      ['/part', '/data#1/me/logs'],
    ],
  );
});

test('a part that cannot be made available keeps the container from starting, in the words of who makes it', async () => {
  const failing = async () => {
    throw new Error('failed to prepare subPath for volumeMount "data" of container "c"');
  };
  const volumeMounts = [{ name: 'data', mountPath: '/part', subPath: 'a' }];
  const making = prepare({ container: { volumeMounts }, sources: { subPaths: { subPath: failing } } });
  await assert.rejects(making, (error: unknown) => {
    assert.ok(error instanceof ContainerError);
    assert.deepEqual(
      [error.code, error.message],
      ['CreateContainerConfigError', 'failed to prepare subPath for volumeMount "data" of container "c"'],
    );
    return true;
  });
});

const fromFile = (path: string, volumeName = 'data') => [
  { name: 'X', valueFrom: { fileKeyRef: { volumeName, path, key: 'A' } } },
];

test('a variable comes from a file that an init container wrote', async () => {
  mkdirSync(join(base, 'data'));
  writeFileSync(join(base, 'data/app.env'), "A='1'\n");
  assert.equal(variable(await prepare({ container: { env: fromFile('app.env') } }), 'X'), '1');
});

const readOnly = { name: 'data', mountPath: '/d', readOnly: true, recursiveReadOnly: 'Enabled' as const };
const capable = { features: { recursiveReadOnlyMounts: true } };

test("recursive read-only is for the pod's own handler to support", async () => {
  const handlers = () => [
    { name: '', features: {} },
    { name: 'new', ...capable },
  ];
  const given: Given = { container: { volumeMounts: [readOnly] }, sources: { handlers } };
  const config = await prepare({ ...given, request: { runtimeHandler: 'new' } });
  assert.equal(config.mounts?.[0]?.recursiveReadOnly, true);
  await assert.rejects(prepare(given), { message: /it is not supported by the runtime$/ });
});

const refused: Record<string, { given: Given; message: string }> = {
  'an image without a user is root': {
    given: { container: { securityContext: { runAsNonRoot: true } } },
    message: 'container has runAsNonRoot and image will run as root (pod: "p_ns(u)", container: c)',
  },
  'so is one of user 0, which the runtime spells as an empty number': {
    given: { container: { securityContext: { runAsNonRoot: true } }, image: { id: 'i', uid: {} } },
    message: 'container has runAsNonRoot and image will run as root (pod: "p_ns(u)", container: c)',
  },
  'a user known by name may be root': {
    given: { container: { securityContext: { runAsNonRoot: true } }, image: { id: 'i', username: 'app' } },
    message:
      'container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root (pod: "p_ns(u)", container: c)',
  },
  'a file in a volume that there is not': {
    given: { container: { env: fromFile('app.env', 'nope') } },
    message: 'cannot find the volume "nope" referenced by FileKeyRef',
  },
  'a file that there is not': { given: { container: { env: fromFile('nope') } }, message: "couldn't parse env file" },
  'Services that nobody has read yet': {
    given: { sources: { servicesRead: () => false } },
    message: 'services have not yet been read at least once, cannot construct envvars',
  },
  'claims on devices': {
    given: { container: { resources: { claims: [{}] } } },
    message: 'spec.containers{c}.resources.claims is not supported by this version of keelson',
  },
};

for (const [sentence, { given, message }] of Object.entries(refused)) {
  test(`not started: ${sentence}`, () =>
    assert.rejects(prepare(given), { code: 'CreateContainerConfigError', message }));
}

test('a static pod does not wait for Services: the API server may be one', async () => {
  await prepare({ static: true, sources: { servicesRead: () => false } });
});

test('an image of another user runs where root is forbidden', async () => {
  const config = await prepare({
    container: { securityContext: { runAsNonRoot: true } },
    image: { id: 'i', uid: { value: 1000 } },
  });
  assert.deepEqual(config.linux?.securityContext?.runAsUser, { value: 1000 });
});
