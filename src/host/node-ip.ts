import { readFile } from 'node:fs/promises';
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { AgentError } from '../lib/errors.ts';

/** A default route of the kernel's tables; the lower metric is used first. */
export interface DefaultRoute {
  readonly family: 4 | 6;
  readonly device: string;
  readonly metric: number;
}

/** An address that the host has on an interface that is up. */
export interface HostAddress {
  readonly device: string;
  readonly address: string;
}

const routeUp = 0x1;
const routeReject = 0x200;

/** Default routes in /proc/net/route: hexadecimal, in the machine's byte order, which zero does not mind. */
export function parseIpv4Routes(text: string): DefaultRoute[] {
  return text.split('\n').flatMap((line) => {
    const [device, destination, , flags, , , metric, mask] = line.trim().split(/\s+/);
    if (!device || destination !== '00000000' || mask !== '00000000') return [];
    const up = (Number.parseInt(flags ?? '', 16) & routeUp) !== 0;
    return up ? [{ family: 4 as const, device, metric: Number(metric) }] : [];
  });
}

/** Default routes in /proc/net/ipv6_route; the kernel keeps one on lo that refuses everything. */
export function parseIpv6Routes(text: string): DefaultRoute[] {
  return text.split('\n').flatMap((line) => {
    const [destination, length, , , , metric, , , flags, device] = line.trim().split(/\s+/);
    if (!device || !/^0+$/.test(destination ?? '') || length !== '00' || device === 'lo') return [];
    const bits = Number.parseInt(flags ?? '', 16);
    if (!(bits & routeUp) || bits & routeReject) return [];
    return [{ family: 6 as const, device, metric: Number.parseInt(metric ?? '', 16) }];
  });
}

export async function readDefaultRoutes(): Promise<DefaultRoute[]> {
  const read = (path: string) => readFile(path, 'utf8').catch(() => '');
  const [v4, v6] = await Promise.all([read('/proc/net/route'), read('/proc/net/ipv6_route')]);
  return [...parseIpv4Routes(v4), ...parseIpv6Routes(v6)];
}

export function readHostAddresses(): HostAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([device, addresses]) =>
    (addresses ?? []).map(({ address }) => ({ device, address })),
  );
}

/**
 * The node's addresses, the main one first: those of --node-ip, which must be the host's own, or the one on the interface
 * of the default route (IPv4 before IPv6; '0.0.0.0' and '::' ask for one family). Where no route leads out, the first
 * global address stands in, so that a host without a gateway works too. Empty when there is none at all.
 * Fails with code NodeIpInvalid.
 */
export function chooseNodeIps(
  wanted: readonly string[],
  routes: readonly DefaultRoute[],
  addresses: readonly HostAddress[],
): string[] {
  if (!wanted.length) return [4 as const, 6 as const].flatMap((f) => defaultIp(f, routes, addresses)).slice(0, 1);
  return wanted.flatMap((ip) => {
    if (ip === '0.0.0.0') return defaultIp(4, routes, addresses);
    if (ip === '::') return defaultIp(6, routes, addresses);
    checkNodeIp(ip, addresses);
    return ip;
  });
}

function defaultIp(
  family: 4 | 6,
  routes: readonly DefaultRoute[],
  addresses: readonly HostAddress[],
): string | never[] {
  const usable = addresses.filter((a) => isIP(a.address) === family && isGlobal(a.address));
  const byMetric = routes.filter((r) => r.family === family).sort((a, b) => a.metric - b.metric);
  for (const route of byMetric) {
    const own = usable.find((a) => a.device === route.device);
    if (own) return own.address;
  }
  // Proxies keep addresses of their own on loopback, which answer to this host alone.
  const first = usable.find(({ device }) => device !== 'lo') ?? usable[0];
  return first?.address ?? [];
}

function checkNodeIp(ip: string, addresses: readonly HostAddress[]): void {
  const refuse = (why: string, hint: string) => {
    throw new AgentError('NodeIpInvalid', `--node-ip ${ip} ${why}`, { hint });
  };
  if (!isIP(ip)) refuse('is not an IP address', 'give one of the host, e.g. --node-ip 192.0.2.10');
  if (!isGlobal(ip)) refuse('cannot be reached from other hosts', 'loopback, link-local and multicast do not serve');
  if (!addresses.some((a) => a.address === ip)) {
    const own = addresses.filter((a) => isGlobal(a.address)).map((a) => a.address);
    refuse('is no address of this host', own.length ? `it has ${own.slice(0, 8).join(', ')}` : 'it has none');
  }
}

/** Whether other hosts can use the address: not loopback, link-local, multicast or unspecified. */
function isGlobal(ip: string): boolean {
  if (isIPv4(ip)) {
    const [a = 0, b = 0] = ip.split('.').map(Number);
    return a !== 0 && a !== 127 && a < 224 && !(a === 169 && b === 254);
  }
  return isIPv6(ip) && ip !== '::' && ip !== '::1' && !/^fe[89ab]/i.test(ip) && !/^ff/i.test(ip);
}
