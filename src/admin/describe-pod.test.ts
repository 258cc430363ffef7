import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerState, ContainerStatus, Pod, PodStatus } from '../api/core-v1.ts';
import { containerId, podUid, sandboxId } from '../api/ids.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { ObservedPod } from '../pod/observed.ts';
import type { ProbeView } from '../probes/probe-results.ts';
import { type DescribeInput, describePod } from './describe-pod.ts';
import { statusWord } from './status-word.ts';

const at = '2026-11-21T07:00:00Z';
const status = (name: string, state: ContainerState, over: Partial<ContainerStatus> = {}): ContainerStatus => ({
  ...{ name, state, ready: state.running !== undefined, restartCount: 0, image: 'i', imageID: 'r' },
  ...over,
});
const running = (name: string, over: Partial<ContainerStatus> = {}) =>
  status(name, { running: { startedAt: at } }, over);
const pod: Pod = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u', creationTimestamp: at },
  spec: {
    initContainers: [
      { name: 'i', image: 'i' },
      { name: 's', image: 'i', restartPolicy: 'Always' },
    ],
    containers: [{ name: 'a', image: 'web:1', readinessProbe: {}, livenessProbe: {} }],
  },
};
const observed: ObservedPod = {
  ...{ uid: podUid('u'), name: 'p', namespace: 'ns', sandboxes: [] },
  containers: [
    {
      ...{ id: containerId('a-id'), name: 'a', sandboxId: sandboxId('s'), state: 'running', attempt: 0 },
      ...{ createdAt: 1, startedAt: 1, finishedAt: 0, exitCode: 0, reason: '', message: '', image: 'i' },
      ...{ imageRef: 'r', hash: '', terminationMessage: '' },
    },
  ],
};

test('a pod with its containers, probes and reason', () => {
  const since = Date.parse(at);
  const probes: ProbeView = (id, type) =>
    id === 'a-id' && type === 'readiness' ? { verdict: 'failure', message: 'refused', since } : undefined;
  const lastAnswer: DescribeInput['lastAnswer'] = (_, type) =>
    type === 'readiness' ? { kind: 'failure', message: 'refused', at: since } : undefined;
  const ended = { terminated: { exitCode: 1, reason: 'Error', finishedAt: at } };
  const described = describePod(
    deepFreeze({
      ...{ pod, source: 'api' as const, observed, probes, lastAnswer, stopping: false },
      status: {
        phase: 'Running' as const,
        podIP: '10.0.0.2',
        conditions: [{ type: 'Initialized', status: 'True' as const }],
        initContainerStatuses: [status('i', { terminated: { exitCode: 0 } }), running('s', { started: true })],
        containerStatuses: [running('a', { ready: false, restartCount: 2, lastState: ended })],
      },
      explanation: { step: 'readiness', subject: 'a', text: 'the probe fails', since, until: since + 1_000 },
    }),
  );
  const { containers, ...rest } = described;
  assert.deepEqual(rest, {
    ...{ namespace: 'ns', name: 'p', uid: 'u', source: 'api', phase: 'Running', status: 'Running', isReady: false },
    ...{ ready: '1/2', restarts: 2, lastRestart: at, created: at, ip: '10.0.0.2' },
    why: { step: 'readiness', sentence: 'the probe fails', since: at, until: '2026-11-21T07:00:01Z' },
  });
  assert.deepEqual(
    containers.map((c) => [c.name, c.kind, c.state, c.exitCode ?? null]),
    [
      ['i', 'init', 'terminated', 0],
      ['s', 'init', 'running', null],
      ['a', 'regular', 'running', null],
    ],
  );
  assert.deepEqual(containers[2]?.probes, [
    { type: 'liveness', verdict: 'none' },
    { type: 'readiness', verdict: 'failure', since: at, last: { kind: 'failure', message: 'refused', at } },
  ]);
});

test('one word for how a pod fares', () => {
  const initialized = { conditions: [{ type: 'Initialized', status: 'True' as const }] };
  const init = (state: ContainerState): PodStatus => ({
    phase: 'Pending',
    initContainerStatuses: [status('i', state), status('s', { waiting: { reason: 'PodInitializing' } })],
    containerStatuses: [status('a', { waiting: { reason: 'PodInitializing' } })],
  });
  const regular = (state: ContainerState, over: Partial<PodStatus> = {}): PodStatus => ({
    ...{ phase: 'Running', ...initialized, containerStatuses: [status('a', state)] },
    ...over,
  });
  const table: Record<string, readonly [PodStatus, boolean?]> = {
    Running: [regular({ running: {} })],
    Terminating: [regular({ running: {} }), true],
    'Init:0/2': [init({ running: {} })],
    'Init:1/2': [init({ terminated: { exitCode: 0 } })],
    'Init:Error': [init({ terminated: { exitCode: 1, reason: 'Error' } })],
    'Init:CrashLoopBackOff': [init({ waiting: { reason: 'CrashLoopBackOff' } })],
    ImagePullBackOff: [regular({ waiting: { reason: 'ImagePullBackOff' } })],
    'ExitCode:3': [regular({ terminated: { exitCode: 3 } })],
    Completed: [regular({ terminated: { exitCode: 0, reason: 'Completed' } }, { phase: 'Succeeded' }), true],
    Evicted: [{ phase: 'Failed', reason: 'Evicted', ...initialized }],
    Unknown: [initialized],
  };
  for (const [word, [given, stopping = false]] of Object.entries(table)) {
    assert.equal(statusWord(pod, given, stopping), word);
  }
});
