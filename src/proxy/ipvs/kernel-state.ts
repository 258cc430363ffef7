import type { IpFamily } from '../read-service.ts';
import type { SetRole } from './set-layout.ts';
import { setName, setRoles } from './set-layout.ts';

/** The device that holds virtual addresses; CNI plugins know it by this name and keep away from it. */
export const deviceName = 'kube-ipvs0';
/** It has this name for the moment before it has our alias, so that an unmarked one is never ours. */
export const unfinishedDevice = 'keelson-ipvs0';
/** The alias that says the device is ours. */
export const deviceAlias = 'keelson';

export interface KernelServer {
  options: string;
  /** Weight by `ip:port`; 0: takes nobody new; -1: not reached the way we would. */
  readonly endpoints: Map<string, number>;
}

/** What the kernel holds for one address family, in the spelling of the programs that print it. */
export interface KernelState {
  readonly device: 'absent' | 'unfinished' | 'ours' | 'foreign';
  /** Addresses of the family on our device. */
  readonly addresses: Set<string>;
  /** Addresses of the family on all other devices, without those that only mean something on one link. */
  readonly hostAddresses: ReadonlySet<string>;
  readonly servers: Map<string, KernelServer>;
  /** Extension by element, for sets that are there. */
  readonly sets: Map<SetRole, Map<string, string>>;
}

export const emptyKernel = (hostAddresses: ReadonlySet<string> = new Set()): KernelState => ({
  device: 'absent',
  addresses: new Set(),
  hostAddresses,
  servers: new Map(),
  sets: new Map(),
});

/** The output of `ipvsadm -Sn`, of both families. */
export function readServers(output: string, family: IpFamily): Map<string, KernelServer> {
  const servers = new Map<string, KernelServer>();
  for (const line of output.split('\n')) {
    const [, verb, key, rest = ''] =
      /^-([Aa]) ((?:-f \d+(?: -6)?)|(?:-t|-u|--sctp-service) \S+) ?(.*)$/.exec(line.trim()) ?? [];
    if (key === undefined || familyOf(key) !== family) continue;
    if (verb === 'A') servers.set(key, { options: rest.trim(), endpoints: new Map() });
    const [, endpoint, way, weight] = /^-r (\S+) (-\w)(?:.*) -w (\d+)/.exec(rest) ?? [];
    if (endpoint) servers.get(key)?.endpoints.set(endpoint, way === '-m' ? Number(weight) : -1);
  }
  return servers;
}

/** Connections, closing ones too, by `<key> <endpoint>`; from `ipvsadm -Ln`. */
export function readConnections(output: string): ReadonlyMap<string, number> {
  const flags: Readonly<Record<string, string>> = { TCP: '-t', UDP: '-u', SCTP: '--sctp-service', FWM: '-f' };
  const connections = new Map<string, number>();
  let key = '';
  for (const line of output.split('\n')) {
    const [first = '', second = '', ...rest] = line.trim().split(/\s+/);
    const flag = flags[first];
    if (flag) key = `${flag} ${second}${first === 'FWM' && rest[0] === 'IPv6' ? ' -6' : ''}`;
    if (first === '->' && key !== '') connections.set(`${key} ${second}`, Number(rest[2]) + Number(rest[3]));
  }
  return connections;
}

export const familyOf = (key: string): IpFamily => (/\[|-6$/.test(key) ? 'IPv6' : 'IPv4');

/** `10.96.0.1` and `80` of `-t 10.96.0.1:80`; undefined for a server by mark. */
export function addressOf(key: string): { readonly ip: string; readonly port: string } | undefined {
  const [, six, four, port = ''] = / (?:\[([^\]]+)\]|([\d.]+)):(\d+)$/.exec(key) ?? [];
  const ip = six ?? four;
  return ip === undefined ? undefined : { ip, port };
}

/** The mark of `-f 123 -6`; undefined for a server by address. */
export function markOfKey(key: string): number | undefined {
  const [, mark] = /^-f (\d+)/.exec(key) ?? [];
  return mark === undefined ? undefined : Number(mark);
}

/** The output of `ipset save`, of all sets. */
export function readSets(output: string, family: IpFamily): Map<SetRole, Map<string, string>> {
  const roles = new Map(setRoles.map((role) => [setName(role, family), role]));
  const sets = new Map<SetRole, Map<string, string>>();
  for (const line of output.split('\n')) {
    const [verb, name = '', element, ...rest] = line.trim().split(' ');
    const role = roles.get(name);
    if (role === undefined) continue;
    if (verb === 'create') sets.set(role, new Map());
    if (verb === 'add' && element !== undefined) sets.get(role)?.set(element, rest.join(' '));
  }
  return sets;
}

type Addresses = Pick<KernelState, 'device' | 'addresses' | 'hostAddresses'>;

/** The output of `ip -d -j addr show`. */
export function readAddresses(output: string, family: IpFamily): Addresses {
  const links = JSON.parse(output.trim() === '' ? '[]' : output) as readonly Link[];
  const wanted = family === 'IPv4' ? 'inet' : 'inet6';
  const on = (link: Link) =>
    (link.addr_info ?? [])
      .filter((one) => one.family === wanted && one.scope !== 'link' && one.local !== undefined)
      .map((one) => one.local as string);
  const own = links.find((link) => link.ifname === deviceName);
  const isUnfinished = links.some((link) => link.ifname === unfinishedDevice);
  const device = own ? (own.ifalias === deviceAlias ? 'ours' : 'foreign') : isUnfinished ? 'unfinished' : 'absent';
  const others = links.filter((link) => link !== own);
  return { device, addresses: new Set(own ? on(own) : []), hostAddresses: new Set(others.flatMap(on)) };
}

/** The devices of ours in the output of `ip -d -j addr show`; an unfinished one may be beside the one that serves. */
export function ownDevices(output: string): readonly string[] {
  const links = JSON.parse(output.trim() === '' ? '[]' : output) as readonly Link[];
  return links.flatMap(({ ifname, ifalias }) =>
    ifname === unfinishedDevice || (ifname === deviceName && ifalias === deviceAlias) ? [ifname] : [],
  );
}

interface Link {
  readonly ifname?: string;
  readonly ifalias?: string;
  readonly addr_info?: readonly { readonly family?: string; readonly local?: string; readonly scope?: string }[];
}
