import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, ContainerRestartRule, Pod } from '../api/core-v1.ts';
import { containerId, podUid, sandboxId } from '../api/ids.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { ObservedContainer, ObservedPod, ObservedSandbox } from '../pod/observed.ts';
import { noProbes, type ProbeType, type ProbeView } from '../probes/probe-results.ts';
import { computePodActions } from './compute-pod-actions.ts';
import { containerHash } from './container-hash.ts';
import type { PodActions } from './pod-actions.ts';
import type { RestartBackoff } from './restart-backoff.ts';

const now = Date.UTC(2026, 0, 2);
const minutes = 60_000;

const basePod = (): Pod => ({
  metadata: { name: 'p', namespace: 'ns', uid: 'u' },
  spec: {
    restartPolicy: 'Always',
    containers: [
      { name: 'a', image: 'i' },
      { name: 'b', image: 'i' },
    ],
  },
});

const sandbox = (over: Partial<ObservedSandbox> = {}): ObservedSandbox => ({
  id: sandboxId('s0'),
  state: 'ready',
  attempt: 0,
  createdAt: now - 20 * minutes,
  ips: ['10.0.0.2'],
  hostNetwork: false,
  ...over,
});

const container = (name: string, over: Partial<ObservedContainer> = {}): ObservedContainer => ({
  id: containerId(`${name}${over.attempt ?? 0}`),
  name,
  sandboxId: sandboxId('s0'),
  state: 'running',
  attempt: 0,
  createdAt: now - 10 * minutes + (over.attempt ?? 0),
  startedAt: now - 10 * minutes,
  finishedAt: 0,
  exitCode: 0,
  reason: '',
  message: '',
  image: 'i',
  imageRef: 'i',
  hash: containerHash({ name, image: 'i' }),
  terminationMessage: '',
  ...over,
});

const exited = (name: string, exitCode: number, over: Partial<ObservedContainer> = {}) =>
  container(name, { state: 'exited', exitCode, startedAt: now - 5000, finishedAt: now - 1000, ...over });

const observe = (sandboxes: ObservedSandbox[], containers: ObservedContainer[]): ObservedPod => ({
  uid: podUid('u'),
  name: 'p',
  namespace: 'ns',
  sandboxes,
  containers,
});

interface Case {
  readonly pod?: (pod: Pod) => Pod;
  readonly observed?: ObservedPod;
  readonly probes?: ProbeView;
  readonly backoffs?: ReadonlyMap<string, RestartBackoff>;
  readonly restartForResize?: ReadonlySet<string>;
  readonly expect: Record<string, unknown>;
}

/** The plan in one line per decision, with everything empty left out. */
function digest(actions: PodActions): Record<string, unknown> {
  const all = {
    createSandbox: actions.createSandbox?.attempt,
    stopSandboxes: actions.stopSandboxes,
    kill: actions.kill.map((k) => k.id),
    start: actions.start.map(
      (s) => `${s.kind} ${s.container.name} ${s.attempt}${s.targetId ? ` in ${s.targetId}` : ''}`,
    ),
    waiting: actions.waiting.map((w) => `${w.name} ${w.reason} ${(w.notBefore - now) / 1000}`),
    removeContainers: actions.removeContainers.map((r) => r.id),
    removeSandboxes: actions.removeSandboxes,
    completed: actions.completed || undefined,
  };
  return Object.fromEntries(
    Object.entries(all).filter(([, v]) => v !== undefined && !(Array.isArray(v) && v.length === 0)),
  );
}

const withPolicy = (restartPolicy: 'Always' | 'OnFailure' | 'Never') => (pod: Pod) => ({
  ...pod,
  spec: { ...pod.spec, restartPolicy },
});
const withInit = (pod: Pod): Pod => ({
  ...pod,
  spec: {
    ...pod.spec,
    initContainers: [
      { name: 'i1', image: 'i' },
      { name: 'i2', image: 'i' },
    ],
  },
});

const withA =
  (change: Partial<Container>) =>
  (pod: Pod): Pod => ({
    ...pod,
    spec: { ...pod.spec, containers: pod.spec.containers.map((c) => (c.name === 'a' ? { ...c, ...change } : c)) },
  });
