import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service, ServiceSpec } from '../api/core-v1.ts';
import type { Endpoint, EndpointPort, EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { PacketTrace } from '../api/service-views.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { TrafficRules } from './backend.ts';
import { mergeSlices } from './endpointslice-tracker.ts';
import type { IpFamily, ServiceInfo } from './read-service.ts';
import { readService } from './read-service.ts';
import { readSlice } from './read-slice.ts';
import { routeService } from './route-services.ts';
import { RouteTable } from './route-table.ts';
import { traceFamilies } from './trace-packet.ts';
import { parseClient, parseProtocol, parseTarget } from './trace-question.ts';
import type { TraceFacts, TraceObjects } from './trace-target.ts';
import type { Withdrawn } from './withdraw.ts';
import { withdraw } from './withdraw.ts';

const service = (spec: Partial<ServiceSpec> = {}, name = 'web', over: Partial<Service> = {}): Service => ({
  metadata: { name, namespace: 'd', creationTimestamp: '2026-01-02T00:00:00Z', ...over.metadata },
  spec: { clusterIP: '10.96.0.1', ports: [{ name: 'http', port: 80 }], ...spec },
  ...(over.status ? { status: over.status } : {}),
});
const http: readonly EndpointPort[] = [{ name: 'http', port: 8080, protocol: 'TCP' }];
const slice = (endpoints: readonly Endpoint[], ports = http, over: Partial<EndpointSlice> = {}): EndpointSlice => ({
  metadata: { name: 'web-1', namespace: 'd', labels: { [serviceNameLabel]: 'web' } },
  ...{ addressType: 'IPv4' as const, endpoints, ports, ...over },
});
const at = (ip: string, over: Partial<Endpoint> = {}): Endpoint => ({ addresses: [ip], nodeName: 'here', ...over });
const there = { nodeName: 'there' };
const unready = { conditions: { ready: false } };
const leaving = { conditions: { ready: false, serving: true, terminating: true } };
const one = '10.244.0.5';
const other = '10.244.1.5';
const six: Partial<ServiceSpec> = { clusterIP: '10.96.0.1', clusterIPs: ['10.96.0.1', 'fd00:96::1'] };
const external: Partial<ServiceSpec> = {
  ...{ type: 'LoadBalancer', externalIPs: ['198.51.100.7'] },
  ports: [{ name: 'http', port: 80, nodePort: 30080 }],
};
const ingress = { loadBalancer: { ingress: [{ ip: '192.0.2.80' }] } };

interface World {
  readonly services?: readonly Service[];
  readonly slices?: readonly EndpointSlice[];
  readonly rules?: Partial<TrafficRules>;
  readonly zone?: string;
  readonly mode?: TraceFacts['mode'];
  readonly withdrawn?: Withdrawn;
}

function factsOf(family: IpFamily, { services = [service()], slices = [], ...world }: World): TraceFacts {
  const place = { nodeName: 'here', zone: world.zone };
  const infos = new Map<string, ServiceInfo>(
    services.flatMap((object) => {
      const info = readService(object, family).service;
      return info ? [[`${info.namespace}/${info.name}`, info] as const] : [];
    }),
  );
  const endpoints = (key: string) => {
    const read = slices.flatMap((object) => readSlice(object, family).slice ?? []);
    const own = read.filter((info) => info.serviceKey === key);
    const publishesNotReady = infos.get(key)?.publishesNotReady === true;
    const known = withdraw(own, world.withdrawn ?? new Map(), { nodeName: 'here', publishesNotReady });
    return { told: mergeSlices(own), known: mergeSlices(known) };
  };
  const routes = new RouteTable();
  for (const [key, info] of infos) {
    routes.update(key, info.createdAt, routeService(info, endpoints(key).known, place));
  }
  const cidr = family === 'IPv4' ? '10.244.0.0/16' : 'fd00:244::/32';
  const rules: TrafficRules = {
    ...{ family, masqueradeAll: false, masqueradeBit: 14, local: { cidrs: [cidr] }, nodePortAddresses: [] },
    localhostNodePorts: false,
    ...world.rules,
  };
  return {
    mode: world.mode ?? 'nftables',
    ...{ family, place, rules, routes, endpoints, podCidrs: ['10.244.0.0/24'] },
    nodeAddresses: family === 'IPv4' ? ['192.0.2.1'] : ['fd00::1'],
    service: (key) => infos.get(key),
    explain: (frontend) => [`rule of ${frontend}`],
  };
}

function trace(client: string, target: string, protocol: string, world: World): readonly PacketTrace[] {
  const { services = [service()], slices = [] } = deepFreeze(world);
  const objects: TraceObjects = {
    services: () => services,
    slicesOf: (key) => slices.filter((s) => `${s.metadata.namespace}/${s.metadata.labels?.[serviceNameLabel]}` === key),
    hostAddresses: () => ['192.0.2.1', '10.244.0.1', '127.0.0.1', '::1'],
  };
  const pods = (namespace: string, name: string) =>
    `${namespace}/${name}` === 'd/web-1' ? [one, 'fd00:244::5'] : undefined;
  const question = {
    ...{ client: parseClient(client, pods), target: parseTarget(target), asked: target },
    protocol: parseProtocol(protocol),
  };
  const families = [factsOf('IPv4', world), factsOf('IPv6', world)];
  return traceFamilies(families, objects, question);
}

/** The verdict with the endpoints, `m` behind those that see an address of the node. */
const fate = ({ verdict, endpoints }: PacketTrace): string =>
  [verdict, ...endpoints.map(({ ip, port, masqueraded }) => `${ip}:${port}${masqueraded ? ' m' : ''}`)].join(' ');

interface Case extends World {
  readonly from?: string;
  readonly to?: string;
  readonly protocol?: string;
  readonly fate: string | readonly string[];
  /** What some step says; `object, field: sentence`. */
  readonly says?: readonly RegExp[];
}

const both = [slice([at(one), at(other, there)])];
const pod = '10.244.0.9';

const cases: Record<string, Case> = {
  'a pod reaches every endpoint with its own address': {
    slices: both,
    fate: `forward ${one}:8080 ${other}:8080`,
    says: [
      /^KubeProxyConfiguration, detectLocalMode: 10.244.0.9 is a pod's, by the range 10.244.0.0\/16$/,
      /^Service d\/web, spec.clusterIPs: 10.96.0.1:80\/TCP is its cluster IP, port "http"$/,
      /^EndpointSlice d\/web-1, endpoints\[\].conditions: 2 of 2 endpoints ready$/,
      /not masqueraded: the endpoint sees the pod that asks$/,
    ],
  },
  'a port is named by its name': { to: 'd/web:http', slices: both, fate: `forward ${one}:8080 ${other}:8080` },
  'the only port need not be named': { to: 'd/web', slices: both, fate: `forward ${one}:8080 ${other}:8080` },
  'a cluster IP is asked for by address': {
    to: '10.96.0.1:80',
    slices: both,
    fate: `forward ${one}:8080 ${other}:8080`,
  },
  'the host is masqueraded': {
    from: 'host',
    slices: [slice([at(one)])],
    fate: `forward ${one}:8080 m`,
    says: [/detectLocalMode: masqueraded: this host is no pod/],
  },
  'an address of the host is the host': {
    from: '10.244.0.1',
    slices: [slice([at(one)])],
    fate: `forward ${one}:8080 m`,
    says: [/10.244.0.1 is an address of this host/],
  },
  'somebody outside is masqueraded': {
    from: 'outside',
    slices: [slice([at(one)])],
    fate: `forward ${one}:8080 m`,
    says: [/masqueraded: the client is outside/],
  },
  'an address that is no pod’s is outside': {
    from: '203.0.113.9',
    slices: [slice([at(one)])],
    fate: `forward ${one}:8080 m`,
    says: [/203.0.113.9 is no pod's, as it is not in 10.244.0.0\/16/],
  },
  'nobody is outside where nothing says who is local': {
    ...{ from: '203.0.113.9', slices: [slice([at(one)])], rules: { local: undefined } },
    fate: `forward ${one}:8080`,
    says: [/not masqueraded: nobody counts as outside/],
  },
  'with interfaces a pod of this node is local, and others are not': {
    ...{ from: '10.244.1.9', slices: [slice([at(one)])], rules: { local: { interface: 'cni0' } } },
    fate: `forward ${one}:8080 m`,
    says: [/no pod of this node: .* another interface than cni0/],
  },
  'everybody is masqueraded where that is wanted': {
    ...{ slices: [slice([at(one)])], rules: { masqueradeAll: true } },
    fate: `forward ${one}:8080 m`,
    says: [/^KubeProxyConfiguration, masqueradeAll: masqueraded/],
  },
  'a pod that reaches itself is masqueraded for itself alone': {
    from: 'd/web-1',
    slices: both,
    fate: [`forward ${one}:8080 m ${other}:8080`],
    says: [/where 10.244.0.5 reaches itself it sees an address of the node/],
  },
  'in userspace mode endpoints see the node': {
    ...{ slices: [slice([at(one)])], mode: 'userspace' },
    fate: `forward ${one}:8080 m`,
    says: [/^KubeProxyConfiguration, mode: userspace: masqueraded: the relay in keelson/],
  },
  'in userspace mode SCTP is nobody’s': {
    ...{ to: 'd/web:90', protocol: 'sctp', mode: 'userspace' },
    services: [service({ ports: [{ name: 'http', port: 90, protocol: 'SCTP' }] })],
    fate: 'untouched',
    says: [/mode: userspace: SCTP is not carried/],
  },
  'no slice at all: refused': { fate: 'reject', says: [/^Service d\/web: no EndpointSlice is of this Service/] },
  'nobody is ready: refused, and how they fare': {
    slices: [slice([at(one, unready), at(other, { conditions: { ready: false, terminating: true, serving: false } })])],
    fate: 'reject',
    says: [/0 of 2 endpoints ready; 1 not ready; 1 terminating, of which 0 still serve/],
  },
  'slice and Service name the port differently: refused, and both names': {
    slices: [slice([at(one)], [{ name: 'web', port: 8080, protocol: 'TCP' }])],
    fate: 'reject',
    says: [
      /^EndpointSlice d\/web-1, ports: no slice has the Service's port "http" \(TCP\), .*; they have "web" \(TCP\)$/,
    ],
  },
  'a slice as the control plane leaves it when no pod matches: refused': {
    slices: [slice([], [])],
    fate: 'reject',
    says: [/^EndpointSlice d\/web-1, endpoints: its EndpointSlices are empty: no pod matches its selector$/],
  },
  'a slice whose port is no number: refused': {
    slices: [slice([at(one)], [{ name: 'http', protocol: 'TCP' }])],
    fate: 'reject',
    says: [/^EndpointSlice d\/web-1, ports: its EndpointSlices have endpoints, but no usable port$/],
  },
  'slices of the other family alone: refused': {
    slices: [slice([at('fd00:244::5')], http, { addressType: 'IPv6' })],
    fate: 'reject',
    says: [/addressType: its EndpointSlices hold IPv6 addresses, none of IPv4/],
  },
  'terminating ones serve while nobody is ready': {
    slices: [slice([at(one, leaving), at(other, unready)])],
    fate: `forward ${one}:8080`,
    says: [/none is ready: those that serve while they terminate get the packets/],
  },
  'a local pod that fails its probe is left out before its slice says so': {
    ...{ slices: both, withdrawn: new Map([[one, 'unready' as const]]) },
    fate: `forward ${other}:8080`,
    says: [/^Pods of d, status.conditions: .* 10.244.0.5 \(not ready\)$/, /1 of 2 endpoints ready; 1 not ready/],
  },
  'a local pod that is being deleted is left out too': {
    ...{ slices: both, withdrawn: new Map([[one, 'terminating' as const]]) },
    fate: `forward ${other}:8080`,
    says: [/10.244.0.5 \(being deleted\)$/],
  },
  'internal traffic policy Local: others are left out': {
    services: [service({ internalTrafficPolicy: 'Local' })],
    slices: both,
    fate: `forward ${one}:8080`,
    says: [/^Service d\/web, spec.internalTrafficPolicy: Local: only endpoints of this node count; 1 other left out$/],
  },
  'internal traffic policy Local with endpoints elsewhere only: dropped, and where they are': {
    services: [service({ internalTrafficPolicy: 'Local' })],
    slices: [slice([at(other, there)])],
    fate: 'drop',
    says: [/spec.internalTrafficPolicy: Local: no endpoint of this node serves, but others do, on there: dropped here/],
  },
  'internal traffic policy Local without any endpoint: refused': {
    services: [service({ internalTrafficPolicy: 'Local' })],
    slices: [slice([at(other, { ...there, ...unready })])],
    fate: 'reject',
    says: [/0 of 1 endpoint ready; 1 not ready/],
  },
  'hints for zones leave the others out': {
    slices: [
      slice([at(one, { hints: { forZones: [{ name: 'a' }] } }), at(other, { hints: { forZones: [{ name: 'b' }] } })]),
    ],
    zone: 'b',
    fate: `forward ${other}:8080`,
    says: [/^, endpoints\[\].hints.forZones: 1 endpoint meant for zone b$/],
  },
  'hints for nodes leave the others out': {
    slices: [
      slice([
        at(one, { hints: { forNodes: [{ name: 'here' }] } }),
        at(other, { hints: { forNodes: [{ name: 'x' }] } }),
      ]),
    ],
    fate: `forward ${one}:8080`,
    says: [/hints.forNodes: 1 endpoint meant for node here/],
  },
  'hints that some endpoints lack are not heeded, and that is said': {
    ...{ slices: [slice([at(one, { hints: { forZones: [{ name: 'a' }] } }), at(other)])], zone: 'a' },
    fate: `forward ${one}:8080 ${other}:8080`,
    says: [/hints: not heeded: 1 ready endpoint without any/],
  },
  'hints on a node without a zone are not heeded, and that is said': {
    slices: [slice([at(one, { hints: { forZones: [{ name: 'a' }] } })])],
    fate: `forward ${one}:8080`,
    says: [/not heeded: this node has no zone label/],
  },
  'affinity is told': {
    services: [service({ sessionAffinity: 'ClientIP' })],
    slices: both,
    fate: `forward ${one}:8080 ${other}:8080`,
    says: [/^Service d\/web, spec.sessionAffinity: ClientIP: .* 10800 seconds$/],
  },
  'affinity in IPv6 is told alike': {
    services: [service({ ...six, sessionAffinity: 'ClientIP' })],
    ...{
      to: '[fd00:96::1]:80',
      from: 'fd00:244::9',
      slices: [slice([at('fd00:244::5')], http, { addressType: 'IPv6' })],
    },
    fate: 'forward fd00:244::5:8080',
    says: [/ClientIP: a client keeps its endpoint until it was away for 10800 seconds$/],
  },
  'affinity by clients outside in IPVS mode has no timeout where they have endpoints of their own': {
    ...{ from: 'outside', to: '198.51.100.7:80', mode: 'ipvs', slices: both },
    services: [service({ ...external, externalTrafficPolicy: 'Local', sessionAffinity: 'ClientIP' })],
    fate: `forward ${one}:8080`,
    says: [/ClientIP: a client keeps its endpoint for as long as the endpoints stay the same$/],
  },
  'a node port masquerades everybody': {
    ...{ from: 'outside', to: '192.0.2.1:30080', services: [service(external)], slices: both },
    fate: `forward ${one}:8080 m ${other}:8080 m`,
    says: [/spec.ports\[\].nodePort: 192.0.2.1:30080\/TCP is its node port/, /externalTrafficPolicy: Cluster: masq/],
  },
  'external traffic policy Local: clients outside reach local endpoints with their address': {
    ...{ from: 'outside', to: '198.51.100.7:80' },
    services: [service({ ...external, externalTrafficPolicy: 'Local' })],
    slices: both,
    fate: `forward ${one}:8080`,
    says: [/spec.externalIPs: .* is its external IP/, /externalTrafficPolicy: Local: not masqueraded: .* the client$/],
  },
  'external traffic policy Local does not hold for pods': {
    to: '198.51.100.7:80',
    services: [service({ ...external, externalTrafficPolicy: 'Local' })],
    slices: [slice([at(other, there)])],
    fate: `forward ${other}:8080`,
    says: [/externalTrafficPolicy: Local: holds for clients outside alone/],
  },
  'external traffic policy Local with endpoints elsewhere only: dropped': {
    ...{ from: 'outside', to: '192.0.2.1:30080' },
    services: [service({ ...external, externalTrafficPolicy: 'Local' })],
    slices: [slice([at(other, there)])],
    fate: 'drop',
    says: [/spec.externalTrafficPolicy: Local: no endpoint of this node serves, but others do, on there/],
  },
  'who is not in the source ranges is dropped': {
    ...{ from: '203.0.113.9', to: '192.0.2.80:80' },
    services: [service({ ...external, loadBalancerSourceRanges: ['203.0.113.0/29'] }, 'web', { status: ingress })],
    slices: both,
    fate: 'drop',
    says: [/^Service d\/web, spec.loadBalancerSourceRanges: 203.0.113.9 is in none of 203.0.113.0\/29: dropped$/],
  },
  'who is in the source ranges may pass': {
    ...{ from: '203.0.113.7', to: '192.0.2.80:80' },
    services: [service({ ...external, loadBalancerSourceRanges: ['203.0.113.0/29'] }, 'web', { status: ingress })],
    slices: [slice([at(one)])],
    fate: `forward ${one}:8080 m`,
    says: [/is its load balancer address/, /203.0.113.7 may send here, by 203.0.113.0\/29/],
  },
  'without an address it is said that the source ranges decide': {
    ...{ from: 'outside', to: '192.0.2.80:80' },
    services: [service({ ...external, loadBalancerSourceRanges: ['203.0.113.0/29'] }, 'web', { status: ingress })],
    slices: [slice([at(one)])],
    fate: `forward ${one}:8080 m`,
    says: [/only 203.0.113.0\/29 may send here; .* give an address as client/],
  },
  'a port that the Service has not: which ones it has': {
    to: 'd/web:81',
    fate: 'untouched',
    says: [/^Service d\/web, spec.ports: it has no port 81\/TCP, but 80\/TCP "http"$/],
  },
  'a port of another protocol': {
    to: 'd/web:80',
    protocol: 'udp',
    fate: 'untouched',
    says: [/no port 80\/UDP, but 80/],
  },
  'a port name that the Service has not': { to: 'd/web:x', fate: 'untouched', says: [/no port "x", but 80\/TCP/] },
  'a node port is not asked for by the Service’s name': {
    ...{ to: 'd/web:30080', services: [service(external)] },
    fate: 'untouched',
    says: [/30080 is a node port of it: trace an address of the node/],
  },
  'a Service’s address with another port: which ports it has there': {
    to: '10.96.0.1:443',
    fate: 'untouched',
    says: [
      /^Service d\/web, spec.clusterIPs: 10.96.0.1 is an address of the Service, but not with port 443\/TCP; it has 80\/TCP$/,
    ],
  },
  'an address of nobody': { to: '10.96.9.9:80', fate: 'untouched', says: [/10.96.9.9 is no address of a Service/] },
  'the address of a balancer of mode Proxy': {
    to: '192.0.2.80:80',
    services: [
      service(external, 'web', { status: { loadBalancer: { ingress: [{ ip: '192.0.2.80', ipMode: 'Proxy' }] } } }),
    ],
    fate: 'untouched',
    says: [/ipMode: mode Proxy: the balancer sends with an address of its own/],
  },
  'a node port at an address that is an external one of another Service': {
    ...{ from: 'outside', to: '192.0.2.1:30080', slices: [slice([at(one)])] },
    services: [service(external), service({ clusterIP: '10.96.0.2', externalIPs: ['192.0.2.1'] }, 'other')],
    fate: `forward ${one}:8080 m`,
  },
  'a node port that no Service has': {
    to: '192.0.2.1:30081',
    fate: 'untouched',
    says: [/192.0.2.1 is this host's own, and no Service has the node port 30081\/TCP/],
  },
  'a node port at an address that serves none': {
    ...{ to: '192.0.2.1:30080', services: [service(external)], rules: { nodePortAddresses: ['198.51.100.0/24'] } },
    fate: 'untouched',
    says: [/^KubeProxyConfiguration, nodePortAddresses: .* node ports answer in 198.51.100.0\/24 only$/],
  },
  'a node port on loopback, where that is not served': {
    ...{ from: 'host', to: '127.0.0.1:30080', services: [service(external)] },
    fate: 'untouched',
    says: [/iptables.localhostNodePorts: .* does not answer on loopback addresses$/],
  },
  'a node port on loopback in IPVS mode, which serves none there': {
    ...{ from: 'host', to: '127.0.0.1:30080', services: [service(external)], slices: [slice([at(one)])], mode: 'ipvs' },
    rules: { localhostNodePorts: true },
    fate: 'untouched',
    says: [/^KubeProxyConfiguration, mode: ipvs: 30080 is a node port of Service d\/web, but IPVS leads nothing from/],
  },
  'a node port on loopback, where that is served': {
    ...{ from: 'host', to: '127.0.0.1:30080', services: [service(external)], slices: [slice([at(one)])] },
    rules: { localhostNodePorts: true },
    fate: `forward ${one}:8080 m`,
  },
  'a headless Service': {
    services: [service({ clusterIP: 'None' })],
    slices: both,
    fate: 'untouched',
    says: [/^Service d\/web, spec.clusterIP: None: it is headless: DNS gives clients its 2 endpoints/],
  },
  'an ExternalName Service': {
    services: [service({ type: 'ExternalName', externalName: 'example.test' })],
    fate: 'untouched',
    says: [/^Service d\/web, spec.type: ExternalName: it is an alias in DNS for example.test/],
  },
  'another proxy’s Service': {
    services: [
      service({}, 'web', {
        metadata: { name: 'web', namespace: 'd', labels: { 'service.kubernetes.io/service-proxy-name': 'mesh' } },
      }),
    ],
    fate: 'untouched',
    says: [/service-proxy-name"\]: it is for the proxy "mesh"/],
  },
  'a Service that is not known, and one of its name elsewhere': {
    to: 'x/web:80',
    fate: 'untouched',
    says: [/^Service x\/web: not known here; one of this name is in d\./],
  },
  'a Service without an address yet': {
    services: [service({ clusterIP: '' })],
    fate: 'untouched',
    says: [/it has no cluster IP of IPv4: it has no address yet/],
  },
  'a Service that lost its address to an older one': {
    to: 'd/late:80',
    services: [
      service(),
      service({}, 'late', { metadata: { name: 'late', namespace: 'd', creationTimestamp: '2026-03-01T00:00:00Z' } }),
    ],
    slices: [slice([at(one)])],
    fate: `forward ${one}:8080`,
    says: [/^Service d\/late, metadata.creationTimestamp: the older Service d\/web has 10.96.0.1:80\/TCP/],
  },
  'both families, for a client that may have either': {
    ...{ from: 'host', services: [service(six)] },
    slices: [slice([at(one)]), slice([at('fd00:244::5')], http, { addressType: 'IPv6' })],
    fate: [`forward ${one}:8080 m`, 'forward fd00:244::5:8080 m'],
  },
  'the family of a client that has one address': {
    ...{ from: 'fd00:244::9', services: [service(six)] },
    slices: [slice([at(one)]), slice([at('fd00:244::5')], http, { addressType: 'IPv6' })],
    fate: 'forward fd00:244::5:8080',
  },
  'a client of a family that the Service has not': {
    from: 'fd00:244::9',
    fate: 'untouched',
    says: [/^Service d\/web, spec.clusterIPs: it has no cluster IP of IPv6: its addresses are 10.96.0.1$/],
  },
  'a node port of IPv6': {
    ...{ from: 'outside', to: '[fd00::1]:30080', services: [service({ ...six, ...external })] },
    slices: [slice([at('fd00:244::5')], http, { addressType: 'IPv6' })],
    fate: 'forward fd00:244::5:8080 m',
  },
  'no node port of IPv6 on loopback': {
    ...{ from: 'host', to: '[::1]:30080', services: [service({ ...six, ...external })] },
    fate: 'untouched',
    says: [/does not answer on loopback addresses of IPv6$/],
  },
  'UDP and TCP of one port number are two ports': {
    ...{ to: '10.96.0.1:53', protocol: 'udp' },
    services: [
      service({
        ports: [
          { name: 'dns-tcp', port: 53 },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
      }),
    ],
    slices: [slice([at(one)], [{ name: 'dns', port: 5353, protocol: 'UDP' }])],
    fate: `forward ${one}:5353`,
  },
  'an IPv6 address, however it is spelt': {
    ...{ from: 'fd00:244::9', to: '[FD00:0096:0::1]:80', services: [service(six)] },
    slices: [slice([at('fd00:244::5')], http, { addressType: 'IPv6' })],
    fate: 'forward fd00:244::5:8080',
  },
};

for (const [sentence, { from = pod, to = 'd/web:80', protocol = '', ...wanted }] of Object.entries(cases)) {
  test(sentence, () => {
    const traces = trace(from, to, protocol, wanted);
    assert.deepEqual(traces.map(fate), [wanted.fate].flat());
    const said = traces.flatMap(({ steps }) =>
      steps.map(({ object = '', field, sentence: text }) => `${object}${field ? `, ${field}` : ''}: ${text}`),
    );
    for (const pattern of wanted.says ?? [])
      assert.ok(
        said.some((line) => pattern.test(line)),
        `${pattern}\n${said.join('\n')}`,
      );
  });
}

test('pods that share an address are told apart by their ports', () => {
  const on = (name: string, port: number) =>
    slice([at('192.0.2.1', { targetRef: { kind: 'Pod', namespace: 'd', name } })], [{ name: 'http', port }]);
  const [found] = trace(pod, 'd/web:80', '', { slices: [on('a', 8081), on('b', 8082)] });
  assert.deepEqual(
    found?.endpoints.map(({ port, target }) => [port, target]),
    [
      [8081, 'Pod d/a'],
      [8082, 'Pod d/b'],
    ],
  );
});

test('endpoints are named as their slice names them, with the rules that lead there and the other ways in', () => {
  const targetRef = { kind: 'Pod', namespace: 'd', name: 'web-1' };
  const [found] = trace(pod, 'd/web:80', '', {
    services: [service(external, 'web', { status: ingress })],
    slices: [slice([at(one, { targetRef }), at(other, there)])],
  });
  assert.deepEqual(found?.endpoints, [
    { ip: one, port: 8080, isLocal: true, masqueraded: false, target: 'Pod d/web-1', node: 'here' },
    { ip: other, port: 8080, isLocal: false, masqueraded: false, node: 'there' },
  ]);
  assert.deepEqual(found.service, { namespace: 'd', name: 'web', portName: 'http', kind: 'clusterIP' });
  assert.deepEqual(found.rules, ['rule of 10.96.0.1 TCP 80']);
  assert.deepEqual(found.alsoAt, [
    '198.51.100.7:80/TCP',
    '192.0.2.80:80/TCP',
    'every address of the node, port 30080/TCP',
  ]);
});

test('the older of two Services is told who wants its address', () => {
  const late = service({}, 'late', {
    metadata: { name: 'late', namespace: 'd', creationTimestamp: '2026-03-01T00:00:00Z' },
  });
  const [found] = trace(pod, '10.96.0.1:80', '', { services: [service(), late] });
  assert.match(found?.steps.map((step) => step.sentence).join('\n') ?? '', /d\/late wants the same address and port/);
});

const refusals: Record<string, readonly [client: string, target: string, protocol: string, says: RegExp]> = {
  'an address without a port': [pod, '10.96.0.1', '', /10.96.0.1 is an address without a port/],
  'an IPv6 address without brackets': [pod, 'fd00::1', '', /is an address without a port/],
  'a port that is none': [pod, 'web:70000', '', /70000 is not a port number/],
  'words that are no target': [pod, 'no such thing', '', /"no such thing" is no target/],
  'words that are no client': ['no such thing', 'web:80', '', /"no such thing" is no client/],
  'a pod that is not here': ['d/nobody', 'web:80', '', /there is no pod d\/nobody on this node/],
  'a client and a target of different families': ['fd00::9', '10.96.0.1:80', '', /has no address that could send/],
  'a protocol that is none': [pod, 'web:80', 'icmp', /"icmp" is not a protocol/],
};
for (const [sentence, [client, target, protocol, says]] of Object.entries(refusals)) {
  test(`refused: ${sentence}`, () => {
    assert.throws(
      () => trace(client, target, protocol, {}),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, 'BadQuestion');
        assert.match(error.message, says);
        return true;
      },
    );
  });
}
