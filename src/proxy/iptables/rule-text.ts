import { isIPv4 } from 'node:net';
import type { LocalTraffic } from '../node-facts.ts';
import type { IpFamily } from '../read-service.ts';
import { canonicalIp } from '../read-service.ts';

/**
 * Parts of rules, spelled and ordered exactly as iptables-save prints them (`-s -d -i -p`, matches, `-j`), in both
 * variants: what was written is read back as the same text.
 */

export const hostRange = (ip: string): string => `${ip}/${isIPv4(ip) ? 32 : 128}`;

/** The kernel keeps so many bytes of a comment: a longer one is not read back as it was written. */
const maxComment = 255;

/** Names may be anything that an API server let pass: what could end the comment or the line is written as `?`. */
export const comment = (text: string): string =>
  `-m comment --comment "${text.replaceAll(/[^ !#-[\]-~]/g, '?').slice(0, maxComment)}"`;

/** Joins the parts of a rule that are not empty. */
export const rule = (...parts: readonly string[]): string => parts.filter((part) => part !== '').join(' ');

/** ` -s 10.0.0.0/8`, or '' for a range that every address is in, which iptables does not print. */
export const from = (cidr: string): string => (isEverything(cidr) ? '' : `-s ${networkOf(cidr)}`);
export const to = (cidr: string): string => (isEverything(cidr) ? '' : `-d ${networkOf(cidr)}`);

export const isEverything = (cidr: string): boolean => cidr.endsWith('/0');

/** How packets of local pods are matched, a rule each; none when they are not known. */
export function localMatches(local: LocalTraffic | undefined): readonly string[] {
  if (!local) return [];
  return 'cidrs' in local ? local.cidrs.map(from) : [`-i ${interfaceMatch(local.interface)}`];
}

export const interfaceMatch = (pattern: string): string => pattern.replace(/\*$/, '+');

/** Of a random choice among `count` rules that are asked in turn, the first one's; as the kernel keeps it: 31 bits. */
export const probability = (count: number): string =>
  `-m statistic --mode random --probability ${(Math.round(2 ** 31 / count) / 2 ** 31).toFixed(11)}`;

/** The range with the bits beyond its length cleared. */
export function networkOf(cidr: string): string {
  const [ip = '', length = ''] = cidr.split('/');
  const family: IpFamily = isIPv4(ip) ? 'IPv4' : 'IPv6';
  const bits = family === 'IPv4' ? 32 : 128;
  const host = BigInt(bits - Number(length));
  const number = (numberOf(ip) >> host) << host;
  return `${textOf(number, family)}/${length}`;
}

function numberOf(ip: string): bigint {
  if (isIPv4(ip)) return ip.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  const plain = ip.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) =>
    [Number(a) * 256 + Number(b), Number(c) * 256 + Number(d)].map((part) => part.toString(16)).join(':'),
  );
  const [head = '', tail] = plain.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':'));
  const left = groups(head);
  const right = groups(tail ?? '');
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...zeros, ...right].reduce((sum, part) => sum * 65_536n + BigInt(`0x${part}`), 0n);
}

function textOf(number: bigint, family: IpFamily): string {
  const parts = family === 'IPv4' ? 4 : 8;
  const size = family === 'IPv4' ? 8n : 16n;
  const fields = Array.from({ length: parts }, (_, i) => (number >> (BigInt(parts - 1 - i) * size)) % (1n << size));
  if (family === 'IPv4') return fields.join('.');
  const long = fields.map((field) => field.toString(16)).join(':');
  return canonicalIp(long, family) ?? long;
}

/**
 * The rule as other releases may print it alike: without quotes, and its matches in one order. Only for rules whose
 * text is not what was expected, since it takes time.
 */
export function canonicalRule(text: string): string {
  const words = text.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
  const groups: string[][] = [[]];
  for (const word of words) {
    if (word === '-m' || word === '-j' || word === '-g') groups.push([]);
    groups.at(-1)?.push(word.replace(/^"(.*)"$/, '$1'));
  }
  const target = groups.filter(([first]) => first === '-j' || first === '-g');
  const matches = groups.filter((group) => !target.includes(group)).map((group) => group.join(' '));
  return [matches[0], ...matches.slice(1).sort(), ...target.map((group) => group.join(' '))].join(' ');
}
