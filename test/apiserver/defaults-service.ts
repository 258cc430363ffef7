import { SERVICES } from './kinds.ts';
import { type ApiObject, type Fields, fieldsAt, listAt, setDefault, stringAt } from './objects.ts';
import { internalError, invalid } from './status.ts';
import type { Store } from './store.ts';
import { invalidValue } from './validation.ts';

/** Where addresses and ports of Services come from. */
export interface ServiceRanges {
  /** An IPv4 block, e.g. 10.96.0.0/16. */
  readonly clusterIps: string;
  /** First and last node port. */
  readonly nodePorts: readonly [number, number];
}

export const DEFAULT_RANGES: ServiceRanges = { clusterIps: '10.96.0.0/16', nodePorts: [30000, 32767] };

export function defaultService(spec: Fields): void {
  setDefault(spec, 'type', 'ClusterIP');
  setDefault(spec, 'sessionAffinity', 'None');
  if (spec['sessionAffinity'] === 'ClientIP') {
    setDefault(fieldsAt(fieldsAt(spec, 'sessionAffinityConfig'), 'clientIP'), 'timeoutSeconds', 10800);
  }
  for (const port of listAt(spec, 'ports')) {
    setDefault(port, 'protocol', 'TCP');
    setDefault(port, 'targetPort', port['port']);
  }
  if (spec['type'] === 'ExternalName') return;
  setDefault(spec, 'internalTrafficPolicy', 'Cluster');
  setDefault(spec, 'ipFamilies', ['IPv4']);
  setDefault(spec, 'ipFamilyPolicy', 'SingleStack');
  if (spec['type'] === 'ClusterIP') return;
  setDefault(spec, 'externalTrafficPolicy', 'Cluster');
  if (spec['type'] === 'LoadBalancer') setDefault(spec, 'allocateLoadBalancerNodePorts', true);
}

/** Gives a new Service its cluster IP and node ports; refuses an IP that another one has. */
export function allocateService(service: ApiObject, store: Store, ranges: ServiceRanges): void {
  const spec = fieldsAt(service, 'spec');
  if (spec['type'] === 'ExternalName') return;
  const used = new Set<string>();
  const usedPorts = new Set<unknown>();
  for (const other of store.values(SERVICES)) {
    used.add(stringAt(other, 'spec.clusterIP'));
    for (const port of listAt(other.spec, 'ports')) usedPorts.add(port['nodePort']);
  }
  const asked = stringAt(spec, 'clusterIP');
  if (asked && asked !== 'None' && used.has(asked)) {
    throw invalid(SERVICES, service.metadata.name, [
      invalidValue('spec.clusterIPs', [asked], 'failed to allocate IP: provided IP is already allocated'),
    ]);
  }
  setDefault(spec, 'clusterIP', firstFreeAddress(ranges.clusterIps, used));
  setDefault(spec, 'clusterIPs', [spec['clusterIP']]);
  if (spec['type'] !== 'NodePort' && spec['type'] !== 'LoadBalancer') return;
  if (spec['allocateLoadBalancerNodePorts'] === false) return;
  for (const port of listAt(spec, 'ports')) {
    if (port['nodePort'] !== undefined) continue;
    port['nodePort'] = firstFreePort(ranges.nodePorts, usedPorts);
    usedPorts.add(port['nodePort']);
  }
}

/** The first two addresses stay free: the network's own and the one of Service kubernetes; .10 is the DNS Service's. */
function firstFreeAddress(block: string, used: ReadonlySet<string>): string {
  const [base = '', bits = '32'] = block.split('/');
  const start = base.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(bits));
  for (let offset = 16; offset < size - 1; offset++) {
    const address = [24, 16, 8, 0].map((shift) => Math.floor((start + offset) / 2 ** shift) % 256).join('.');
    if (!used.has(address)) return address;
  }
  throw internalError('failed to allocate a serviceIP: range is full');
}

function firstFreePort([first, last]: readonly [number, number], used: ReadonlySet<unknown>): number {
  for (let port = first; port <= last; port++) if (!used.has(port)) return port;
  throw internalError('failed to allocate a nodePort: range is full');
}
