import type { PortProtocol } from '../../api/core-v1.ts';
import type { IpFamily } from '../read-service.ts';
import { inRanges } from '../read-service.ts';
import type { Delivery, Route, Target } from '../route-services.ts';
import { nodeAddress } from '../route-services.ts';
import { isHostAddress, networkOf } from './ip-ranges.ts';
import type { SetRole } from './set-layout.ts';

/** A virtual server in ipvsadm's spelling. */
export interface WishedServer {
  /** What names it: `-t 10.96.0.1:80`, `-u [fd00::1]:53`, `-f 1258291201 -6`. */
  readonly key: string;
  /** Scheduler, persistence and flags: `-s rr -p 60`. */
  readonly options: string;
  /** `10.244.0.5:8080`; none: whoever asks is refused. */
  readonly endpoints: readonly string[];
  /** Whether endpoints that leave may finish their connections; a UDP flow has no end to wait for. */
  readonly drains: boolean;
}

export interface Member {
  readonly set: SetRole;
  /** As ipset prints it. */
  readonly element: string;
  /** What the element carries: `skbmark 0x4b000001`; '' for most. */
  readonly extension: string;
}

/** All that one frontend needs in the kernel. Frontends may need the same address or member. */
export interface Compiled {
  readonly servers: readonly WishedServer[];
  /** That the host shall take for its own. */
  readonly addresses: readonly string[];
  readonly members: readonly Member[];
}

/** What of this node a compiled route depends on. */
export interface Place {
  readonly family: IpFamily;
  readonly scheduler: string;
  /** Where node ports are served. */
  readonly nodePortAddresses: readonly string[];
  /** The addresses that the host has without us; they are never bound, nor unbound. */
  readonly hostAddresses: ReadonlySet<string>;
}

/**
 * One route as virtual servers, addresses and set members. `mark` is for what clients from outside get, if they get
 * other. An address that no host can have gets nothing, and so disturbs nobody.
 */
export function compileRoute(route: Route, place: Place, mark: number | undefined): Compiled {
  const { family } = place;
  const { protocol, port } = route.frontend;
  const isNodePort = route.frontend.ip === nodeAddress;
  const ips = isNodePort ? place.nodePortAddresses : [route.frontend.ip].filter(isHostAddress);
  const options = serverOptions(place.scheduler, route.affinitySeconds);
  const drains = protocol !== 'UDP';
  const members: Member[] = [];
  const add = (set: SetRole, element: string, extension = '') => members.push({ set, element, extension });
  const servers: WishedServer[] = [];
  for (const ip of ips) {
    const element = portElement(ip, protocol, port);
    if (route.verdict === 'drop') add('KEELSON-DROP', element);
    else {
      const key = `${serviceFlag[protocol]} ${socketOf(ip, port)}`;
      servers.push({ key, options, endpoints: endpointsOf(route), drains });
    }
    if (route.outside?.verdict === 'drop') add('KEELSON-OUTSIDE-DROP', element);
    else if (route.outside && mark !== undefined) add('KEELSON-OUTSIDE', element, `skbmark ${hex(mark)}`);
    if (!isNodePort) add(masqueradeSet(route), element);
    if (route.sources) add('KUBE-LOAD-BALANCER-FW', element);
    for (const net of sourceNets(route, place)) add('KUBE-LOAD-BALANCER-SOURCE-CIDR', `${element},${net}`);
    if (!isNodePort && !place.hostAddresses.has(ip)) add('KUBE-IPVS-IPS', ip);
  }
  if (isNodePort) add(masqueradeSet(route), String(port));
  if (route.healthPort !== undefined) add('KUBE-HEALTH-CHECK-NODE-PORT', String(route.healthPort));
  if (route.outside && route.outside.verdict !== 'drop' && mark !== undefined && ips.length > 0) {
    const key = `-f ${mark}${family === 'IPv4' ? '' : ' -6'}`;
    // Persistence of a server by mark would lead to the port that the client asked for, not to the endpoint's.
    const outsideOptions = route.affinitySeconds === undefined ? options : serverOptions('sh', undefined);
    servers.push({ key, options: outsideOptions, endpoints: endpointsOf(route.outside), drains });
  }
  for (const target of [...route.targets, ...(route.outside?.targets ?? [])]) {
    if (target.mayBeLocal) add('KUBE-LOOP-BACK', `${portElement(target.ip, protocol, target.port)},${target.ip}`);
  }
  const addresses = isNodePort ? [] : ips.filter((ip) => !place.hostAddresses.has(ip));
  return { servers, addresses, members: distinct(members) };
}

