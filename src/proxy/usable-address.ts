import { isIPv4, isIPv6, SocketAddress } from 'node:net';

/** A text that nobody can be led to or from, and why: the end of a sentence that begins with it. */
export interface AddressFault {
  readonly fault: string;
}

/**
 * An address as nft spells it. It has a fault when it is none, or when rules for it would turn the host's own traffic
 * away from where it belongs. The API refuses the same of endpoints and external addresses (ValidateNonSpecialIP),
 * which older objects, status fields and manifests may hold all the same. Asked for every endpoint of a cluster: no
 * address of IPv4 is parsed twice.
 */
export function readAddress(text: unknown, { mayBeLinkLocal = false } = {}): string | AddressFault {
  if (typeof text !== 'string') return { fault: 'is not an IP address' };
  const isFour = isIPv4(text);
  if (!isFour && !isIPv6(text)) return { fault: 'is not an IP address' };
  if (text.includes('%')) return { fault: 'has a zone, which means nothing on other hosts' };
  const ip = isFour ? text : spelledSix(text);
  const fault = isFour ? specialFour(ip) : specialSix(ip);
  if (fault === undefined || (mayBeLinkLocal && fault === linkLocal)) return ip;
  return { fault };
}

/** RFC 5952, as nft has it. */
export const spelledSix = (ip: string): string => new SocketAddress({ address: ip, family: 'ipv6' }).address;

const linkLocal = 'is a link-local address';

function specialFour(ip: string): string | undefined {
  const first = Number(ip.slice(0, ip.indexOf('.')));
  if (first === 0) return 'stands for no address';
  if (first === 127) return 'is a loopback address';
  if (first >= 224 && first < 240) return 'is a multicast address';
  if (ip === '255.255.255.255') return 'is the broadcast address';
  return ip.startsWith('169.254.') ? linkLocal : undefined;
}

/** Of an address as RFC 5952 has it. */
function specialSix(ip: string): string | undefined {
  if (ip === '::') return 'stands for no address';
  if (ip === '::1') return 'is a loopback address';
  if (ip.startsWith('::ffff:')) return 'is an IPv4 address written as IPv6';
  if (/^ff[\da-f]{2}:/.test(ip)) return 'is a multicast address';
  return /^fe[89ab][\da-f]:/.test(ip) ? linkLocal : undefined;
}
