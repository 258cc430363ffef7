import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodStatus } from '../api/core-v1.ts';
import { mirrorPodUid, type PodUid, type SandboxId } from '../api/ids.ts';
import type { ObservedSandbox } from '../pod/observed.ts';
import type { LocalPodEndpoints } from '../proxy/withdraw.ts';
import { addressesOf, localPodEndpoints } from './local-pods.ts';

const uid = 'u1' as PodUid;
const ready: PodStatus = {
  podIPs: [{ ip: '10.244.0.5' }, { ip: 'fd00::5' }],
  conditions: [{ type: 'Ready', status: 'True' }],
};

const observedSandbox = { id: 's1' as SandboxId, state: 'ready', attempt: 0, createdAt: 0 } as const;

interface Case {
  /** Undefined: only the runtime knows it. */
  readonly spec?: Partial<Pod['spec']>;
  readonly status?: PodStatus;
  readonly mirror?: string;
  readonly sandbox?: Pick<ObservedSandbox, 'ips' | 'hostNetwork'>;
  readonly wanted: LocalPodEndpoints | undefined;
  readonly addresses: readonly string[];
}

const addresses = ['10.244.0.5', 'fd00::5'];
const serves = { ready: true, terminating: false };
const cases: Record<string, Case> = {
  'a pod is known by its addresses': { spec: {}, status: ready, wanted: { keys: addresses, ...serves }, addresses },
  'a pod without an address is nobody': { spec: {}, status: {}, wanted: undefined, addresses: [] },
  "a pod on the host's network is known by its UID": {
    ...{ spec: { hostNetwork: true }, status: ready },
    ...{ wanted: { keys: [uid], ...serves }, addresses },
  },
  "a static pod on the host's network is known by its mirror": {
    ...{ spec: { hostNetwork: true }, status: { ...ready, conditions: [] }, mirror: 'm1' },
    ...{ wanted: { keys: ['m1'], ready: false, terminating: false }, addresses },
  },
  'one that only the runtime knows is known by what that says': {
    ...{ sandbox: { ips: ['10.244.0.6'], hostNetwork: false } },
    ...{ wanted: { keys: ['10.244.0.6'], ...serves }, addresses: ['10.244.0.6'] },
  },
  "so is one on the host's network": {
    ...{ sandbox: { ips: [], hostNetwork: true } },
    ...{ wanted: { keys: [uid], ...serves }, addresses: [] },
  },
};
for (const [sentence, { spec, status, mirror, sandbox, wanted, addresses }] of Object.entries(cases)) {
  test(sentence, () => {
    const pod: Pod | undefined = spec && { metadata: { name: 'p', namespace: 'd' }, spec: { containers: [], ...spec } };
    const box: ObservedSandbox | undefined = sandbox && { ...observedSandbox, ...sandbox };
    const observed = box && { uid, name: 'p', namespace: 'd', sandboxes: [box], containers: [] };
    const pods: Parameters<typeof addressesOf>[0] = {
      manager: { mirrorOf: (of) => (mirror ? { uid: mirrorPodUid(mirror), pod: of } : undefined) },
      cache: { get: () => observed },
      statuses: { get: () => status },
      workers: {
        uids: () => [uid],
        view: () => ({
          ...{ state: { phase: 'syncing' }, problems: new Map() },
          desired: pod && { uid, pod, source: 'api', seenAt: 0 },
        }),
      },
    };
    assert.deepEqual([...localPodEndpoints(pods)], wanted ? [wanted] : []);
    assert.deepEqual(addressesOf(pods, uid), addresses);
  });
}