/** The first element that a route has in the set KEELSON-OUTSIDE; undefined: it needs no mark. */
export function outsideElement(route: Route, place: Place): string | undefined {
  if (!route.outside || route.outside.verdict === 'drop') return undefined;
  const { ip, protocol, port } = route.frontend;
  const first = ip === nodeAddress ? place.nodePortAddresses[0] : ip;
  return first === undefined ? undefined : portElement(first, protocol, port);
}

const serviceFlag: Readonly<Record<PortProtocol, string>> = { TCP: '-t', UDP: '-u', SCTP: '--sctp-service' };

/** `10.96.0.1,tcp:80`. */
const portElement = (ip: string, protocol: PortProtocol, port: number): string =>
  `${ip},${protocol.toLowerCase()}:${port}`;

const socketOf = (ip: string, port: number): string => (ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`);

const endpointsOf = ({ targets }: Delivery): readonly string[] =>
  targets.map(({ ip, port }: Target) => socketOf(ip, port));

const hex = (mark: number): string => `0x${mark.toString(16).padStart(8, '0')}`;

/** Who is masqueraded is said by the set that a frontend is in. */
function masqueradeSet({ origin, masquerade, frontend }: Route): SetRole {
  const isHost = masquerade === 'host';
  switch (origin.kind) {
    case 'clusterIP':
      return 'KUBE-CLUSTER-IP';
    case 'externalIP':
      return isHost ? 'KUBE-EXTERNAL-IP-LOCAL' : 'KUBE-EXTERNAL-IP';
    case 'loadBalancer':
      return isHost ? 'KUBE-LOAD-BALANCER-LOCAL' : 'KUBE-LOAD-BALANCER';
    case 'nodePort':
      return isHost ? `KUBE-NODE-PORT-LOCAL-${frontend.protocol}` : `KUBE-NODE-PORT-${frontend.protocol}`;
    default:
      return origin.kind satisfies never;
  }
}

/**
 * What ipvsadm prints after `-A` and the key. The schedulers that hash clients find another endpoint when the one
 * they would choose is leaving, and `mh` looks at the client's port too, as kube-proxy has it.
 */
function serverOptions(scheduler: string, affinitySeconds: number | undefined): string {
  const persistence = affinitySeconds === undefined ? '' : ` -p ${affinitySeconds}`;
  const flags = scheduler === 'mh' ? ' -b mh-fallback,mh-port' : scheduler === 'sh' ? ' -b sh-fallback' : '';
  return `-s ${scheduler}${persistence}${flags}`;
}

/**
 * Who may come in, as ipset prints it. The host's own packets have the virtual address for a source, because it is one
 * of the host's, so that address may come in exactly where another of the host's may.
 */
function sourceNets({ sources = [], frontend }: Route, { family, hostAddresses }: Place): readonly string[] {
  const ranges = sources.filter((range) => range.includes('/'));
  const isHostLet = [...hostAddresses].some((ip) => inRanges(ip, ranges));
  return [...ranges.flatMap((range) => setNets(range, family)), ...(isHostLet ? [frontend.ip] : [])];
}

/** A range as ipset prints it; it knows no range of all addresses, but halves of that. */
function setNets(range: string, family: IpFamily): readonly string[] {
  const [address = '', length] = range.split('/');
  if (length === '0') return family === 'IPv6' ? ['::/1', '8000::/1'] : ['0.0.0.0/1', '128.0.0.0/1'];
  if (length === (family === 'IPv6' ? '128' : '32')) return [address];
  return [`${networkOf(address, Number(length), family)}/${length}`];
}

function distinct(members: readonly Member[]): readonly Member[] {
  return [...new Map(members.map((member) => [`${member.set} ${member.element}`, member])).values()];
}
