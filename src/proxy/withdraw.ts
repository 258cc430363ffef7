import type { EndpointInfo, SliceInfo } from './read-slice.ts';

/**
 * Local pods, by a key of their endpoints, that serve nobody, because they fail their readiness probe, have died or are
 * gone, and those that are being deleted and still serve, should nobody else.
 */
export type Withdrawn = ReadonlyMap<string, Withdrawal>;

type Withdrawal = 'unready' | 'terminating';

/** What an endpoint is known by: its address, and the UID of its pod. */
export const endpointKeys = ({ ip, podUid }: Pick<EndpointInfo, 'ip' | 'podUid'>): readonly string[] =>
  podUid === undefined ? [ip] : [ip, podUid];

/**
 * The slices of a Service as this node knows them: what they call ready and a local pod is not, is not. Never the other
 * way, so that a pod becomes an endpoint when its slice says so and not before. Slices, and not what they come to
 * together, because of two pods with the same address and port one may be gone and the other serve.
 */
export function withdraw(
  slices: readonly SliceInfo[],
  withdrawn: Withdrawn,
  context: { readonly nodeName: string; readonly publishesNotReady: boolean },
): readonly SliceInfo[] {
  if (withdrawn.size === 0 || context.publishesNotReady) return slices;
  const why = (endpoint: EndpointInfo): Withdrawal | undefined => {
    if (endpoint.nodeName !== context.nodeName) return undefined;
    const key = endpointKeys(endpoint).find((one) => withdrawn.has(one));
    return key === undefined ? undefined : withdrawn.get(key);
  };
  const known = (endpoint: EndpointInfo): EndpointInfo => {
    const reason = why(endpoint);
    if (reason === 'unready') return { ...endpoint, ready: false, serving: false };
    return reason === 'terminating' ? { ...endpoint, ready: false, terminating: true } : endpoint;
  };
  if (!slices.some(({ endpoints }) => endpoints.some(why))) return slices;
  return slices.map((slice) => ({ ...slice, endpoints: slice.endpoints.map(known) }));
}

/** A pod of this node, and how it fares. */
export interface LocalPodEndpoints {
  /** Which endpoints are its own: those of its addresses; on the host's network, which others share, those of its UID. */
  readonly keys: readonly string[];
  readonly ready: boolean;
  readonly terminating: boolean;
}

/**
 * Who is to get no connections any more. A pod that is gone stays withdrawn for as long as a slice still names it: the
 * slice has only not heard yet. Of pods with the same address the one that serves speaks for it.
 */
export function nextWithdrawn(
  previous: Withdrawn,
  pods: Iterable<LocalPodEndpoints>,
  isEndpoint: (key: string) => boolean,
): Withdrawn {
  const serving = new Set<string>();
  const next = new Map<string, Withdrawal>();
  for (const { keys, ready, terminating } of pods) {
    for (const key of keys) {
      if (ready && !terminating) serving.add(key);
      else if (next.get(key) !== 'terminating') next.set(key, ready ? 'terminating' : 'unready');
    }
  }
  for (const key of previous.keys()) if (!next.has(key) && isEndpoint(key)) next.set(key, 'unready');
  for (const key of serving) next.delete(key);
  return next;
}
