import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod } from '../api/core-v1.ts';
import { containerId, podUid, sandboxId } from '../api/ids.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { ObservedContainer, ObservedPod } from '../pod/observed.ts';
import { type LastAnswer, noProbes, type ProbeView } from '../probes/probe-results.ts';
import type { WorkerView } from '../workers/pod-workers.ts';
import type { ContainerProblem } from '../workers/problems.ts';
import { withExplanation } from './condition-messages.ts';
import { type Explanation, explainPod } from './explain-pod.ts';
import { generatePodStatus } from './generate-pod-status.ts';

const now = Date.UTC(2026, 10, 21, 7);
const earlier = now - 60_000;

interface Case {
  readonly spec?: Partial<Pod['spec']>;
  readonly run?: readonly ObservedContainer[];
  readonly worker?: Partial<WorkerView>;
  readonly problems?: Readonly<Record<string, ContainerProblem>>;
  readonly probes?: ProbeView;
  readonly last?: LastAnswer;
  readonly previous?: Explanation;
  readonly says: string | undefined;
  readonly since?: number;
  readonly until?: number;
}

const run = (name: string, over: Partial<ObservedContainer> = {}): ObservedContainer => ({
  ...{ id: containerId(`${name}-id`), name, sandboxId: sandboxId('s'), state: 'running', attempt: 0 },
  ...{ createdAt: earlier, startedAt: earlier, finishedAt: 0, exitCode: 0, reason: '', message: '' },
  ...{ image: 'i', imageRef: 'r', hash: '', terminationMessage: '' },
  ...over,
});
const ended = (name: string, exitCode: number) => run(name, { state: 'exited', exitCode, finishedAt: earlier });
const answers =
  (verdict: 'success' | 'failure', message: string): ProbeView =>
  () => ({ verdict, message, since: earlier });
const failing = (kind: 'volumes' | 'network' | 'sandbox', message: string): Partial<WorkerView> => ({
  failure: { code: 'x', message, since: earlier, step: { kind } },
});
const container = (over: Partial<Container>): Partial<Pod['spec']> => ({
  containers: [{ name: 'a', image: 'web:1', ...over }],
});
const initTwo: Partial<Pod['spec']> = {
  initContainers: [
    { name: 'first', image: 'i' },
    { name: 'second', image: 'i' },
  ],
};

