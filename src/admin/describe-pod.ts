import type { Container, ContainerStatus, Pod, PodStatus } from '../api/core-v1.ts';
import type { ContainerId } from '../api/ids.ts';
import { containersOf, isSidecar, type PodContainer } from '../api/pod.ts';
import { rfc3339 } from '../lib/timestamps.ts';
import { newestContainer, type ObservedPod } from '../pod/observed.ts';
import type { PodSource } from '../pod/pod-manager.ts';
import type { LastAnswer, ProbeType, ProbeView } from '../probes/probe-results.ts';
import type { Explanation } from '../status/explain-pod.ts';
import type { AdminContainer, AdminPod, AdminProbe, AdminWhy } from './admin-api.ts';
import { statusWord } from './status-word.ts';

export interface DescribeInput {
  readonly pod: Pod;
  readonly source: PodSource;
  readonly status: PodStatus;
  readonly observed: ObservedPod | undefined;
  readonly probes: ProbeView;
  readonly lastAnswer: (container: ContainerId, type: ProbeType) => LastAnswer | undefined;
  readonly explanation: Explanation | undefined;
  /** Whether it has to go, and is not gone yet. */
  readonly stopping: boolean;
}

/** A pod as the admin socket shows it. */
export function describePod(input: DescribeInput): AdminPod {
  const { pod, source, status, explanation } = input;
  const { name, namespace = 'default', uid = '', creationTimestamp } = pod.metadata;
  const containers = containersOf(pod).map((c) => describeContainer(c, input));
  const sidecars = new Set((pod.spec.initContainers ?? []).filter(isSidecar).map((c) => c.name));
  const counted = containers.filter((c) => c.kind === 'regular' || (c.kind === 'init' && sidecars.has(c.name)));
  const restarts = containers.reduce((sum, c) => sum + c.restarts, 0);
  const lastRestart = restarts > 0 ? latestEnd(status) : undefined;
  const created = creationTimestamp ?? status.startTime;
  return {
    ...{ namespace, name, uid, source, phase: status.phase ?? 'Unknown' },
    status: statusWord(pod, status, input.stopping),
    isReady: status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true,
    ready: `${counted.filter((c) => c.ready).length}/${counted.length}`,
    restarts,
    ...(lastRestart ? { lastRestart } : {}),
    ...(created ? { created } : {}),
    ...(status.podIP ? { ip: status.podIP } : {}),
    ...(explanation ? { why: describeWhy(explanation) } : {}),
    containers,
  };
}

function describeWhy({ step, text, since, until }: Explanation): AdminWhy {
  return { step, sentence: text, since: rfc3339(since), ...(until === undefined ? {} : { until: rfc3339(until) }) };
}

const statusesOf = (status: PodStatus): readonly ContainerStatus[] => [
  ...(status.initContainerStatuses ?? []),
  ...(status.containerStatuses ?? []),
  ...(status.ephemeralContainerStatuses ?? []),
];

/** When the last run before the present ones ended. */
function latestEnd(status: PodStatus): string | undefined {
  const ends = statusesOf(status).flatMap((s) => s.lastState?.terminated?.finishedAt ?? []);
  return ends.sort().at(-1);
}

function describeContainer({ container, type }: PodContainer, input: DescribeInput): AdminContainer {
  const status = statusesOf(input.status).find((s) => s.name === container.name);
  const { waiting, running, terminated } = status?.state ?? {};
  const { reason, message } = terminated ?? waiting ?? {};
  const since = terminated?.finishedAt ?? running?.startedAt;
  return {
    name: container.name,
    kind: type,
    image: container.image ?? '',
    ...(status?.containerID ? { id: status.containerID } : {}),
    ready: status?.ready === true,
    restarts: status?.restartCount ?? 0,
    state: running ? 'running' : terminated ? 'terminated' : 'waiting',
    ...(reason ? { reason } : {}),
    ...(message ? { message } : {}),
    ...(terminated ? { exitCode: terminated.exitCode } : {}),
    ...(since ? { since } : {}),
    probes: probeTypes.flatMap((probe) => describeProbe(container, probe, input)),
  };
}

const probeTypes: readonly ProbeType[] = ['startup', 'liveness', 'readiness'];

function describeProbe(container: Container, type: ProbeType, input: DescribeInput): AdminProbe[] {
  const { startupProbe, livenessProbe, readinessProbe } = container;
  const probe = { startup: startupProbe, liveness: livenessProbe, readiness: readinessProbe }[type];
  if (!probe) return [];
  const latest = newestContainer(input.observed, container.name);
  const result = latest && input.probes(latest.id, type);
  const last = latest && input.lastAnswer(latest.id, type);
  return [
    {
      type,
      verdict: result?.verdict ?? 'none',
      ...(result ? { since: rfc3339(result.since) } : {}),
      ...(last ? { last: { kind: last.kind, message: last.message, at: rfc3339(last.at) } } : {}),
    },
  ];
}
