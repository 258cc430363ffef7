/**
 * Reading the kernel's small text files without leaving garbage: figures are taken out of the text where they stand, and
 * no line becomes a string of its own. A full node reads thousands of these files for one scrape.
 */

/** A name at the start of a line, such as 'total_rss', prepared for `figureOf`. */
export interface LineKey {
  readonly first: string;
  readonly later: string;
}

export const lineKey = (name: string): LineKey => ({ first: `${name} `, later: `\n${name} ` });

/** The figure after the name in lines of 'name figure'; 0 when there is none. */
export function figureOf(text: string, key: LineKey): number {
  if (text.startsWith(key.first)) return numberAt(text, key.first.length);
  const at = text.indexOf(key.later);
  return at < 0 ? 0 : numberAt(text, at + key.later.length);
}

export const hasKey = (text: string, key: LineKey): boolean => text.startsWith(key.first) || text.includes(key.later);

const [zero, nine, minus] = [48, 57, 45];

/** The whole number that begins at the index; 0 when there is none. */
export function numberAt(text: string, index: number): number {
  const negative = text.charCodeAt(index) === minus;
  let value = 0;
  for (let at = negative ? index + 1 : index; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < zero || code > nine) break;
    value = value * 10 + (code - zero);
  }
  return negative ? -value : value;
}

/** A file that holds one limit: 'max' and what is beyond 2^62 is no limit, Infinity. */
export function limitOf(text: string): number {
  if (text.startsWith('max')) return Number.POSITIVE_INFINITY;
  const value = numberAt(text, 0);
  return value >= unlimited || value < 0 ? Number.POSITIVE_INFINITY : value;
}

/** v1 says the largest number of whole pages. */
const unlimited = 2 ** 62;
