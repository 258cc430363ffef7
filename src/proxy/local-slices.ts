import type { PortProtocol, Service } from '../api/core-v1.ts';
import type { Endpoint, EndpointPort, EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { clusterIpsOf } from './read-service.ts';

/** What endpoints are made from: a pod of this node, as plain data. */
export interface LocalPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly podIps: readonly string[];
  readonly ready: boolean;
  readonly terminating: boolean;
  readonly ports: readonly { readonly name?: string; readonly port: number; readonly protocol?: PortProtocol }[];
}

export interface LocalSlices {
  /** By namespace/name, one or more for each Service that has a selector and an address. */
  readonly slices: ReadonlyMap<string, EndpointSlice>;
  readonly problems: readonly LocalProblem[];
}

export interface LocalProblem {
  /** namespace/name */
  readonly service: string;
  readonly problem: string;
}

type AddressType = 'IPv4' | 'IPv6';

/**
 * Does without a control plane what its endpoint slice controller does: which local pods serve which Service, at
 * which port. Pods whose named target port has another number get a slice of their own.
 */
export function computeLocalSlices(
  services: Iterable<Service>,
  pods: readonly LocalPod[],
  nodeName: string,
): LocalSlices {
  const slices = new Map<string, EndpointSlice>();
  const problems: LocalProblem[] = [];
  for (const service of services) {
    const { spec, metadata } = service;
    const namespace = metadata.namespace ?? 'default';
    if (spec.type === 'ExternalName' || spec.clusterIP === 'None') continue;
    if (clusterIpsOf(service).length === 0) {
      const problem = 'has no spec.clusterIP: without a control plane the manifest must give it one';
      problems.push({ service: `${namespace}/${metadata.name}`, problem });
      continue;
    }
    const selector = Object.entries(spec.selector ?? {});
    if (selector.length === 0) continue;
    const matching = pods.filter(
      (pod) => pod.namespace === namespace && selector.every(([key, value]) => pod.labels[key] === value),
    );
    for (const slice of slicesOf(service, namespace, matching, nodeName)) {
      slices.set(`${namespace}/${slice.metadata.name}`, slice);
    }
  }
  return { slices, problems };
}

function slicesOf(
  service: Service,
  namespace: string,
  pods: readonly LocalPod[],
  nodeName: string,
): readonly EndpointSlice[] {
  const groups = new Map<string, { addressType: AddressType; ports: EndpointPort[]; endpoints: Endpoint[] }>();
  for (const pod of pods) {
    const ports = resolvePorts(service, pod);
    for (const ip of pod.podIps) {
      const addressType = ip.includes(':') ? 'IPv6' : 'IPv4';
      const key = `${addressType} ${JSON.stringify(ports)}`;
      const group = groups.get(key) ?? { addressType, ports, endpoints: [] };
      groups.set(key, group);
      const ready = (pod.ready && !pod.terminating) || service.spec.publishNotReadyAddresses === true;
      group.endpoints.push({
        addresses: [ip],
        conditions: { ready, serving: pod.ready, terminating: pod.terminating },
        nodeName,
        targetRef: { kind: 'Pod', namespace: pod.namespace, name: pod.name },
      });
    }
  }
  return [...groups.values()].map((group, i) => ({
    metadata: {
      name: `${service.metadata.name}-local-${i}`,
      namespace,
      labels: { [serviceNameLabel]: service.metadata.name },
    },
    ...group,
  }));
}

/** A target port that the pod does not name is left out: that port of the Service has no endpoint in this pod. */
function resolvePorts(service: Service, pod: LocalPod): EndpointPort[] {
  return (service.spec.ports ?? []).flatMap((port): EndpointPort[] => {
    const protocol = port.protocol ?? 'TCP';
    const target = port.targetPort ?? port.port;
    const named = pod.ports.find((one) => one.name === target && (one.protocol ?? 'TCP') === protocol);
    const number = typeof target === 'number' ? target : named?.port;
    return number === undefined ? [] : [{ name: port.name ?? '', protocol, port: number }];
  });
}