const onCode = (action: ContainerRestartRule['action'], code: number): ContainerRestartRule => ({
  action,
  exitCodes: { operator: 'In', values: [code] },
});
/** Sidecar, init container, sidecar. */
const withSidecars = (pod: Pod): Pod => ({
  ...pod,
  spec: {
    ...pod.spec,
    initContainers: [
      { name: 's1', image: 'i', restartPolicy: 'Always' },
      { name: 'i1', image: 'i' },
      { name: 's2', image: 'i', restartPolicy: 'Always' },
    ],
  },
});
const withStartupProbe = (pod: Pod): Pod => {
  const [first, ...others] = withSidecars(pod).spec.initContainers ?? [];
  if (!first) throw new Error('there is no sidecar');
  return { ...pod, spec: { ...pod.spec, initContainers: [{ ...first, startupProbe: {} }, ...others] } };
};
const withDebug = (pod: Pod): Pod => ({
  ...pod,
  spec: { ...pod.spec, ephemeralContainers: [{ name: 'debug', image: 'i', targetContainerName: 'a' }] },
});
const failing =
  (id: string, type: ProbeType): ProbeView =>
  (asked, askedType) =>
    asked === id && askedType === type ? { verdict: 'failure', message: 'no', since: now } : undefined;

const cases: Record<string, Case> = {
  'nothing exists: a sandbox and all containers are made': {
    expect: { createSandbox: 0, start: ['container a 0', 'container b 0'] },
  },
  'everything runs: nothing to do': {
    observed: observe([sandbox()], [container('a'), container('b')]),
    expect: {},
  },
  'the first exit is restarted at once': {
    observed: observe([sandbox()], [exited('a', 0), container('b')]),
    expect: { start: ['container a 1'] },
  },
  'the second exit waits ten seconds from its end': {
    observed: observe([sandbox()], [exited('a', 1, { attempt: 1 }), exited('a', 1), container('b')]),
    backoffs: new Map([['a', { failures: 0, lastEndAt: now - 9000 }]]),
    expect: { waiting: ['a CrashLoopBackOff 9'] },
  },
  'a crash loop goes on where it was when nothing is remembered': {
    observed: observe([sandbox()], [exited('a', 1, { attempt: 4 }), container('b')]),
    expect: { waiting: ['a CrashLoopBackOff 79'] },
  },
  'an end in the future, because the clock was set back, does not keep a container down': {
    observed: observe([sandbox()], [exited('a', 1, { attempt: 2, finishedAt: now + 2880 * minutes }), container('b')]),
    expect: { start: ['container a 3'] },
  },
  'the delay never exceeds the maximum': {
    observed: observe([sandbox()], [exited('a', 1, { attempt: 40 }), container('b')]),
    expect: { waiting: ['a CrashLoopBackOff 299'] },
  },
  'a run of ten minutes ends the crash loop': {
    observed: observe([sandbox()], [exited('a', 1, { attempt: 9, startedAt: now - 11 * minutes }), container('b')]),
    expect: { start: ['container a 10'] },
  },
  'OnFailure leaves a success alone': {
    pod: withPolicy('OnFailure'),
    observed: observe([sandbox()], [exited('a', 0), container('b')]),
    expect: {},
  },
  'Never leaves a failure alone': {
    pod: withPolicy('Never'),
    observed: observe([sandbox()], [exited('a', 3), container('b')]),
    expect: {},
  },
  'Never and all ended: completed': {
    pod: withPolicy('Never'),
    observed: observe([sandbox()], [exited('a', 3), exited('b', 0)]),
    expect: { completed: true },
  },
  'a completed pod gets no new sandbox when its own died': {
    pod: withPolicy('Never'),
    observed: observe([sandbox({ state: 'notready' })], [exited('a', 3), exited('b', 0)]),
    expect: { completed: true },
  },
  'a dead sandbox takes its containers with it: all start again in a new one': {
    observed: observe(
      [sandbox({ state: 'notready' })],
      [exited('a', 137, { startedAt: now - 20 * minutes }), exited('b', 137, { startedAt: now - 20 * minutes })],
    ),
    expect: { createSandbox: 1, start: ['container a 1', 'container b 1'] },
  },
  'a container that runs in an older sandbox is killed and started in the newest': {
    observed: observe(
      [sandbox({ id: sandboxId('s1'), attempt: 1 }), sandbox()],
      [container('a'), container('b', { sandboxId: sandboxId('s1') })],
    ),
    expect: { stopSandboxes: ['s0'], kill: ['a0'], start: ['container a 1'] },
  },
  'a sandbox without an address is replaced': {
    observed: observe([sandbox({ ips: [] })], []),
    expect: { createSandbox: 1, stopSandboxes: ['s0'], start: ['container a 0', 'container b 0'] },
  },
  'a host-network sandbox needs no address': {
    observed: observe([sandbox({ ips: [], hostNetwork: true })], [container('a'), container('b')]),
    expect: {},
  },
  'a changed definition kills the container': {
    observed: observe([sandbox()], [container('a', { hash: 'other' }), container('b')]),
    expect: { kill: ['a0'], start: ['container a 1'] },
  },
  'and starts the new one at once, whatever the policy': {
    pod: withPolicy('Never'),
    observed: observe([sandbox()], [exited('a', 137, { hash: 'other' }), container('b')]),
    expect: { start: ['container a 1'] },
  },
  'a container that was made and never started is made again under its number': {
    observed: observe([sandbox()], [container('a', { state: 'created', attempt: 2 }), container('b')]),
    expect: { start: ['container a 2'], removeContainers: ['a2'] },
  },
  'only the container before the current one is kept': {
    observed: observe(
      [sandbox()],
      [container('a', { attempt: 3 }), exited('a', 1, { attempt: 2 }), exited('a', 1, { attempt: 1 }), container('b')],
    ),
    expect: { removeContainers: ['a1'] },
  },
  'init containers come first, one at a time': {
    pod: withInit,
    expect: { createSandbox: 0, start: ['init i1 0'] },
  },
  'the second init container waits for the first': {
    pod: withInit,
    observed: observe([sandbox()], [container('i1')]),
    expect: {},
  },
  'and starts when the first is done': {
    pod: withInit,
    observed: observe([sandbox()], [exited('i1', 0)]),
    expect: { start: ['init i2 0'] },
  },
  'after the last init container the containers start': {
    pod: withInit,
    observed: observe([sandbox()], [exited('i2', 0), exited('i1', 0)]),
    expect: { start: ['container a 0', 'container b 0'] },
  },
  'init containers do not run again for a restart': {
    pod: withInit,
    observed: observe([sandbox()], [exited('a', 1), container('b'), exited('i2', 0), exited('i1', 0)]),
    expect: { start: ['container a 1'] },
  },
  'a failed init container is tried again': {
    pod: withInit,
    observed: observe([sandbox()], [exited('i1', 1)]),
    expect: { start: ['init i1 1'] },
  },
  'unless the policy is Never, which ends the pod': {
    pod: (p) => withPolicy('Never')(withInit(p)),
    observed: observe([sandbox()], [exited('i1', 1)]),
    expect: { completed: true },
  },
  'a new sandbox runs init containers again': {
    pod: withInit,
    observed: observe(
      [sandbox({ state: 'notready' })],
      [exited('a', 1), exited('b', 1), exited('i2', 0), exited('i1', 0)],
    ),
    expect: { createSandbox: 1, start: ['init i1 1'] },
  },

  // --- Probes ---
  'a failed liveness probe kills the container and starts it anew in one pass': {
    observed: observe([sandbox()], [container('a'), container('b')]),
    probes: failing('a0', 'liveness'),
    expect: { kill: ['a0'], start: ['container a 1'] },
  },
  'so does a failed startup probe': {
    observed: observe([sandbox()], [container('a'), container('b')]),
    probes: failing('b0', 'startup'),
    expect: { kill: ['b0'], start: ['container b 1'] },
  },
  'a readiness probe kills nobody': {
    observed: observe([sandbox()], [container('a'), container('b')]),
    probes: failing('a0', 'readiness'),
    expect: {},
  },
  'what is never restarted is killed for good': {
    pod: withPolicy('Never'),
    observed: observe([sandbox()], [container('a'), container('b')]),
    probes: failing('a0', 'liveness'),
    expect: { kill: ['a0'] },
  },
  'a kill right after an end waits for the back-off of that end': {
    observed: observe([sandbox()], [container('a', { attempt: 3 }), exited('a', 1, { attempt: 2 }), container('b')]),
    probes: failing('a3', 'liveness'),
    expect: { kill: ['a3'], waiting: ['a CrashLoopBackOff 19'] },
  },
  'a kill for another definition waits for nothing': {
    observed: observe(
      [sandbox()],
      [container('a', { attempt: 3, hash: 'other' }), exited('a', 1, { attempt: 2 }), container('b')],
    ),
    expect: { kill: ['a3'], start: ['container a 4'] },
  },
  'nor does one for other resources': {
    observed: observe([sandbox()], [container('a', { attempt: 3 }), exited('a', 1, { attempt: 2 }), container('b')]),
    restartForResize: new Set(['a3']),
    expect: { kill: ['a3'], start: ['container a 4'] },
  },
  'a container in an unknown state is killed before it is started again': {
    observed: observe([sandbox()], [container('a', { state: 'unknown' }), container('b')]),
    expect: { kill: ['a0'], start: ['container a 1'] },
  },

  // --- Restart rules ---
  "a container's own policy counts before the pod's": {
    pod: (p) => withA({ restartPolicy: 'OnFailure' })(withPolicy('Never')(p)),
    observed: observe([sandbox()], [exited('a', 1), container('b')]),
    expect: { start: ['container a 1'] },
  },
  'a rule restarts what its policy would leave': {
    pod: withA({ restartPolicy: 'Never', restartPolicyRules: [onCode('Restart', 42)] }),
    observed: observe([sandbox()], [exited('a', 42), container('b')]),
    expect: { start: ['container a 1'] },
  },
  'a rule for other codes does not': {
    pod: withA({ restartPolicy: 'Never', restartPolicyRules: [onCode('Restart', 42)] }),
    observed: observe([sandbox()], [exited('a', 41), container('b')]),
    expect: {},
  },
  'one that asks for all kills and removes everything, itself last, and keeps the logs': {
    pod: (p) =>
      withA({ restartPolicy: 'Never', restartPolicyRules: [onCode('RestartAllContainers', 42)] })(withInit(p)),
    observed: observe([sandbox()], [exited('a', 42), container('b'), exited('i2', 0), exited('i1', 0)]),
    expect: { kill: ['b0'], removeContainers: ['b0', 'i20', 'i10', 'a0'] },
  },
  'with everything removed the pod begins anew in its sandbox': {
    pod: (p) =>
      withA({ restartPolicy: 'Never', restartPolicyRules: [onCode('RestartAllContainers', 42)] })(withInit(p)),
    observed: observe([sandbox()], []),
    expect: { start: ['init i1 0'] },
  },

  // --- Init containers ---
  'an init container that was out of memory has failed although it ended with 0': {
    pod: withInit,
    observed: observe([sandbox()], [exited('i1', 0, { reason: 'OOMKilled' })]),
    expect: { start: ['init i1 1'] },
  },
  'an init container with a policy of its own fails the pod by that': {
    pod: (p) => ({
      ...p,
      spec: { ...p.spec, initContainers: [{ name: 'i1', image: 'i', restartPolicy: 'Never' as const }] },
    }),
    observed: observe([sandbox()], [exited('i1', 1)]),
    expect: { completed: true },
  },
  'init containers that were removed meanwhile do not run again': {
    pod: withInit,
    observed: observe([sandbox()], [container('i2')]),
    expect: {},
  },
  'a pod that is never restarted gets no second sandbox in the midst of its init containers': {
    pod: (p) => withPolicy('Never')(withInit(p)),
    observed: observe([sandbox({ state: 'notready' })], [exited('i1', 0)]),
    expect: { completed: true },
  },
  'it gets one while nothing of it has run': {
    pod: withPolicy('Never'),
    observed: observe([sandbox({ state: 'notready' })], []),
    expect: { createSandbox: 1, start: ['container a 0', 'container b 0'] },
  },

  // --- Sidecars ---
  'a sidecar that runs lets the next init container start': {
    pod: withSidecars,
    observed: observe([sandbox()], [container('s1')]),
    expect: { start: ['init i1 0'] },
  },
  'but not before its startup probe has succeeded': {
    pod: withStartupProbe,
    observed: observe([sandbox()], [container('s1')]),
    expect: {},
  },
  'which it has then': {
    pod: withStartupProbe,
    observed: observe([sandbox()], [container('s1')]),
    probes: (id, type) =>
      id === 's10' && type === 'startup' ? { verdict: 'success', message: '', since: now } : undefined,
    expect: { start: ['init i1 0'] },
  },
  'a failed startup probe starts the sidecar anew, and nothing else': {
    pod: withStartupProbe,
    observed: observe([sandbox()], [container('s1')]),
    probes: failing('s10', 'startup'),
    expect: { kill: ['s10'], start: ['init s1 1'] },
  },
  'the last sidecar is followed by the containers': {
    pod: withSidecars,
    observed: observe([sandbox()], [container('s2'), exited('i1', 0), container('s1')]),
    expect: { start: ['container a 0', 'container b 0'] },
  },
  'a sidecar that ended during initialisation is started beside the next init container': {
    pod: withSidecars,
    observed: observe([sandbox()], [exited('i1', 0), exited('s1', 0)]),
    expect: { start: ['init s1 1', 'init s2 0'] },
  },
  'a sidecar that ends while the pod runs is started again, whatever its code and the policy': {
    pod: (p) => withPolicy('Never')(withSidecars(p)),
    observed: observe([sandbox()], [container('a'), container('b'), exited('s2', 0), exited('i1', 0), container('s1')]),
    expect: { start: ['init s2 1'] },
  },
  'it backs off like any other': {
    pod: withSidecars,
    observed: observe(
      [sandbox()],
      [container('a'), container('b'), exited('s2', 1, { attempt: 2 }), exited('i1', 0), container('s1')],
    ),
    expect: { waiting: ['s2 CrashLoopBackOff 19'] },
  },
  'its liveness probe counts while the pod runs': {
    pod: withSidecars,
    observed: observe([sandbox()], [container('a'), container('b'), container('s2'), exited('i1', 0), container('s1')]),
    probes: failing('s10', 'liveness'),
    expect: { kill: ['s10'], start: ['init s1 1'] },
  },
  'sidecars do not keep a pod whose containers have ended': {
    pod: (p) => withPolicy('Never')(withSidecars(p)),
    observed: observe([sandbox()], [exited('a', 0), exited('b', 0), container('s2'), container('s1')]),
    expect: { completed: true },
  },
  'a new sandbox begins with the first of them': {
    pod: withSidecars,
    observed: observe(
      [sandbox({ state: 'notready' })],
      [exited('a', 137), exited('b', 137), exited('s2', 137), exited('i1', 0), exited('s1', 137)],
    ),
    expect: { createSandbox: 1, start: ['init s1 1'] },
  },

  // --- Ephemeral containers ---
  'an ephemeral container is started beside what runs, with the container it looks into': {
    pod: withDebug,
    observed: observe([sandbox()], [container('a'), container('b')]),
    expect: { start: ['ephemeral debug 0 in a0'] },
  },
  'also while the pod is still being initialised': {
    pod: (p) => withInit(withDebug(p)),
    observed: observe([sandbox()], [container('i1')]),
    expect: { start: ['ephemeral debug 0'] },
  },
  'it is never started again': {
    pod: withDebug,
    observed: observe([sandbox()], [container('a'), container('b'), exited('debug', 1)]),
    expect: {},
  },
  'nor without a sandbox, which is made for the others': {
    pod: withDebug,
    expect: { createSandbox: 0, start: ['container a 0', 'container b 0'] },
  },
  'it does not keep a pod whose containers have ended': {
    pod: (p) => withPolicy('Never')(withDebug(p)),
    observed: observe([sandbox()], [exited('a', 0), exited('b', 0), container('debug')]),
    expect: { completed: true },
  },
};

