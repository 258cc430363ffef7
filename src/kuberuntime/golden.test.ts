import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Service } from '../api/core-v1.ts';
import { slicePath } from '../host/compute-cgroup-settings.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { podCgroupName } from '../resources/cgroup-names.ts';
import {
  containerResources,
  type ResourceOptions,
  sandboxOverhead,
  sandboxResources,
} from '../resources/compute-cgroup-values.ts';
import { asRecorded, type GoldenPod, goldenPods } from '../testing/golden.ts';
import { containerConfig } from './container-config.ts';
import { generateDnsConfig } from './dns-config.ts';
import { generateEnv } from './generate-env.ts';
import { nodeMounts, planVolumeMounts } from './generate-mounts.ts';
import { kernelHostname } from './pod-hostname.ts';
import { sandboxConfig } from './sandbox-config.ts';

const options = (version: 1 | 2): ResourceOptions => ({
  cgroupVersion: version,
  cpuCfsQuota: true,
  cpuCfsPeriodUs: 100_000,
  // The virtual machine had 2 GiB, of which its kernel kept some.
  memoryCapacityBytes: version === 1 ? 24684096 * 1024 : 2_050_000_000,
  hugePageSizes: [2 << 20, 1 << 30],
  swapController: true,
  singleProcessOomKill: false,
  podPidsLimit: -1,
});

/** What there was in the recorded cluster besides the pods. */
const base64 = (text: string) => Buffer.from(text).toString('base64');
const metadata = (name: string) => ({ name, namespace: 'golden' });
const objects = deepFreeze({
  configMaps: new Map([['cm', { metadata: metadata('cm'), data: { color: 'blue', 'bad.key-x': 'v' } }]]),
  secrets: new Map([['sec', { metadata: metadata('sec'), data: { password: base64('s3cret'), user: base64('bob') } }]]),
});
const port = { protocol: 'TCP' as const };
const kubernetes: Service = {
  metadata: { name: 'kubernetes', namespace: 'default' },
  spec: { clusterIP: '10.96.0.1', ports: [{ ...port, name: 'https', port: 443 }] },
};
const websvc: Service = {
  metadata: metadata('websvc'),
  spec: { clusterIP: '10.96.77.7', ports: [{ ...port, name: '80-8080', port: 80 }] },
};
const folders = [
  { folder: 'pods', version: 1 },
  { folder: 'pods-cgroup2', version: 2 },
] as const;

for (const { folder, version } of folders) {
  for (const golden of goldenPods(folder)) {
    test(`${folder}/${golden.name}: the sandbox is configured as kubelet does`, () => {
      const { dns_config: _, ...recorded } = golden.sandbox;
      const { dns_config: __, ...ours } = asRecorded(sandboxOf(golden, version)) as Record<string, unknown>;
      assert.deepEqual(ours, recorded);
    });
    for (const container of golden.pod.spec.containers) {
      const recorded = golden.containers[container.name]?.config;
      if (!recorded) continue;
      test(`${folder}/${golden.name}: container ${container.name} is configured as kubelet does`, () => {
        assert.deepEqual(normalized(asRecorded(containerOf(golden, container, version))), normalized(recorded));
      });
    }
  }
}

function sandboxOf(golden: GoldenPod, version: 1 | 2) {
  const pod = deepFreeze(golden.pod);
  const name = podCgroupName(pod, '');
  return sandboxConfig({
    pod,
    attempt: 0,
    source: 'api',
    seenAt: '<time>',
    dns: generateDnsConfig(pod, {
      clusterDNS: ['10.96.0.10'],
      clusterDomain: 'cluster.local',
      host: undefined,
      nodeIPs: ['192.0.2.2'],
    }).config,
    hostname: kernelHostname(pod, 'cluster.local'),
    podLogsDir: '/var/log/pods',
    cgroupParent: version === 1 ? `/${name.join('/')}` : slicePath(name).replace('pod<uid>', 'pod<uid_>'),
    resources: sandboxResources(pod, options(version)),
    overhead: sandboxOverhead(pod, options(version)),
  });
}

function containerOf(golden: GoldenPod, container: Container, version: 1 | 2) {
  const pod = deepFreeze(golden.pod);
  const metadata = golden.containers[container.name]?.config['metadata'] as { attempt?: number } | undefined;
  const attempt = metadata?.attempt ?? 0;
  const volumes = new Map(
    (pod.spec.volumes ?? []).map((v) => {
      const ours = v.configMap ?? v.secret ?? v.downwardAPI ?? v.projected;
      return [v.name, { hostPath: v.hostPath?.path ?? volumePath(v), readOnly: ours !== undefined }];
    }),
  );
  const env = generateEnv({
    ...{ pod, container, objects, uid: '<uid>', files: new Map() },
    services: [kubernetes, websvc],
    allocatable: { cpu: '2' },
    podIPs: ['<pod-ip>'],
    hostIPs: ['<node-ip>'],
  });
  const planned = planVolumeMounts({ pod, container, env, volumes, recursiveReadOnly: false, selinux: false });
  const files = {
    hostsPath: '<root>/pods/<uid>/etc-hosts',
    terminationLogPath: `<root>/pods/<uid>/containers/${container.name}/<rand8>`,
  };
  return containerConfig({
    pod,
    container,
    attempt,
    imageRef: 'sha256:<digest>',
    imageUser: { uid: 0, username: '' },
    env,
    mounts: [...planned.map((p) => p.mount), ...nodeMounts(container, files, false)],
    devices: [],
    resources: containerResources(pod, container, options(version)),
    security: { seccompRoot: '<root>/seccomp' },
  });
}

function volumePath(volume: { readonly name: string; readonly [source: string]: unknown }): string {
  const plugins: Readonly<Record<string, string>> = {
    emptyDir: 'empty-dir',
    configMap: 'configmap',
    secret: 'secret',
    downwardAPI: 'downward-api',
    projected: 'projected',
  };
  const source = Object.keys(plugins).find((key) => volume[key] !== undefined) ?? '';
  return `<root>/pods/<uid>/volumes/kubernetes.io~${plugins[source]}/${volume.name}`;
}

/** Variables have no order that anyone promised; the user's own spelling of the image is newer than this containerd. */
function normalized(config: unknown): unknown {
  const { envs = [], image, ...rest } = config as { envs?: { key: string }[]; image: { image: string } };
  return { ...rest, image: { image: image.image }, envs: envs.toSorted((a, b) => (a.key < b.key ? -1 : 1)) };
}
