import type { TraceStep } from '../api/service-views.ts';
import { canonicalIp, inRanges } from './read-service.ts';
import { few } from './trace-endpoints.ts';
import type { TraceClient } from './trace-question.ts';
import type { TraceFacts, TraceObjects } from './trace-target.ts';

/** What the rules take a client for; `unknown`: nothing says which sources are pods'. */
export interface TracedClient {
  readonly kind: 'host' | 'local' | 'outsider' | 'unknown';
  readonly ip: string | undefined;
  readonly step: TraceStep;
}

const byMode = { about: 'client', object: 'KubeProxyConfiguration', field: 'detectLocalMode' } as const;
const nobodyKnows: TraceStep = {
  ...byMode,
  sentence: 'nothing says which sources are pods of the cluster: nobody is masqueraded for coming from outside',
};

/** Undefined: it is of the other family. */
export function clientOf(facts: TraceFacts, objects: TraceObjects, client: TraceClient): TracedClient | undefined {
  if (client.from === 'network') {
    const ip = client.ips.map((one) => canonicalIp(one, facts.family)).find((one) => one !== undefined);
    return ip === undefined ? undefined : byAddress(facts, objects, ip, client.isLocalPod);
  }
  const step = (sentence: string): TraceStep => ({ about: 'client', sentence });
  if (client.from === 'host') return { kind: 'host', ip: facts.nodeAddresses[0], step: step('a process of this host') };
  if (!facts.rules.local) return { kind: 'unknown', ip: undefined, step: nobodyKnows };
  return { kind: 'outsider', ip: undefined, step: step('neither a pod of the cluster nor this host') };
}

function byAddress(facts: TraceFacts, objects: TraceObjects, ip: string, isLocalPod: boolean): TracedClient {
  const { local } = facts.rules;
  if ([...facts.nodeAddresses, ...objects.hostAddresses()].includes(ip)) {
    return { kind: 'host', ip, step: { about: 'client', sentence: `${ip} is an address of this host` } };
  }
  if (!local) return { kind: 'unknown', ip, step: nobodyKnows };
  if ('cidrs' in local) {
    const range = local.cidrs.find((cidr) => inRanges(ip, [cidr]));
    const sentence = range
      ? `${ip} is a pod's, by the range ${range}`
      : `${ip} is no pod's, as it is not in ${few(local.cidrs)}`;
    return { kind: range ? 'local' : 'outsider', ip, step: { ...byMode, sentence } };
  }
  const ownRanges = facts.podCidrs.filter((cidr) => canonicalIp(cidr.split('/')[0] ?? '', facts.family));
  const isLocal = isLocalPod || inRanges(ip, ownRanges);
  // From where it comes in cannot be told by its address.
  const sentence = isLocal
    ? `a pod of this node: its packets are taken to come in by the interface ${local.interface}`
    : `no pod of this node: its packets are taken to come in by another interface than ${local.interface}`;
  return { kind: isLocal ? 'local' : 'outsider', ip, step: { ...byMode, sentence } };
}
