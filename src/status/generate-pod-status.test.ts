import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerStatus, Pod, PodStatus } from '../api/core-v1.ts';
import { containerId, podUid, sandboxId } from '../api/ids.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { ObservedContainer, ObservedPod } from '../pod/observed.ts';
import { noProbes } from '../probes/probe-results.ts';
import { goldenPods } from '../testing/golden.ts';
import type { ContainerProblem } from '../workers/problems.ts';
import type { WorkerState } from '../workers/worker-state.ts';
import { generatePodStatus, type PodStatusInput } from './generate-pod-status.ts';

const now = Date.UTC(2026, 10, 21);

// --- Recorded truth: the runtime's view is rebuilt from the recorded status, and must give that status again. ---

/** Recorded with features that this version does not have: probes decide readiness in rwlive. */
const differs = new Set(['rwlive']);

for (const folder of ['pods', 'pods-cgroup2'] as const) {
  for (const golden of goldenPods(folder)) {
    if (differs.has(golden.name)) continue;
    test(`${folder}/${golden.name}: the status is the one kubelet reported`, () => {
      const status = generatePodStatus({
        pod: deepFreeze(golden.pod),
        observed: observedFrom(golden.status),
        worker:
          golden.status.phase === 'Failed'
            ? { phase: 'finished', at: now, cause: { kind: 'completed' } }
            : { phase: 'syncing' },
        problems: problemsFrom(golden.status),
        probes: noProbes,
        previous: { podIPs: golden.status.podIPs ?? [] },
        hostIPs: golden.status.hostIPs?.map((h) => h.ip) ?? [],
        now,
      });
      assert.deepEqual(timeless(status), timeless(withoutQuirk(golden.status)));
    });
  }
}

function observedFrom(status: PodStatus): ObservedPod {
  const containers = (status.containerStatuses ?? []).flatMap((s) => [
    ...(s.state?.waiting && s.lastState?.terminated ? [] : observedContainer(s, s.state, s.restartCount)),
    ...observedContainer(s, s.lastState, s.restartCount - (s.state?.waiting ? 0 : 1)),
  ]);
  const ready = status.conditions?.find((c) => c.type === 'PodReadyToStartContainers')?.status === 'True';
  return {
    uid: podUid('<uid>'),
    name: '',
    namespace: '',
    sandboxes: [
      {
        id: sandboxId('s'),
        state: ready ? 'ready' : 'notready',
        attempt: 0,
        createdAt: now,
        ips: ready ? (status.podIPs ?? []).map((p) => p.ip) : [],
        hostNetwork: false,
      },
    ],
    containers,
  };
}

function observedContainer(s: ContainerStatus, state: ContainerStatus['state'], attempt: number): ObservedContainer[] {
  if (!state?.running && !state?.terminated) return [];
  const ended = state.terminated;
  return [
    {
      id: containerId('<id>'),
      name: s.name,
      sandboxId: sandboxId('s'),
      state: ended ? 'exited' : 'running',
      attempt,
      createdAt: now,
      startedAt: now,
      finishedAt: ended ? now : 0,
      exitCode: ended?.exitCode ?? 0,
      reason: ended?.reason ?? '',
      message: '',
      image: s.image,
      imageRef: s.imageID,
      hash: '',
      terminationMessage: ended?.message ?? '',
    },
  ];
}

function problemsFrom(status: PodStatus): ReadonlyMap<string, ContainerProblem> {
  const waiting = (status.containerStatuses ?? []).flatMap((s) => {
    const { reason, message } = s.state?.waiting ?? {};
    return reason && message ? [[s.name, { reason, message }] as const] : [];
  });
  return new Map(waiting);
}

const timeless = (status: PodStatus): unknown =>
  JSON.parse(JSON.stringify(status, (key, value) => (/Time$|At$/.test(key) && value !== null ? '<time>' : value)));

/**
 * Two quirks that are not copied. On cgroup v1 kubelet sometimes reports the kernel's "no limit" as if it
 * were a limit. On v2 it computes the pod's CPU request back from cpu.weight and loses some of it on
 * the way (100m comes back as 79m); keelson reports what was allocated.
 */
