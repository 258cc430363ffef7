import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Pod, PodSpec, RuntimeClass } from '../api/core-v1.ts';
import type { RuntimeHandler } from '../api/cri.ts';
import { podUid } from '../api/ids.ts';
import { FakeCri } from '../cri/fake-cri.ts';
import { FakeEventSink } from '../kubeapi/fake-event-sink.ts';
import { EnvObjects } from '../kuberuntime/env-objects.ts';
import { ImagePuller } from '../kuberuntime/image-puller.ts';
import { NodeDns } from '../kuberuntime/node-dns.ts';
import { PodDirs } from '../kuberuntime/pod-dirs.ts';
import { PodRuntime } from '../kuberuntime/pod-runtime.ts';
import { SandboxMaker } from '../kuberuntime/sandbox-maker.ts';
import { UserNamespaces } from '../kuberuntime/user-namespaces.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { Pleg } from '../pod/pleg.ts';
import { PodCache } from '../pod/pod-cache.ts';
import type { DesiredPod } from '../pod/pod-manager.ts';
import { PodNotes } from '../pod/pod-notes.ts';
import { ManifestObjectSource } from '../volumes/manifest-object-source.ts';
import { testImage } from './runtime-pods.ts';

/** A pod as a source desires it: containers a and b, stopped within 20 seconds. */
export function desiredPod(spec: Partial<PodSpec> = {}, metadata: Partial<Pod['metadata']> = {}): DesiredPod {
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'ns', uid: 'u1', generation: 1, ...metadata },
    spec: {
      containers: [
        { name: 'a', image: testImage },
        { name: 'b', image: testImage },
      ],
      terminationGracePeriodSeconds: 20,
      ...spec,
    },
  };
  return deepFreeze({ uid: podUid(pod.metadata.uid ?? ''), pod, source: 'api' as const, seenAt: 0 });
}

/** What makes pods run, over a fake runtime and a folder of its own; disposing removes that. */
export function podParts() {
  const root = mkdtempSync(join(tmpdir(), 'pod-parts-'));
  const podLogsDir = join(root, 'log/pods');
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images: [testImage], handlers: ['other'] });
  const cache = new PodCache();
  const events = new FakeEventSink();
  const { runtime, images } = fake;
  const objects = new ManifestObjectSource(() => ({ configMaps: [], secrets: [] }));
  const notes = new PodNotes({ rootDir: join(root, 'root'), log: silentLog });
  const terminationMessage = async () => '';
  const pleg = new Pleg({ runtime, cache, clock, log: silentLog, wake: () => {}, terminationMessage });
  const puller = new ImagePuller({ images, clock, log: silentLog, maxParallelPulls: 1 });
  const dirs = new PodDirs({ rootDir: join(root, 'root'), podLogsDir, clusterDomain: 'cluster.local' });
  const runtimeClasses = new Map<string, RuntimeClass>();
  const handlers: RuntimeHandler[] = [];
  const sandboxes = new SandboxMaker({
    ...{ runtime, events, podLogsDir, runtimeClasses, log: silentLog },
    clusterDomain: 'cluster.local',
    dns: new NodeDns({
      resolvConf: '',
      clusterDNS: ['10.96.0.10'],
      clusterDomain: '',
      nodeIPs: () => [],
      warnNode: () => {},
    }),
    handlers: () => handlers,
    userNamespaces: new UserNamespaces({
      ...{ rootDir: join(root, 'root'), idsPerPod: 65_536, maxPods: 110, log: silentLog },
      subordinate: async () => undefined,
    }),
    node: { kind: 'Node', name: 'n' },
  });
  const podRuntime = new PodRuntime({
    ...{ runtime, pleg, puller, dirs, events, clock, notes, sandboxes },
    log: silentLog,
    containers: {
      ...{ dirs, security: { seccompRoot: join(root, 'seccomp') }, services: () => [], servicesRead: () => true },
      ...{ allocatable: () => ({}), hostIPs: () => ['192.0.2.2'], handlers: () => [], selinux: false, log: silentLog },
      envObjects: new EnvObjects({ objects, wake: () => {} }),
      subPaths: { subPath: async ({ volumePath, subPath }) => join(volumePath, subPath) },
    },
    hostIPs: () => ['192.0.2.2'],
    pullSecrets: async () => [],
  });
  const remove = () => rmSync(root, { recursive: true, force: true });
  return {
    root,
    clock,
    fake,
    cache,
    events,
    pleg,
    puller,
    dirs,
    notes,
    sandboxes,
    podRuntime,
    runtimeClasses,
    handlers,
    [Symbol.dispose]: remove,
  };
}