const cases: Record<string, Case> = {
  'a pod that is ready has nothing to explain': { run: [run('a')], says: undefined },
  'a pod that has done its work neither': {
    spec: { restartPolicy: 'Never' },
    run: [ended('a', 0)],
    says: undefined,
  },
  'nothing has begun': { says: 'container a has to start', since: now },
  'a volume cannot be set up': {
    worker: failing('volumes', 'MountVolume.SetUp failed for volume "v" : configmap "late" not found'),
    says: 'MountVolume.SetUp failed for volume "v" : configmap "late" not found',
    since: earlier,
  },
  'the sandbox cannot be made': {
    worker: failing('sandbox', 'no addresses left'),
    says: 'the sandbox cannot be made: no addresses left',
    since: earlier,
  },
  'the network is not ready': {
    worker: failing('network', 'network is not ready: cni plugin not initialized'),
    says: 'network is not ready: cni plugin not initialized',
    since: earlier,
  },
  'an image is being pulled': {
    worker: { progress: { step: { kind: 'image', container: 'a', image: 'web:1' }, since: earlier } },
    says: 'image web:1 of container a is being pulled (12 of 30 MiB)',
    since: earlier,
  },
  'a predecessor has to stop': {
    worker: { progress: { step: { kind: 'namesake' }, since: earlier } },
    says: 'waits until its predecessor of the same name has stopped',
    since: earlier,
  },
  'a hook runs': {
    run: [run('a')],
    worker: { progress: { step: { kind: 'postStart', container: 'a' }, since: earlier } },
    says: 'the postStart hook of container a runs',
    since: earlier,
  },
  'an image cannot be pulled': {
    problems: { a: { reason: 'ImagePullBackOff', message: 'Back-off pulling image "web:1"', until: now + 5_000 } },
    says: 'container a waits, ImagePullBackOff: Back-off pulling image "web:1"',
    until: now + 5_000,
  },
  'a crash loop, with how it ended': {
    run: [ended('a', 3)],
    problems: { a: { reason: 'CrashLoopBackOff', message: 'back-off 10s restarting', until: now + 10_000 } },
    says: 'container a waits, CrashLoopBackOff: back-off 10s restarting; it ended with exit code 3 (Error)',
    until: now + 10_000,
  },
  'the next try of a container in a crash loop has just begun': {
    run: [ended('a', 3)],
    problems: { a: { reason: 'CrashLoopBackOff', message: 'back-off 10s restarting', until: now - 100 } },
    worker: { progress: { step: { kind: 'create', container: 'a' }, since: now - 100 } },
    says: 'container a waits, CrashLoopBackOff: back-off 10s restarting; it ended with exit code 3 (Error)',
    until: now - 100,
  },
  'the next try takes its time': {
    run: [ended('a', 3)],
    problems: { a: { reason: 'CrashLoopBackOff', message: 'back-off 10s restarting', until: earlier } },
    worker: { progress: { step: { kind: 'create', container: 'a' }, since: earlier } },
    says: 'container a is being created',
    since: earlier,
  },
  'an init container runs': {
    spec: initTwo,
    run: [run('second'), ended('first', 0)],
    says: 'init container second (2 of 2) runs',
    since: earlier,
  },
  'an init container fails': {
    spec: initTwo,
    run: [ended('first', 2)],
    problems: { first: { reason: 'CrashLoopBackOff', message: 'back-off' } },
    says: 'init container first (1 of 2) waits, CrashLoopBackOff: back-off; it ended with exit code 2 (Error)',
  },
  'a sidecar has not passed its startup probe': {
    spec: { initContainers: [{ name: 's', image: 'i', restartPolicy: 'Always', startupProbe: {} }] },
    run: [run('s')],
    probes: answers('failure', 'HTTP probe failed with statuscode: 503'),
    says: 'the startup probe of init container s (1 of 1) fails: HTTP probe failed with statuscode: 503',
    since: earlier,
  },
  'the readiness probe fails, with its answer': {
    spec: container({ readinessProbe: {} }),
    run: [run('a')],
    probes: answers('failure', 'dial tcp 10.0.0.2:80: connect: connection refused'),
    says: 'the readiness probe of container a fails: dial tcp 10.0.0.2:80: connect: connection refused',
    since: earlier,
  },
  'the readiness probe has not been asked yet': {
    spec: container({ readinessProbe: { initialDelaySeconds: 30 } }),
    run: [run('a')],
    says: 'the readiness probe of container a has not succeeded yet (it begins after 30 s)',
    since: earlier,
  },
  'the readiness probe has failed once, which does not count yet': {
    spec: container({ readinessProbe: {} }),
    run: [run('a')],
    last: { kind: 'failure', message: 'connection refused', at: now },
    says: 'the readiness probe of container a has not succeeded yet: connection refused',
    since: earlier,
  },
  'the readiness probe cannot be asked': {
    spec: container({ readinessProbe: {} }),
    run: [run('a')],
    last: { kind: 'error', message: 'the runtime does not answer', at: now },
    says: 'the readiness probe of container a has not succeeded yet, it could not be asked: the runtime does not answer',
    since: earlier,
  },
  'one container that fails is named before one that takes its turn': {
    spec: {
      containers: [
        { name: 'a', image: 'i' },
        { name: 'b', image: 'i' },
      ],
    },
    problems: { b: { reason: 'InvalidImageName', message: 'm' } },
    says: 'container b waits, InvalidImageName: m',
  },
  'a readiness gate that nobody has opened': {
    spec: { readinessGates: [{ conditionType: 'lb/ready' }] },
    run: [run('a')],
    says: 'waits for the readiness gate "lb/ready"',
  },
  'a container ended and will not be started again while another runs': {
    spec: {
      restartPolicy: 'Never',
      containers: [
        { name: 'a', image: 'i' },
        { name: 'b', image: 'i' },
      ],
    },
    run: [run('a'), ended('b', 0)],
    says: 'container b ended with exit code 0 (Completed)',
    since: earlier,
  },
  'a pod that failed by its container': {
    spec: { restartPolicy: 'Never' },
    run: [ended('a', 9)],
    says: 'container a ended with exit code 9 (Error)',
  },
  'a pod that was not let in': {
    worker: {
      state: {
        phase: 'terminating',
        since: now,
        gracePeriodSeconds: 1,
        cause: { kind: 'rejected', reason: 'OutOfcpu', message: 'no cpu' },
      },
    },
    says: 'OutOfcpu: Pod was rejected: no cpu',
  },
  'a pod that is being stopped': {
    run: [run('a')],
    worker: { state: { phase: 'terminating', since: earlier, gracePeriodSeconds: 90, cause: { kind: 'deleted' } } },
    says: 'is being stopped: container a is still running',
    since: earlier,
    until: earlier + 90_000,
  },
  'a step that goes on keeps the time at which it was first seen': {
    previous: { step: 'starting', subject: 'a', text: 'x', since: earlier },
    says: 'container a has to start',
    since: earlier,
  },
  'another step begins now': {
    previous: { step: 'volumes', subject: '', text: 'x', since: earlier },
    says: 'container a has to start',
    since: now,
  },
};

