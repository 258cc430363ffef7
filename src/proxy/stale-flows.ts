import type { Route, Target } from './route-services.ts';
import { nodeAddress } from './route-services.ts';
import type { RouteChange } from './route-table.ts';
import { relayAddress } from './userspace/compile-portals.ts';

/** UDP flows to a virtual address that lead to `endpoint`; undefined: those that were never translated. */
export interface StaleFlows {
  /** `nodeAddress`: any, as for a node port. */
  readonly ip: string;
  readonly port: number;
  readonly endpoint: { readonly ip: string; readonly port: number } | undefined;
}

/** One flow that the kernel tracks: where it was sent to, and who answers. */
export interface TrackedFlow {
  readonly ip: string;
  readonly port: number;
  readonly answersFrom: { readonly ip: string; readonly port: number };
}

/**
 * The flows that a change of a route leaves behind: those to endpoints that it does not have any more, and, once it
 * has one at all, those that began before and lead nowhere. UDP alone: a TCP client notices and connects anew.
 */
export function staleFlows({ previous, current }: RouteChange): readonly StaleFlows[] {
  const frontend = (current ?? previous)?.frontend;
  if (frontend?.protocol !== 'UDP') return [];
  const { ip, port } = frontend;
  const before = targetsOf(previous);
  const kept = targetsOf(current);
  const stale: StaleFlows[] = [...before]
    .filter(([key]) => !kept.has(key))
    .map(([, endpoint]) => ({ ip, port, endpoint: { ip: endpoint.ip, port: endpoint.port } }));
  if (kept.size > 0 && before.size === 0) stale.push({ ip, port, endpoint: undefined });
  return stale;
}

/** Of the flows that changes have left behind, those that the routes of now do not lead to either. */
export function stillStale(
  stale: readonly StaleFlows[],
  routeOf: (ip: string, port: number) => Route | undefined,
): readonly StaleFlows[] {
  return stale.filter(({ ip, port, endpoint }) => {
    const targets = targetsOf(routeOf(ip, port));
    return endpoint ? !targets.has(keyOf(endpoint)) : targets.size > 0;
  });
}

/**
 * Which of the flows that a start finds are stale by the routes that hold now: endpoints that went while nobody
 * looked. A flow to a node port's number is ours only at an address of this host, and when it was translated: any other
 * may be anybody's, and is left alone; so is one to a relay, which has all endpoints behind it.
 */
export function staleAmong(
  flows: Iterable<TrackedFlow>,
  routeOf: (ip: string, port: number) => Route | undefined,
  hostAddresses: ReadonlySet<string>,
): readonly StaleFlows[] {
  return [...flows].flatMap(({ ip, port, answersFrom }): readonly StaleFlows[] => {
    const isTranslated = answersFrom.ip !== ip || answersFrom.port !== port;
    const route = routeOf(ip, port) ?? (isTranslated && hostAddresses.has(ip) ? routeOf(nodeAddress, port) : undefined);
    if (!route || isRelay(answersFrom.ip)) return [];
    const targets = targetsOf(route);
    if (targets.has(keyOf(answersFrom)) || (!isTranslated && targets.size === 0)) return [];
    return [{ ip, port, endpoint: isTranslated ? answersFrom : undefined }];
  });
}

function targetsOf(route: Route | undefined): ReadonlyMap<string, Target> {
  const all = [...(route?.targets ?? []), ...(route?.outside?.targets ?? [])];
  return new Map(all.map((target) => [keyOf(target), target]));
}

const keyOf = ({ ip, port }: { readonly ip: string; readonly port: number }): string => `${ip} ${port}`;

const isRelay = (ip: string): boolean => Object.values(relayAddress).includes(ip);