function withoutQuirk(status: PodStatus): PodStatus {
  if (status.resources?.limits?.['memory'] === '9007199254740988Ki') return { ...status, resources: {} };
  const cpu = status.allocatedResources?.['cpu'];
  if (cpu === undefined) return status;
  return { ...status, resources: { ...status.resources, requests: { ...status.resources?.requests, cpu } } };
}

// --- Phases and stickiness ---

const basePod = (): Pod => ({
  metadata: { name: 'p', namespace: 'ns', uid: 'u', generation: 2 },
  spec: {
    restartPolicy: 'Always',
    containers: [
      { name: 'a', image: 'i' },
      { name: 'b', image: 'i' },
    ],
  },
});

const run = (name: string, over: Partial<ObservedContainer> = {}): ObservedContainer => ({
  id: containerId(`${name}-id`),
  name,
  sandboxId: sandboxId('s'),
  state: 'running',
  attempt: 0,
  createdAt: now,
  startedAt: now,
  finishedAt: 0,
  exitCode: 0,
  reason: '',
  message: '',
  image: 'i',
  imageRef: 'r',
  hash: '',
  terminationMessage: '',
  ...over,
});
const ended = (name: string, exitCode: number): ObservedContainer =>
  run(name, { state: 'exited', exitCode, finishedAt: now });
const observed = (...containers: ObservedContainer[]): ObservedPod => ({
  uid: podUid('u'),
  name: 'p',
  namespace: 'ns',
  sandboxes: [
    { id: sandboxId('s'), state: 'ready', attempt: 0, createdAt: now, ips: ['10.0.0.2'], hostNetwork: false },
  ],
  containers,
});

const stopped: WorkerState = { phase: 'terminated', at: now, cause: { kind: 'deleted' } };
const policy =
  (restartPolicy: 'Never' | 'OnFailure') =>
  (pod: Pod): Pod => ({ ...pod, spec: { ...pod.spec, restartPolicy } });
const withInit = (pod: Pod): Pod => ({ ...pod, spec: { ...pod.spec, initContainers: [{ name: 'i', image: 'i' }] } });

interface Case {
  readonly pod?: (pod: Pod) => Pod;
  readonly observed?: ObservedPod;
  readonly worker?: WorkerState;
  readonly previous?: PodStatus;
  readonly expect: (status: PodStatus) => readonly unknown[];
  readonly is: readonly unknown[];
}

const phase = (s: PodStatus) => [s.phase];
const conditions = (s: PodStatus) =>
  s.conditions?.map((c) => `${c.type}=${c.status}${c.reason ? ` ${c.reason}` : ''}`) ?? [];

