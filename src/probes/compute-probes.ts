import type { Container, Pod, Probe } from '../api/core-v1.ts';
import type { ContainerId } from '../api/ids.ts';
import { containersOf, isSidecar } from '../api/pod.ts';
import { newestContainer, type ObservedPod, readySandbox } from '../pod/observed.ts';
import type { ProbeType } from './probe-results.ts';

/** One probe of a container that runs. */
export interface WantedProbe {
  readonly type: ProbeType;
  readonly probe: Probe;
  readonly container: Container;
  /** How events name the container. */
  readonly fieldPath: string;
  readonly containerId: ContainerId;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly podIP: string;
}

export interface ProbesInput {
  readonly pod: Pod;
  readonly observed: ObservedPod | undefined;
  readonly hostIPs: readonly string[];
  /** Whether the container's postStart hook is still under way: before its end nobody asks. */
  readonly inPostStart: (container: Container, id: ContainerId, startedAt: number) => boolean;
}

/** Whether the pod has any probe at all: most of what is asked of pods ends here. */
export const hasProbes = (pod: Pod): boolean =>
  pod.spec.containers.some(isProbed) || (pod.spec.initContainers?.some((c) => isSidecar(c) && isProbed(c)) ?? false);

const isProbed = (c: Container): boolean =>
  c.startupProbe !== undefined || c.livenessProbe !== undefined || c.readinessProbe !== undefined;

/** The probes of all containers that run now: regular ones and sidecars, startup first. */
export function computeProbes({ pod, observed, hostIPs, inPostStart }: ProbesInput): WantedProbe[] {
  const sandbox = readySandbox(observed);
  if (!sandbox) return [];
  const podIP = (sandbox.hostNetwork ? hostIPs[0] : sandbox.ips[0]) ?? '';
  return containersOf(pod).flatMap(({ type, container, fieldPath }) => {
    if (type === 'ephemeral' || (type === 'init' && !isSidecar(container)) || !isProbed(container)) return [];
    const latest = newestContainer(observed, container.name);
    if (!latest || latest.sandboxId !== sandbox.id) return [];
    // While the runtime does not know what became of it, what was known of it stays.
    if (latest.state !== 'running' && latest.state !== 'unknown') return [];
    if (inPostStart(container, latest.id, latest.startedAt)) return [];
    const common = { container, fieldPath, containerId: latest.id, startedAt: latest.startedAt, podIP };
    return probesOf(container).map(({ type, probe }) => ({ ...common, type, probe }));
  });
}

function probesOf(c: Container): { readonly type: ProbeType; readonly probe: Probe }[] {
  return [
    ...(c.startupProbe ? [{ type: 'startup' as const, probe: c.startupProbe }] : []),
    ...(c.readinessProbe ? [{ type: 'readiness' as const, probe: c.readinessProbe }] : []),
    ...(c.livenessProbe ? [{ type: 'liveness' as const, probe: c.livenessProbe }] : []),
  ];
}
