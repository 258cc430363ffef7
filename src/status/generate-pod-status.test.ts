import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, ContainerStatus, Pod, PodStatus } from '../api/core-v1.ts';
import { containerId, podUid, sandboxId } from '../api/ids.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { ObservedContainer, ObservedPod } from '../pod/observed.ts';
import type { ProbeType, ProbeView } from '../probes/probe-results.ts';
import { goldenPods } from '../testing/golden.ts';
import type { ContainerProblem } from '../workers/problems.ts';
import type { WorkerState } from '../workers/worker-state.ts';
import { generatePodStatus, type PodStatusInput } from './generate-pod-status.ts';

const now = Date.UTC(2026, 10, 21);

// --- Recorded truth: the runtime's view is rebuilt from the recorded status, and must give that status again. ---

for (const folder of ['pods', 'pods-cgroup2'] as const) {
  for (const golden of goldenPods(folder)) {
    test(`${folder}/${golden.name}: the status is the one kubelet reported`, () => {
      const status = generatePodStatus({
        pod: deepFreeze(golden.pod),
        observed: observedFrom(golden.status),
        worker:
          golden.status.phase === 'Failed'
            ? { phase: 'finished', at: now, cause: { kind: 'completed' } }
            : { phase: 'syncing' },
        problems: problemsFrom(golden.status),
        probes: probesFrom(golden.status),
        previous: { podIPs: golden.status.podIPs ?? [] },
        runtimeName: 'containerd',
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

/** The answers that the recorded readiness tells of: rwlive's probe failed, others that have one succeeded. */
const probesFrom =
  (status: PodStatus): ProbeView =>
  (_, type) => {
    const ready = status.containerStatuses?.every((s) => s.ready) === true;
    if (type !== 'readiness') return undefined;
    return { verdict: ready ? 'success' : 'failure', message: '', since: now };
  };

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

const withSidecar = (pod: Pod): Pod => ({
  ...pod,
  spec: { ...pod.spec, initContainers: [{ name: 's', image: 'i', restartPolicy: 'Always' }] },
});
const withContainer = (pod: Pod, a: Partial<Container>, b: Partial<Container> = {}): Pod => ({
  ...pod,
  spec: {
    ...pod.spec,
    containers: [
      { name: 'a', image: 'i', ...a },
      { name: 'b', image: 'i', ...b },
    ],
  },
});
const restartsAll = (pod: Pod): Pod =>
  withContainer(policy('Never')(pod), {
    restartPolicy: 'Never',
    restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [42] } }],
  });
const evicted = (reason: string) => ({ kind: 'evicted', reason, message: 'm' }) as const;
const reported = (name: string, containerID: string): ContainerStatus => ({
  ...{ name, containerID, ready: true, started: true, restartCount: 0, image: 'i', imageID: 'r' },
  state: { running: { startedAt: '2026-11-20T00:00:00Z' } },
});

interface Case {
  readonly pod?: (pod: Pod) => Pod;
  readonly observed?: ObservedPod;
  readonly worker?: WorkerState;
  readonly previous?: PodStatus;
  /** What every container's probe of this type has come to. */
  readonly probes?: Partial<Record<ProbeType, 'success' | 'failure'>>;
  readonly inPostStart?: string;
  readonly expect: (status: PodStatus) => readonly unknown[];
  readonly is: readonly unknown[];
}

const phase = (s: PodStatus) => [s.phase];
const conditions = (s: PodStatus) =>
  s.conditions?.map((c) => `${c.type}=${c.status}${c.reason ? ` ${c.reason}` : ''}`) ?? [];

const disruption = (s: PodStatus) => {
  const found = s.conditions?.find((c) => c.type === 'DisruptionTarget');
  return found && `${found.status} ${found.reason} ${found.message}`;
};
const readyOf = (s: PodStatus) =>
  (s.containerStatuses ?? []).map(
    (c) => `${c.name} ${c.started ? 'started' : 'not started'} ${c.ready ? 'ready' : 'not ready'}`,
  );
const stateOf = (s: PodStatus, name: string) =>
  [...(s.initContainerStatuses ?? []), ...(s.containerStatuses ?? [])]
    .filter((c) => c.name === name)
    .map(({ state }) => {
      if (state?.terminated) return `terminated ${state.terminated.exitCode} ${state.terminated.reason}`;
      return state?.running ? 'running' : `waiting ${state?.waiting?.reason}`;
    });

const cases: Record<string, Case> = {
  'nothing exists yet': { expect: phase, is: ['Pending'] },
  'all run': { observed: observed(run('a'), run('b')), expect: phase, is: ['Running'] },
  'one runs, one is still to come': { observed: observed(run('a')), expect: phase, is: ['Pending'] },
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
    expect: (s) => [s.phase, s.reason, s.message, s.containerStatuses],
    is: ['Failed', 'OutOfcpu', 'Pod was rejected: m', undefined],
  },
  'a pod that is being evicted has not failed while its containers run': {
    worker: { phase: 'terminating', since: now, gracePeriodSeconds: 1, cause: evicted('Evicted') },
    previous: { phase: 'Running' },
    observed: observed(run('a'), run('b')),
    expect: (s) => [s.phase, s.reason, disruption(s)],
    is: ['Running', undefined, undefined],
  },
  'an evicted pod fails with its reason, and was disrupted': {
    worker: { phase: 'terminated', at: now, cause: evicted('Evicted') },
    previous: { phase: 'Running' },
    observed: observed(ended('a', 0), ended('b', 0)),
    expect: (s) => [s.phase, s.reason, s.message, disruption(s)],
    is: ['Failed', 'Evicted', 'm', 'True TerminationByKubelet m'],
  },
  'a pod that was over before it was to be evicted keeps its outcome': {
    worker: { phase: 'terminated', at: now, cause: evicted('Evicted') },
    previous: { phase: 'Succeeded' },
    observed: observed(ended('a', 0), ended('b', 0)),
    expect: (s) => [s.phase, s.reason, disruption(s)],
    is: ['Succeeded', undefined, undefined],
  },
  'a pod that made room for a critical one says so': {
    worker: { phase: 'terminated', at: now, cause: evicted('Preempting') },
    observed: observed(ended('a', 0), ended('b', 0)),
    expect: (s) => [s.phase, disruption(s)],
    is: ['Failed', 'True TerminationByKubelet Pod was preempted by Kubelet to accommodate a critical pod.'],
  },
  'a deadline is no disruption': {
    worker: { phase: 'terminated', at: now, cause: evicted('DeadlineExceeded') },
    observed: observed(ended('a', 0), ended('b', 0)),
    expect: (s) => [s.phase, s.reason, disruption(s)],
    is: ['Failed', 'DeadlineExceeded', undefined],
  },
  'that a pod was disrupted stays in its conditions, with its time': {
    worker: { phase: 'finished', at: now, cause: { kind: 'completed' } },
    previous: {
      phase: 'Failed',
      reason: 'Evicted',
      conditions: [
        {
          type: 'DisruptionTarget',
          status: 'True',
          reason: 'TerminationByKubelet',
          message: 'm',
          lastTransitionTime: 't0',
        },
      ],
    },
    observed: observed(ended('a', 0), ended('b', 0)),
    expect: (s) => [
      s.reason,
      disruption(s),
      s.conditions?.find((c) => c.type === 'DisruptionTarget')?.lastTransitionTime,
    ],
    is: ['Evicted', 'True TerminationByKubelet m', 't0'],
  },
  'a pod that was deleted before anything of it ran has failed': {
    worker: stopped,
    previous: { phase: 'Pending' },
    expect: (s) => [s.phase, ...stateOf(s, 'a')],
    is: ['Failed', 'terminated 137 ContainerStatusUnknown'],
  },
  'containers behind an init container that failed have never run: they go on waiting': {
    pod: (p) => withInit(policy('Never')(p)),
    observed: observed(ended('i', 1)),
    worker: stopped,
    expect: (s) => [s.phase, ...stateOf(s, 'i'), ...stateOf(s, 'a')],
    is: ['Failed', 'terminated 1 Error', 'waiting PodInitializing'],
  },
  'so they do behind one that was never seen, which is lost then': {
    pod: withInit,
    observed: observed(),
    worker: stopped,
    expect: (s) => [s.phase, ...stateOf(s, 'i'), ...stateOf(s, 'a')],
    is: ['Failed', 'terminated 137 ContainerStatusUnknown', 'waiting PodInitializing'],
  },
  'and behind a sidecar, however that ended': {
    pod: withSidecar,
    observed: observed(ended('s', 0)),
    worker: stopped,
    expect: (s) => stateOf(s, 'a'),
    is: ['waiting PodInitializing'],
  },
  'behind an init container that succeeded they had their turn: what is not known of them is lost': {
    pod: withInit,
    observed: observed(ended('i', 0)),
    worker: stopped,
    expect: (s) => stateOf(s, 'a'),
    is: ['terminated 137 ContainerStatusUnknown'],
  },
  'a static pod that has stopped may come back: its phase is not final': {
    pod: (p) => ({
      ...p,
      metadata: { ...p.metadata, annotations: { 'kubernetes.io/config.source': 'file' } },
    }),
    worker: stopped,
    observed: observed(ended('a', 0), ended('b', 1)),
    expect: phase,
    is: ['Running'],
  },
  'a container with a rule for its exit code is restarted although the policy is Never': {
    pod: (p) =>
      withContainer(policy('Never')(p), {
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
      }),
    observed: observed(ended('a', 42), ended('b', 0)),
    expect: phase,
    is: ['Running'],
  },
  'a rule that restarts all containers: the pod goes on, and says so until they are gone': {
    pod: restartsAll,
    observed: observed(ended('a', 42), ended('b', 137)),
    expect: (s) => [s.phase, ...conditions(s).slice(-1)],
    is: ['Running', 'AllContainersRestarting=True RestartAllContainersStarted'],
  },
  'all containers were removed to be started anew': {
    pod: restartsAll,
    observed: observed(),
    previous: {
      phase: 'Running',
      containerStatuses: [
        { ...reported('a', 'containerd://a-id'), state: { terminated: { exitCode: 42 } } },
        { ...reported('b', 'containerd://b-id'), state: { terminated: { exitCode: 137 } } },
      ],
    },
    expect: (s) => [s.phase, ...conditions(s).slice(-1)],
    is: ['Running', 'AllContainersRestarting=False'],
  },
  'a rule that does not fit leaves the decision to the policy': {
    pod: (p) =>
      withContainer(policy('Never')(p), {
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'NotIn', values: [42] } }],
      }),
    observed: observed(ended('a', 42), ended('b', 0)),
    expect: phase,
    is: ['Failed'],
  },
  "the container's own policy counts before the pod's": {
    pod: (p) => withContainer(p, { restartPolicy: 'Never' }, { restartPolicy: 'Never' }),
    observed: observed(ended('a', 0), ended('b', 3)),
    expect: phase,
    is: ['Failed'],
  },
  'a sidecar that has not started yet keeps the pod pending': {
    pod: withSidecar,
    observed: observed(run('s')),
    expect: (s) => [s.phase, ...stateOf(s, 's'), ...stateOf(s, 'a')],
    is: ['Pending', 'running', 'waiting PodInitializing'],
  },
  'a sidecar that is restarted does not put the pod back to pending': {
    pod: withSidecar,
    observed: observed(ended('s', 1), run('a'), run('b')),
    expect: (s) => [s.phase, ...conditions(s).slice(1, 3)],
    is: ['Running', 'Initialized=True', 'Ready=False ContainersNotReady'],
  },
  'a sidecar still runs after the last container ended: the pod is not over': {
    pod: (p) => policy('Never')(withSidecar(p)),
    observed: observed(run('s'), ended('a', 0), ended('b', 0)),
    expect: phase,
    is: ['Running'],
  },
  'a container with a readiness probe is not ready before its first success': {
    pod: (p) => withContainer(p, { readinessProbe: {} }),
    observed: observed(run('a'), run('b')),
    expect: (s) => [...readyOf(s), ...conditions(s).slice(2, 3)],
    is: ['a started not ready', 'b started ready', 'Ready=False ContainersNotReady'],
  },
  'a container is ready when its probe says so': {
    pod: (p) => withContainer(p, { readinessProbe: {} }),
    observed: observed(run('a'), run('b')),
    probes: { readiness: 'success' },
    expect: readyOf,
    is: ['a started ready', 'b started ready'],
  },
  'a container whose startup probe has not succeeded has not started, whatever its readiness': {
    pod: (p) => withContainer(p, { startupProbe: {}, readinessProbe: {} }),
    observed: observed(run('a'), run('b')),
    probes: { startup: 'failure', readiness: 'success' },
    expect: readyOf,
    is: ['a not started not ready', 'b started ready'],
  },
  'readiness of a pod that is being stopped follows its probe': {
    pod: (p) => withContainer(p, { readinessProbe: {} }),
    observed: observed(run('a'), run('b')),
    worker: { phase: 'terminating', since: now, gracePeriodSeconds: 1, cause: { kind: 'deleted' } },
    probes: { readiness: 'failure' },
    expect: readyOf,
    is: ['a started not ready', 'b started ready'],
  },
  'without an answer yet, the same container stays what was reported of it': {
    pod: (p) => withContainer(p, { readinessProbe: {}, startupProbe: {} }),
    observed: observed(run('a'), run('b')),
    previous: { phase: 'Running', containerStatuses: [reported('a', 'containerd://a-id')] },
    expect: readyOf,
    is: ['a started ready', 'b started ready'],
  },
  'another container of the same name does not inherit it': {
    pod: (p) => withContainer(p, { readinessProbe: {}, startupProbe: {} }),
    observed: observed(run('a'), run('b')),
    previous: { phase: 'Running', containerStatuses: [reported('a', 'containerd://older')] },
    expect: readyOf,
    is: ['a not started not ready', 'b started ready'],
  },
  'while its postStart hook runs a container has not started': {
    observed: observed(run('a'), run('b')),
    inPostStart: 'a',
    expect: readyOf,
    is: ['a not started not ready', 'b started ready'],
  },
  'ephemeral containers have their own list and do not count': {
    pod: (p) => ({ ...p, spec: { ...p.spec, ephemeralContainers: [{ name: 'e', image: 'i' }] } }),
    observed: observed(run('a'), run('b'), ended('e', 1)),
    expect: (s) => [
      s.phase,
      s.ephemeralContainerStatuses?.[0]?.state?.terminated?.exitCode,
      ...conditions(s).slice(2, 3),
    ],
    is: ['Running', 1, 'Ready=True'],
  },
  'what newer runtimes report is passed on': {
    pod: (p) =>
      withContainer(p, {
        volumeMounts: [
          { name: 'v', mountPath: '/v', readOnly: true, recursiveReadOnly: 'IfPossible' },
          { name: 'w', mountPath: '/w', readOnly: true },
        ],
      }),
    observed: observed(
      run('a', {
        user: { uid: 7, gid: 8, supplementalGroups: [9] },
        stopSignal: 'SIGUSR1',
        recursiveReadOnly: ['/v'],
      }),
      run('b'),
    ),
    expect: (s) => {
      const status = s.containerStatuses?.[0];
      return [status?.user?.linux?.uid, status?.stopSignal, status?.volumeMounts?.map((m) => m.recursiveReadOnly)];
    },
    is: [7, 'SIGUSR1', ['Enabled', 'Disabled']],
  },
  'a container whose shim does not answer any more is lost, not waiting': {
    observed: observed(run('a', { state: 'unknown' }), run('b')),
    previous: { phase: 'Running', containerStatuses: [reported('a', 'containerd://a-id')] },
    expect: (s) => [s.phase, ...stateOf(s, 'a')],
    is: ['Running', 'terminated 137 ContainerStatusUnknown'],
  },
  'addresses of both families: that of the node first, one of each': {
    observed: {
      ...observed(run('a'), run('b')),
      sandboxes: [
        {
          id: sandboxId('s'),
          state: 'ready',
          attempt: 0,
          createdAt: now,
          ips: ['fd00::2', '10.0.0.2', '10.0.0.3'],
          hostNetwork: false,
        },
      ],
    },
    expect: (s) => [s.podIP, ...(s.podIPs ?? []).map((p) => p.ip)],
    is: ['10.0.0.2', '10.0.0.2', 'fd00::2'],
  },
  'on the host network a pod keeps its first address': {
    pod: (p) => ({ ...p, spec: { ...p.spec, hostNetwork: true } }),
    previous: { podIP: '192.0.2.1', podIPs: [{ ip: '192.0.2.1' }] },
    observed: observed(run('a'), run('b')),
    expect: (s) => [s.podIP, s.hostIP],
    is: ['192.0.2.1', '192.0.2.2'],
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
      probes: (_, type) => {
        const verdict = c.probes?.[type];
        return verdict && { verdict, message: '', since: now };
      },
      inPostStart: c.inPostStart,
      previous: c.previous,
      runtimeName: 'containerd',
      hostIPs: ['192.0.2.2'],
      now,
    };
    assert.deepEqual(c.expect(generatePodStatus(deepFreeze(input))), c.is);
  });
}
