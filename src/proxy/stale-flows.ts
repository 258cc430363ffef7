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
 * The flows that a change of a route leaves behind: those to endpoints that do not serve it any more, and, once it
 * has one at all, those that began before and lead nowhere. One that only gets nothing new keeps what it has. UDP
 * alone: a TCP client notices and connects anew.
 */
export function staleFlows({ previous, current }: RouteChange): readonly StaleFlows[] {
  const frontend = (current ?? previous)?.frontend;
  if (frontend?.protocol !== 'UDP') return [];
  const { ip, port } = frontend;
  const before = servingBy(previous);
  const kept = servingBy(current);
  const stale: StaleFlows[] = [...before]
    .filter(([key]) => !kept.has(key))
    .map(([, endpoint]) => ({ ip, port, endpoint: { ip: endpoint.ip, port: endpoint.port } }));
  if (leadsSomewhere(current) && !leadsSomewhere(previous)) stale.push({ ip, port, endpoint: undefined });
  return stale;
}

/** Of the flows that changes have left behind, those that the routes of now do not lead to either. */
export function stillStale(
  stale: readonly StaleFlows[],
  routeOf: (ip: string, port: number) => Route | undefined,
): readonly StaleFlows[] {
  return stale.filter(({ ip, port, endpoint }) => {
    const route = routeOf(ip, port);
    return endpoint ? !servingBy(route).has(keyOf(endpoint)) : leadsSomewhere(route);
  });
}

/**
 * Whether a flow that a start finds is stale by the routes that hold now: its endpoint went while nobody looked. One to
 * a node port's number is ours only at an address that serves node ports, and when it was translated: any other may be
 * anybody's, and is left alone; so is one to a relay, which has all endpoints behind it.
 */
export function isUnrouted(
  { ip, port, answersFrom }: TrackedFlow,
  routeOf: (ip: string, port: number) => Route | undefined,
  isNodeAddress: (ip: string) => boolean,
): boolean {
  const isTranslated = answersFrom.ip !== ip || answersFrom.port !== port;
  const route = routeOf(ip, port) ?? (isTranslated && isNodeAddress(ip) ? routeOf(nodeAddress, port) : undefined);
  if (!route || isRelay(answersFrom.ip)) return false;
  return !servingBy(route).has(keyOf(answersFrom)) && (isTranslated || leadsSomewhere(route));
}

/** Names flows of one kind. */
export function kindOf({ ip, port, endpoint }: StaleFlows): string {
  const from = endpoint ?? { ip, port };
  return `${ip} ${port} ${from.ip} ${from.port}`;
}

/**
 * Of the flows that there are, which ones to remove: those of a kind that has gone stale, and those that `isStale` says
 * so of; by kind, and each to an address of its own.
 */
export function staleAmong(
  flows: Iterable<TrackedFlow>,
  gone: Iterable<StaleFlows>,
  isStale: (flow: TrackedFlow) => boolean,
  isNodeAddress: (ip: string) => boolean,
): readonly StaleFlows[] {
  const kinds = new Set([...gone].map(kindOf));
  const found = new Map<string, StaleFlows>();
  for (const flow of flows) {
    const { ip, port, answersFrom } = flow;
    const kind = { ip, port, endpoint: answersFrom };
    const key = kindOf(kind);
    if (found.has(key)) continue;
    // What was never translated goes by the node's address on both sides.
    const source =
      answersFrom.ip === ip && answersFrom.port === port ? { ...answersFrom, ip: nodeAddress } : answersFrom;
    const isGone =
      kinds.has(key) || (kinds.has(kindOf({ ip: nodeAddress, port, endpoint: source })) && isNodeAddress(ip));
    if (isGone || isStale(flow)) found.set(key, kind);
  }
  return [...found.values()];
}

/** Who gets connections by a route, and who keeps those that he has. */
function servingBy(route: Route | undefined): ReadonlyMap<string, Pick<Target, 'ip' | 'port'>> {
  const all = [...(route?.targets ?? []), ...(route?.outside?.targets ?? []), ...(route?.holds ?? [])];
  return new Map(all.map((target) => [keyOf(target), target]));
}

const leadsSomewhere = (route: Route | undefined): boolean =>
  route !== undefined && route.targets.length + (route.outside?.targets.length ?? 0) > 0;

const keyOf = ({ ip, port }: { readonly ip: string; readonly port: number }): string => `${ip} ${port}`;

const isRelay = (ip: string): boolean => Object.values(relayAddress).includes(ip);
