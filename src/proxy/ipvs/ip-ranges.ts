import type { IpFamily } from '../read-service.ts';
import { canonicalIp, inRanges } from '../read-service.ts';

const widths = { IPv4: { bits: 32, group: 8 }, IPv6: { bits: 128, group: 16 } } as const;

/** The first address of a range; `address` may be any in it, spelled canonically. */
export function networkOf(address: string, length: number, family: IpFamily): string {
  const { bits, group } = widths[family];
  const rest = BigInt(bits - length);
  const masked = (numberOf(address, family) >> rest) << rest;
  const groups = Array.from({ length: bits / group }, (_, i) =>
    Number((masked >> BigInt(bits - group * (i + 1))) & BigInt(2 ** group - 1)),
  );
  if (family === 'IPv4') return groups.join('.');
  return canonicalIp(groups.map((one) => one.toString(16)).join(':'), family) ?? address;
}

function numberOf(address: string, family: IpFamily): bigint {
  if (family === 'IPv4') return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  // Canonical IPv6 may end as IPv4 does.
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => `${hex(a, b)}:${hex(c, d)}`);
  const [head = '', tail] = plain.split('::');
  const parts = (text: string | undefined) => (text ? text.split(':') : []);
  const zeros = tail === undefined ? 0 : 8 - parts(head).length - parts(tail).length;
  const groups = [...parts(head), ...Array.from({ length: zeros }, () => '0'), ...parts(tail)];
  return groups.reduce((sum, part) => sum * 65_536n + BigInt(`0x${part}`), 0n);
}

const hex = (high: string, low: string): string => (Number(high) * 256 + Number(low)).toString(16);

const noHost = {
  IPv4: ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3'],
  IPv6: ['::/127', 'fe80::/10', 'ff00::/8'],
} as const;

/** Whether a host can have it as a virtual address: not loopback, not many hosts', not of one link only. */
export const isHostAddress = (ip: string): boolean => !inRanges(ip, noHost[ip.includes(':') ? 'IPv6' : 'IPv4']);
