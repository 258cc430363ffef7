import { isIP, isIPv4 } from 'node:net';
import type { PortProtocol } from '../api/core-v1.ts';
import { AgentError } from '../lib/errors.ts';
import type { IpFamily } from './read-service.ts';
import { canonicalIp, isPort } from './read-service.ts';

/** Where a packet comes from: a process of this host, somebody outside the cluster, or an address. */
export type TraceClient = UnknownAddress | NetworkClient;

interface UnknownAddress {
  readonly from: 'host' | 'outside';
  readonly asked: string;
}

interface NetworkClient {
  readonly from: 'network';
  readonly asked: string;
  /** One of each family at most. */
  readonly ips: readonly string[];
  /** Known to be a pod of this node. */
  readonly isLocalPod: boolean;
}

/** Where it is sent to. */
export type TraceTarget =
  | { readonly ip: string; readonly family: IpFamily; readonly port: number }
  | {
      readonly namespace: string;
      readonly name: string;
      /** A number, or the name of a Service port; undefined: the only one there is. */
      readonly port: number | string | undefined;
    };

export interface TraceQuestion {
  readonly client: TraceClient;
  readonly target: TraceTarget;
  /** As it was asked for. */
  readonly asked: string;
  /** Undefined: TCP, or what the port that was named has. */
  readonly protocol: PortProtocol | undefined;
}

/** The code of errors that whoever asks can mend. */
export const badQuestion = 'BadQuestion';
const refused = (message: string, hint: string) => new AgentError(badQuestion, message, { hint });
const targetForms = 'a target is [NAMESPACE/]SERVICE:PORT, ADDRESS:PORT or [IPV6-ADDRESS]:PORT';
const clientForms = 'a client is an address, host, outside, or the [NAMESPACE/]NAME of a pod of this node';

/** `web:80`, `ns/web:http`, `web`, `10.96.0.1:443`, `[fd00::1]:80`. Throws an AgentError `BadQuestion`. */
export function parseTarget(text: string): TraceTarget {
  const [, six = '', sixPort = ''] = /^\[([^\]]*)\]:(\d+)$/.exec(text) ?? [];
  if (text.startsWith('[')) return addressTarget(six, sixPort, text);
  if (isIP(text) !== 0) throw refused(`${text} is an address without a port`, targetForms);
  const [, namespace = 'default', name = '', port] =
    /^(?:([a-z0-9-]+)\/)?([a-z0-9.-]+?)(?::([^:]*))?$/.exec(text) ?? [];
  if (isIPv4(name) && !text.includes('/')) return addressTarget(name, port ?? '', text);
  if (!name) throw refused(`"${text}" is no target`, targetForms);
  if (port === undefined) return { namespace, name, port };
  if (!/^\d+$/.test(port)) {
    if (!/^[a-z0-9-]+$/.test(port))
      throw refused(`"${port}" is neither a port number nor the name of one`, targetForms);
    return { namespace, name, port };
  }
  if (!isPort(Number(port))) throw refused(`${port} is not a port number`, targetForms);
  return { namespace, name, port: Number(port) };
}

function addressTarget(address: string, port: string, text: string): TraceTarget {
  const family = familyOf(address);
  const ip = family && canonicalIp(address, family);
  if (!family || ip === undefined) throw refused(`"${text}" is no target`, targetForms);
  if (!/^\d+$/.test(port) || !isPort(Number(port))) throw refused(`"${text}" has no valid port number`, targetForms);
  return { ip, family, port: Number(port) };
}

/** The addresses of a pod of this node, or that it shares the host's; undefined: there is no such pod. */
export type FindPod = (namespace: string, name: string) => readonly string[] | 'hostNetwork' | undefined;

export function parseClient(text: string, findPod: FindPod): TraceClient {
  if (text === 'host' || text === 'outside') return { from: text, asked: text };
  const family = familyOf(text);
  if (family) {
    return { from: 'network', asked: text, ips: [canonicalIp(text, family) ?? text], isLocalPod: false };
  }
  const [, namespace = 'default', name = ''] = /^(?:([a-z0-9-]+)\/)?([a-z0-9.-]+)$/.exec(text) ?? [];
  if (!name) throw refused(`"${text}" is no client`, clientForms);
  const ips = findPod(namespace, name);
  if (!ips) throw refused(`there is no pod ${namespace}/${name} on this node`, clientForms);
  const asked = `pod ${namespace}/${name}`;
  if (ips === 'hostNetwork') return { from: 'host', asked: `${asked}, which has the host's network` };
  if (ips.length === 0) throw refused(`${asked} has no address yet`, `see: keelson why ${namespace}/${name}`);
  return { from: 'network', asked, ips, isLocalPod: true };
}

/** `tcp`, `UDP`, …; '' is undefined. */
export function parseProtocol(text: string): PortProtocol | undefined {
  const upper = text.toUpperCase();
  if (upper === '') return undefined;
  if (upper === 'TCP' || upper === 'UDP' || upper === 'SCTP') return upper;
  throw refused(`"${text}" is not a protocol`, 'a protocol is tcp, udp or sctp');
}

const familyOf = (ip: string): IpFamily | undefined =>
  isIP(ip) === 0 || ip.includes('%') ? undefined : isIPv4(ip) ? 'IPv4' : 'IPv6';
