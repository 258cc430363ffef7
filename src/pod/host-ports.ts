import type { Pod } from '../api/core-v1.ts';
import { isSidecar } from '../api/pod.ts';

interface HostPort {
  readonly protocol: string;
  readonly port: number;
  readonly ip: string;
}

const anyAddress = '0.0.0.0';

/** Whether the host ports that the pod asks for are free of those that the others hold. */
export function hostPortsFree(pod: Pod, others: readonly Pod[]): boolean {
  const wanted = hostPorts(pod);
  if (wanted.length === 0) return true;
  const taken = others.flatMap(hostPorts);
  return !wanted.some((w) => taken.some((t) => conflict(w, t)));
}

const conflict = (a: HostPort, b: HostPort): boolean =>
  a.port === b.port && a.protocol === b.protocol && (a.ip === b.ip || a.ip === anyAddress || b.ip === anyAddress);

/** Init containers that end give their ports back before anybody else needs them; sidecars keep theirs. */
function hostPorts({ spec }: Pod): HostPort[] {
  const holders = [...spec.containers, ...(spec.initContainers ?? []).filter(isSidecar)];
  return holders
    .flatMap((c) => c.ports ?? [])
    .map((p) => ({
      port: p.hostPort ?? (spec.hostNetwork ? p.containerPort : 0),
      protocol: p.protocol ?? 'TCP',
      ip: p.hostIP || anyAddress,
    }))
    .filter((p) => p.port > 0);
}