for (const [sentence, c] of Object.entries(cases)) {
  test(sentence, () => {
    const pod = deepFreeze((c.pod ?? ((p: Pod) => p))(basePod()));
    const actions = computePodActions({
      pod,
      observed: c.observed && deepFreeze(c.observed),
      probes: c.probes ?? noProbes,
      backoffs: c.backoffs ?? new Map(),
      ...(c.restartForResize ? { restartForResize: c.restartForResize } : {}),
      maxBackoffMs: 300_000,
      now,
    });
    assert.deepEqual(digest(actions), c.expect);
  });
}

// --- What a kill says ---

const plan = (change: (pod: Pod) => Pod, observed: ObservedPod, probes: ProbeView = noProbes) =>
  computePodActions({ pod: change(basePod()), observed, probes, backoffs: new Map(), maxBackoffMs: 300_000, now });
const withGrace = (pod: Pod): Pod => ({ ...pod, spec: { ...pod.spec, terminationGracePeriodSeconds: 30 } });

interface KillCase {
  readonly pod?: (pod: Pod) => Pod;
  readonly containers: ObservedContainer[];
  readonly probes?: ProbeView;
  readonly expect: string;
}

const sidecarsRun = [container('a'), container('b'), container('s2'), container('s1')];
const kills: Record<string, KillCase> = {
  'a failed liveness probe': {
    containers: [container('a')],
    probes: failing('a0', 'liveness'),
    expect: 'LivenessProbe: Container a failed liveness probe, will be restarted (30 s)',
  },
  'a failed startup probe': {
    containers: [container('a')],
    probes: failing('a0', 'startup'),
    expect: 'StartupProbe: Container a failed startup probe, will be restarted (30 s)',
  },
  'a failed liveness probe where nothing is restarted': {
    pod: withPolicy('Never'),
    containers: [container('a')],
    probes: failing('a0', 'liveness'),
    expect: 'LivenessProbe: Container a failed liveness probe (30 s)',
  },
  'a probe with a grace period of its own': {
    pod: withA({ livenessProbe: { terminationGracePeriodSeconds: 5 } }),
    containers: [container('a')],
    probes: failing('a0', 'liveness'),
    expect: 'LivenessProbe: Container a failed liveness probe, will be restarted (5 s)',
  },
  'which is only its own': {
    pod: withA({ livenessProbe: { terminationGracePeriodSeconds: 5 } }),
    containers: [container('a')],
    probes: failing('a0', 'startup'),
    expect: 'StartupProbe: Container a failed startup probe, will be restarted (30 s)',
  },
  'a deletion, which counts before that': {
    pod: (p) => withA({ livenessProbe: { terminationGracePeriodSeconds: 5 } })(deletedWithin(7)(p)),
    containers: [container('a')],
    probes: failing('a0', 'liveness'),
    expect: 'LivenessProbe: Container a failed liveness probe, will be restarted (7 s)',
  },
  'a changed definition': {
    containers: [container('a', { hash: 'other' })],
    expect: 'Changed: Container a definition changed, will be restarted (30 s)',
  },
  'an unknown state': {
    containers: [container('a', { state: 'unknown' })],
    expect: 'Unknown: Container is in "unknown" state, try killing it before restart (30 s)',
  },
  "a sidecar's failed liveness probe": {
    pod: withSidecars,
    containers: sidecarsRun,
    probes: failing('s10', 'liveness'),
    expect: 'LivenessProbe: Init container s1 failed liveness probe (30 s)',
  },
  "a sidecar's failed startup probe": {
    pod: withStartupProbe,
    containers: sidecarsRun,
    probes: failing('s10', 'startup'),
    expect: 'StartupProbe: Init container s1 failed startup probe (30 s)',
  },
  "a sidecar's changed definition": {
    pod: withSidecars,
    containers: [...sidecarsRun.slice(0, 3), container('s1', { hash: 'other' })],
    expect: 'Changed: Init container s1 definition changed (30 s)',
  },
  'the restart of all': {
    pod: withA({ restartPolicy: 'Never', restartPolicyRules: [onCode('RestartAllContainers', 3)] }),
    containers: [exited('a', 3), container('b')],
    expect: 'RestartAllContainers: killing (0 s)',
  },
};