function explain(c: Case) {
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'ns', uid: 'u' },
    spec: { restartPolicy: 'Always', containers: [{ name: 'a', image: 'web:1' }], ...c.spec },
  };
  const sandbox = { id: sandboxId('s'), state: 'ready', attempt: 0, createdAt: 0, ips: ['10.0.0.2'] } as const;
  const observed: ObservedPod = {
    ...{ uid: podUid('u'), name: 'p', namespace: 'ns' },
    sandboxes: [{ ...sandbox, hostNetwork: false }],
    containers: c.run ?? [],
  };
  const problems = new Map(Object.entries(c.problems ?? {}));
  const worker: WorkerView = { state: { phase: 'syncing' }, problems, desired: undefined, ...c.worker };
  const probes = c.probes ?? noProbes;
  const status = generatePodStatus({
    ...{ pod, observed, worker: worker.state, problems, probes, previous: undefined, now },
    inPostStart: worker.progress?.step.kind === 'postStart' ? 'a' : undefined,
    hostIPs: [],
    runtimeName: 'containerd',
  });
  const lastAnswer = () => c.last;
  const pullProgress = () => '12 of 30 MiB';
  const input = { pod, status, observed, worker, probes, lastAnswer, pullProgress, previous: c.previous, now };
  return { status, explanation: explainPod(deepFreeze(input)) };
}

for (const [sentence, c] of Object.entries(cases)) {
  test(sentence, () => {
    const { explanation } = explain(c);
    assert.equal(explanation?.text, c.says);
    if (c.since !== undefined) assert.equal(explanation?.since, c.since);
    assert.equal(explanation?.until, c.until);
  });
}

test("the sentence stands behind upstream's message in the conditions that are not fulfilled, with a time that stays", () => {
  const { status, explanation } = explain({ spec: initTwo, run: [run('first')], says: '' });
  const messages = withExplanation(status, explanation).conditions?.map((c) => `${c.type}: ${c.message ?? ''}`);
  const sentence = 'init container first (1 of 2) runs, since 2026-11-21T06:59:00Z';
  assert.deepEqual(messages, [
    'PodReadyToStartContainers: ',
    'Initialized: containers with incomplete status: [first second]',
    `Ready: containers with unready status: [a]; ${sentence}`,
    `ContainersReady: containers with unready status: [a]; ${sentence}`,
    'PodScheduled: ',
  ]);
});

test('the conditions of a pod that has failed are as upstream writes them', () => {
  const { status, explanation } = explain({ spec: { restartPolicy: 'Never' }, run: [ended('a', 9)], says: '' });
  assert.equal(withExplanation(status, explanation), status);
});
