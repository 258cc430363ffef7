import type { NodeCondition } from '../api/core-v1.ts';
import { rfc3339 } from '../lib/timestamps.ts';

/** Shortages that eviction found. */
export interface NodePressures {
  readonly memory: boolean;
  readonly disk: boolean;
  readonly pid: boolean;
}

export interface NodeConditionsInput {
  readonly pressures: NodePressures;
  /** Why the node cannot take pods: of the runtime, its network, the PLEG, a shutdown. Empty when it can. */
  readonly problems: readonly string[];
  readonly previous: readonly NodeCondition[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

type Verdict = Required<Pick<NodeCondition, 'type' | 'status' | 'reason' | 'message'>>;

/**
 * The conditions that the node agent answers for, with upstream's reasons and messages; those of others are passed on as
 * they are. A condition's transition time stays until its status changes.
 */
export function generateNodeConditions(input: NodeConditionsInput): NodeCondition[] {
  const { pressures, problems, previous, now } = input;
  const verdicts: Verdict[] = [
    pressures.memory
      ? verdict('MemoryPressure', true, 'KubeletHasInsufficientMemory', 'kubelet has insufficient memory available')
      : verdict('MemoryPressure', false, 'KubeletHasSufficientMemory', 'kubelet has sufficient memory available'),
    pressures.disk
      ? verdict('DiskPressure', true, 'KubeletHasDiskPressure', 'kubelet has disk pressure')
      : verdict('DiskPressure', false, 'KubeletHasNoDiskPressure', 'kubelet has no disk pressure'),
    pressures.pid
      ? verdict('PIDPressure', true, 'KubeletHasInsufficientPID', 'kubelet has insufficient PID available')
      : verdict('PIDPressure', false, 'KubeletHasSufficientPID', 'kubelet has sufficient PID available'),
    problems.length
      ? verdict('Ready', false, 'KubeletNotReady', aggregate(problems))
      : verdict('Ready', true, 'KubeletReady', 'kubelet is posting ready status'),
  ];
  const time = rfc3339(now);
  const own = verdicts.map((v): NodeCondition => {
    const old = previous.find((c) => c.type === v.type);
    const since = old?.status === v.status ? (old.lastTransitionTime ?? time) : time;
    return { ...v, lastHeartbeatTime: time, lastTransitionTime: since };
  });
  const others = previous.filter((c) => !own.some((o) => o.type === c.type));
  return [...others, ...own];
}

function verdict(type: string, holds: boolean, reason: string, message: string): Verdict {
  return { type, status: holds ? 'True' : 'False', reason, message };
}

/** Several errors as one message, as Go's aggregated errors print. */
function aggregate(problems: readonly string[]): string {
  const different = [...new Set(problems)];
  return different.length === 1 ? (different[0] ?? '') : `[${different.join(', ')}]`;
}