const deletedWithin =
  (seconds: number) =>
  (pod: Pod): Pod => ({ ...pod, metadata: { ...pod.metadata, deletionGracePeriodSeconds: seconds } });

for (const [what, { pod = (p: Pod) => p, containers, probes, expect }] of Object.entries(kills)) {
  test(`the words of a kill: ${what}`, () => {
    const { kill } = plan((p) => pod(withGrace(p)), observe([sandbox()], containers), probes);
    assert.deepEqual(
      kill.map((k) => `${k.reason}: ${k.message} (${k.gracePeriodSeconds} s)`),
      [expect],
    );
  });
}

test('what is known of crashes is kept while the container runs, and forgotten with its name', () => {
  const memory = { failures: 3, lastEndAt: now - 5 * minutes };
  const { backoffs } = computePodActions({
    pod: basePod(),
    observed: observe([sandbox()], [container('a'), container('b')]),
    probes: noProbes,
    backoffs: new Map([
      ['a', memory],
      ['gone', memory],
    ]),
    ...{ maxBackoffMs: 300_000, now },
  });
  assert.deepEqual([...backoffs], [['a', memory]]);
});

test('after a long run the crash loop begins with its first delay', () => {
  const long = exited('a', 1, { attempt: 9, startedAt: now - 20 * minutes, finishedAt: now - 10 * minutes });
  const first = plan((p) => p, observe([sandbox()], [long, container('b')]));
  const crashed = exited('a', 1, { attempt: 10 });
  const second = computePodActions({
    pod: basePod(),
    observed: observe([sandbox()], [crashed, long, container('b')]),
    probes: noProbes,
    backoffs: first.backoffs,
    ...{ maxBackoffMs: 300_000, now },
  });
  assert.deepEqual(
    second.waiting.map((w) => (w.notBefore - now) / 1000),
    [9],
  );
});

