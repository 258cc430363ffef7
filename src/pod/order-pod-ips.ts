import { isIPv6 } from 'node:net';

/**
 * The pod's addresses as the API shows them: the first of the node's own IP family, then the first of the other. The
 * runtime may have more, and in any order.
 */
export function orderPodIPs(podIPs: readonly string[], nodeIP: string | undefined): string[] {
  const preferred = isIPv6(nodeIP ?? '');
  const first = (v6: boolean) => podIPs.find((ip) => isIPv6(ip) === v6);
  return [first(preferred), first(!preferred)].filter((ip) => ip !== undefined);
}
