import { createHash } from 'node:crypto';

/** Chains of iptables by the names that kube-proxy gives them, because other tools look for those. */

export type TableName = 'mangle' | 'nat' | 'filter';
export const tableNames: readonly TableName[] = ['mangle', 'nat', 'filter'];

export const servicesChain = 'KUBE-SERVICES';
export const nodePortsChain = 'KUBE-NODEPORTS';
export const externalServicesChain = 'KUBE-EXTERNAL-SERVICES';
export const proxyFirewallChain = 'KUBE-PROXY-FIREWALL';
export const forwardChain = 'KUBE-FORWARD';
export const markMasqueradeChain = 'KUBE-MARK-MASQ';
export const postroutingChain = 'KUBE-POSTROUTING';
export const proxyCanaryChain = 'KUBE-PROXY-CANARY';
/** Empty, in each table that we write: says that the names above are ours there, and not kube-proxy's. */
export const ownerChain = 'KEELSON-CANARY';
/** Keeps neighbours from what listens on loopback. Not named KUBE-FIREWALL, which kubelet makes and may have left. */
export const loopbackGuardChain = 'KEELSON-FIREWALL';
/** Marks for masquerade what is from none of several ranges; one range needs no chain. */
export const markOutsidersChain = 'KEELSON-MARK-MASQ';

/** What never comes and goes with a Service. */
const fixedChains: Readonly<Record<TableName, readonly string[]>> = {
  mangle: [ownerChain, proxyCanaryChain],
  nat: [
    ...[ownerChain, proxyCanaryChain, servicesChain, nodePortsChain, markMasqueradeChain, postroutingChain],
    markOutsidersChain,
  ],
  filter: [
    ...[ownerChain, proxyCanaryChain, servicesChain, nodePortsChain, externalServicesChain, proxyFirewallChain],
    ...[forwardChain, loopbackGuardChain],
  ],
};

const servicePattern = /^KUBE-(?:SVC|SVL|EXT|FW|SEP)-[A-Z2-7]{16}$/;

/** Whether a chain comes and goes with a Service. */
export const isServiceChain = (name: string): boolean => servicePattern.test(name);

/** Whether a chain of this name is keelson's where `ownerChain` is. */
export const isOurs = (table: TableName, name: string): boolean =>
  isServiceChain(name) || fixedChains[table].includes(name);

/** `ns/name:port`, or `ns/name` for an unnamed port: as kube-proxy calls a Service port in comments and hashes. */
export const servicePortName = (namespace: string, name: string, portName: string): string =>
  `${namespace}/${name}${portName === '' ? '' : `:${portName}`}`;

export type ChainRole = 'SVC' | 'SVL' | 'EXT' | 'FW' | 'SEP';

/**
 * `KUBE-SVC-…`: 16 characters of the hash of the Service port, its protocol in lower case, and with `SEP` the endpoint
 * as `ip:port`.
 */
export const chainName = (role: ChainRole, servicePort: string, protocol: string, more = ''): string =>
  `KUBE-${role}-${base32(createHash('sha256').update(`${servicePort}${protocol}${more}`).digest())}`;

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The first 80 bits in base32 (RFC 4648). */
const base32 = (bytes: Buffer): string => digits(bytes.readUIntBE(0, 5)) + digits(bytes.readUIntBE(5, 5));

function digits(fortyBits: number): string {
  let rest = fortyBits;
  let text = '';
  for (let i = 0; i < 8; i++) {
    text = (alphabet[rest % 32] ?? '') + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}