/** The delays before each start of a container that runs for `runMs` and is killed by its probe then, in seconds. */
function delaysOfKills(runMs: number, starts: number): number[] {
  let clock = now;
  let backoffs: ReadonlyMap<string, RestartBackoff> = new Map();
  let runs: ObservedContainer[] = [container('a', { startedAt: clock })];
  const delays: number[] = [];
  const look = (probes: ProbeView) => {
    const observed = observe([sandbox()], [...runs, container('b')]);
    const actions = computePodActions({
      pod: basePod(),
      ...{ observed, probes, backoffs, maxBackoffMs: 300_000, now: clock },
    });
    backoffs = actions.backoffs;
    return actions;
  };
  while (delays.length < starts) {
    clock += runMs;
    const [killed, ...before] = runs as [ObservedContainer, ...ObservedContainer[]];
    let actions = look(failing(killed.id, 'liveness'));
    assert.deepEqual(
      actions.kill.map((k) => k.id),
      [killed.id],
    );
    const killedAt = clock;
    runs = [{ ...killed, state: 'exited', exitCode: 137, finishedAt: killedAt }, ...before];
    while (actions.start.length === 0) {
      clock = Math.max(clock, ...actions.waiting.map((w) => w.notBefore));
      actions = look(noProbes);
    }
    delays.push((clock - killedAt) / 1000);
    const attempt = actions.start[0]?.attempt ?? 0;
    runs = [container('a', { attempt, startedAt: clock }), ...runs].slice(0, 2);
  }
  return delays;
}