const cases: Record<string, Case> = {
  'nothing exists yet': { expect: phase, is: ['Pending'] },
  'all run': { observed: observed(run('a'), run('b')), expect: phase, is: ['Running'] },
  'one runs, one is still to come': { observed: observed(run('a')), expect: phase, is: ['Running'] },
  'all succeeded and policy is Always: it will go on': {
    observed: observed(ended('a', 0), ended('b', 0)),
    expect: phase,
    is: ['Running'],
  },
  'all succeeded and policy is Never': {
    pod: policy('Never'),
    observed: observed(ended('a', 0), ended('b', 0)),
    expect: phase,
    is: ['Succeeded'],
  },
  'one failed and policy is Never': {
    pod: policy('Never'),
    observed: observed(ended('a', 1), ended('b', 0)),
    expect: phase,
    is: ['Failed'],
  },
  'one failed and policy is OnFailure: it is restarted': {
    pod: policy('OnFailure'),
    observed: observed(ended('a', 1), ended('b', 0)),
    expect: phase,
    is: ['Running'],
  },
  'deleted and all ended well': {
    observed: observed(ended('a', 0), ended('b', 0)),
    worker: stopped,
    expect: phase,
    is: ['Succeeded'],
  },
  'deleted and killed': {
    observed: observed(ended('a', 137), ended('b', 0)),
    worker: stopped,
    expect: phase,
    is: ['Failed'],
  },
  'a terminal phase is final': {
    previous: { phase: 'Failed' },
    observed: observed(run('a'), run('b')),
    expect: phase,
    is: ['Failed'],
  },
  'the init container runs': { pod: withInit, observed: observed(run('i')), expect: phase, is: ['Pending'] },
  'the init container failed and policy is Never': {
    pod: (p) => policy('Never')(withInit(p)),
    observed: observed(ended('i', 1)),
    expect: phase,
    is: ['Failed'],
  },
  'containers wait for init containers': {
    pod: withInit,
    observed: observed(run('i')),
    expect: (s) => [s.containerStatuses?.[0]?.state?.waiting?.reason, ...conditions(s)],
    is: [
      'PodInitializing',
      'PodReadyToStartContainers=True',
      'Initialized=False ContainersNotInitialized',
      'Ready=False ContainersNotReady',
      'ContainersReady=False ContainersNotReady',
      'PodScheduled=True',
    ],
  },
  'a readiness gate that nobody answered keeps the pod from Ready': {
    pod: (p) => ({ ...p, spec: { ...p.spec, readinessGates: [{ conditionType: 'x/y' }] } }),
    observed: observed(run('a'), run('b')),
    expect: (s) => conditions(s).slice(2, 4),
    is: ['Ready=False ReadinessGatesNotReady', 'ContainersReady=True'],
  },
  'what ended stays ended when the runtime forgets it': {
    pod: policy('Never'),
    previous: {
      phase: 'Running',
      containerStatuses: [
        { name: 'a', ready: false, restartCount: 3, image: 'i', imageID: 'r', state: { terminated: { exitCode: 4 } } },
      ],
    },
    observed: observed(run('b')),
    expect: (s) => [s.containerStatuses?.[0]?.state?.terminated?.exitCode, s.containerStatuses?.[0]?.restartCount],
    is: [4, 3],
  },
  'what ran and vanished is reported as lost': {
    previous: {
      phase: 'Running',
      containerStatuses: [
        { name: 'a', ready: true, restartCount: 0, image: 'i', imageID: 'r', state: { running: {} } },
      ],
    },
    observed: observed(run('b')),
    expect: (s) => [s.containerStatuses?.[0]?.lastState?.terminated?.reason, s.containerStatuses?.[0]?.restartCount],
    is: ['ContainerStatusUnknown', 1],
  },
  'a refused pod says why and has no containers': {
    worker: {
      phase: 'terminating',
      since: now,
      gracePeriodSeconds: 1,
      cause: { kind: 'rejected', reason: 'OutOfcpu', message: 'm' },
    },
    expect: (s) => [s.phase, s.reason, s.containerStatuses],
    is: ['Failed', 'OutOfcpu', undefined],
  },
  'an evicted pod fails with its reason': {
    worker: {
      phase: 'terminating',
      since: now,
      gracePeriodSeconds: 1,
      cause: { kind: 'evicted', reason: 'Evicted', message: 'm' },
    },
    observed: observed(run('a'), run('b')),
    expect: (s) => [s.phase, s.reason],
    is: ['Failed', 'Evicted'],
  },
  'a condition that did not change keeps its time, one that did gets a new one': {
    previous: {
      conditions: [
        { type: 'Ready', status: 'True', lastTransitionTime: 't0' },
        { type: 'ContainersReady', status: 'False', lastTransitionTime: 't0' },
        { type: 'somebody/else', status: 'True', lastTransitionTime: 't0' },
      ],
    },
    observed: observed(run('a'), run('b')),
    expect: (s) =>
      (s.conditions ?? []).filter((c) => /eady$|else/.test(c.type)).map((c) => `${c.type} ${c.lastTransitionTime}`),
    is: ['Ready t0', 'ContainersReady 2026-11-21T00:00:00Z', 'somebody/else t0'],
  },
};

for (const [sentence, c] of Object.entries(cases)) {
  test(sentence, () => {
    const input: PodStatusInput = {
      pod: (c.pod ?? ((p: Pod) => p))(basePod()),
      observed: c.observed,
      worker: c.worker ?? { phase: 'syncing' },
      problems: new Map(),
      probes: noProbes,
      previous: c.previous,
      hostIPs: ['192.0.2.2'],
      now,
    };
    assert.deepEqual(c.expect(generatePodStatus(deepFreeze(input))), c.is);
  });
}
