import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { containerId, podUid, sandboxId } from '../api/ids.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { ObservedContainer, ObservedPod, ObservedSandbox } from '../pod/observed.ts';
import { noProbes, type ProbeView } from '../probes/probe-results.ts';
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
  readonly expect: Record<string, unknown>;
}

/** The plan in one line per decision, with everything empty left out. */
function digest(actions: PodActions): Record<string, unknown> {
  const all = {
    createSandbox: actions.createSandbox?.attempt,
    stopSandboxes: actions.stopSandboxes,
    kill: actions.kill.map((k) => k.id),
    start: actions.start.map((s) => `${s.kind} ${s.container.name} ${s.attempt}`),
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
};

for (const [sentence, c] of Object.entries(cases)) {
  test(sentence, () => {
    const pod = deepFreeze((c.pod ?? ((p: Pod) => p))(basePod()));
    const actions = computePodActions({
      pod,
      observed: c.observed && deepFreeze(c.observed),
      probes: c.probes ?? noProbes,
      backoffs: c.backoffs ?? new Map(),
      maxBackoffMs: 300_000,
      now,
    });
    assert.deepEqual(digest(actions), c.expect);
  });
}