test('a container that its probe kills again and again comes back more and more slowly', () => {
  // The run that is killed does not count for its own replacement: the second start is at once, too.
  assert.deepEqual(delaysOfKills(1000, 8), [0, 0, 10, 20, 40, 80, 160, 300]);
});

test('a container that outlives its delay each time before its probe kills it is replaced at once', () => {
  assert.deepEqual(delaysOfKills(500_000, 6), [0, 0, 0, 0, 0, 0]);
});

test('a new definition starts at once, and its crashes begin with the first delay', () => {
  const crashed = exited('a', 1, { attempt: 7, hash: 'other', finishedAt: now - 1000 });
  const memory = { failures: 7, lastEndAt: now - 1000 };
  const input = { pod: basePod(), probes: noProbes, maxBackoffMs: 300_000 };
  const first = computePodActions({
    ...input,
    observed: observe([sandbox()], [crashed, container('b')]),
    backoffs: new Map([['a', memory]]),
    now,
  });
  assert.deepEqual(digest(first), { start: ['container a 8'] });
  const again = exited('a', 1, { attempt: 8, finishedAt: now + 1000 });
  const second = computePodActions({
    ...input,
    observed: observe([sandbox()], [again, crashed, container('b')]),
    ...{ backoffs: first.backoffs, now: now + 1000 },
  });
  assert.deepEqual(
    second.waiting.map((w) => (w.notBefore - now - 1000) / 1000),
    [10],
  );
});
