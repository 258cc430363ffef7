import { isIPv4 } from 'node:net';
import { canonicalIp, inRanges } from '../read-service.ts';

/** A range as iptables prints it, or undefined for everybody: such a match is not written. */
export type SourceMatch = string | undefined;

/** A CIDR (or an address) with the bits behind its prefix cleared, as iptables prints it; undefined for `…/0`. */
export function matchOf(cidr: string): SourceMatch {
  const [address = '', prefix] = cidr.split('/');
  const width = isIPv4(address) ? 32 : 128;
  const length = prefix === undefined ? width : Number(prefix);
  if (length === 0) return undefined;
  const groupBits = width === 32 ? 8 : 16;
  const masked = groupsOf(address).map((group, at) => {
    const kept = Math.min(groupBits, Math.max(0, length - at * groupBits));
    return group & ~((1 << (groupBits - kept)) - 1);
  });
  if (width === 32) return `${masked.join('.')}/${length}`;
  return `${canonicalIp(masked.map((group) => group.toString(16)).join(':'), 'IPv6')}/${length}`;
}

/** What is in both; none when they are disjoint. Of two CIDRs one always holds the other whole, or nothing of it. */
export function inBoth(one: SourceMatch, other: SourceMatch): readonly SourceMatch[] {
  if (one === undefined || other === undefined) return [one ?? other];
  const [narrow, wide] = lengthOf(one) >= lengthOf(other) ? [one, other] : [other, one];
  return inRanges(narrow.split('/')[0] ?? '', [wide]) ? [narrow] : [];
}

const lengthOf = (cidr: string): number => Number(cidr.split('/')[1]);

/** Four bytes, or eight groups of 16 bits. */
function groupsOf(address: string): readonly number[] {
  if (isIPv4(address)) return address.split('.').map(Number);
  const hex = address.replace(/[0-9.]+\.[0-9]+$/, (four) => {
    const [a = 0, b = 0, c = 0, d = 0] = four.split('.').map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head = '', tail] = hex.split('::');
  const read = (text: string) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const [front, back] = [read(head), read(tail ?? '')];
  return [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
}
