import type { Service, ServicePort, ServiceSpec } from '../src/api/core-v1.ts';
import type { Endpoint, EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import type { CaseAddresses, PacketCase, Sender, World } from './proxy-cases.ts';
import { tcpPort, udpPort } from './proxy-lab.ts';

/** What tables of packet cases are written with. */

export const web = { name: 'web', port: 80, protocol: 'TCP', targetPort: tcpPort } as const;
export const dns = { name: 'dns', port: 53, protocol: 'UDP', targetPort: udpPort } as const;
const last = { s1: '11', s2: '12', s3: '13' } as const;

/** Addresses of Services end in a number of their own, as their node port does. */
export interface Shape {
  readonly number: number;
  readonly spec?: Partial<ServiceSpec>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly createdAt?: string;
  readonly slices: readonly Partial<EndpointSlice>[];
}

export function caseMaker(family: IpFamily, addresses: Readonly<Record<IpFamily, CaseAddresses>>) {
  const a = addresses[family];
  const services: Service[] = [];
  const slices: EndpointSlice[] = [];
  const cases: Record<string, PacketCase> = {};

  /** s1 and s2 are pods of this node, s3 is one of another. */
  const endpoint = (pod: keyof typeof last, more: Partial<Endpoint> = {}, of: IpFamily = family): Endpoint => ({
    addresses: [addresses[of].pod + last[pod]],
    nodeName: pod === 's3' ? 'other' : 'node',
    ...more,
  });
  const nodePorts = (number: number): readonly ServicePort[] =>
    [web, dns].map((port) => ({ ...port, nodePort: 30_000 + number }));
  const add = (name: string, { number, spec, labels, createdAt, slices: own }: Shape): void => {
    const serviceName = `${name}-${family}`;
    services.push({
      metadata: {
        name: serviceName,
        namespace: 'd',
        ...(labels ? { labels } : {}),
        ...(createdAt ? { creationTimestamp: createdAt } : {}),
      },
      spec: { type: 'ClusterIP', clusterIPs: [a.vip + number], ports: [web, dns], ...spec },
      status: { loadBalancer: { ingress: spec?.type === 'LoadBalancer' ? [{ ip: a.balancer + number }] : [] } },
    });
    own.forEach((slice, at) => {
      slices.push({
        metadata: { name: `${serviceName}-${at}`, namespace: 'd', labels: { [serviceNameLabel]: serviceName } },
        addressType: family,
        endpoints: [],
        ports: (spec?.ports ?? [web, dns]).map(({ name = '', protocol = 'TCP' }) => ({
          ...{ name, protocol, port: protocol === 'TCP' ? tcpPort : udpPort },
        })),
        ...slice,
      });
    });
  };
  const expect = (
    sentence: string,
    from: Sender,
    to: string,
    ports: Readonly<Partial<Record<PacketCase['protocol'], number>>>,
    outcome: PacketCase['expect'],
    seen?: string,
  ) => {
    for (const [protocol, port] of Object.entries(ports) as [PacketCase['protocol'], number][]) {
      const key = `${family} ${protocol}: ${from} → ${to} port ${port}: ${sentence}`;
      cases[key] = { from, to, port, protocol, expect: outcome, ...(seen === undefined ? {} : { seen }) };
    }
  };
  const table: Pick<World, 'services' | 'slices' | 'cases'> = { services, slices, cases };
  return { add, endpoint, expect, nodePorts, table };
}
