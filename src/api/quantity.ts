import { AgentError } from '../lib/errors.ts';
import type { Quantity } from './core-v1.ts';

/**
 * Resource quantities as the API writes them: '250m', '1.5Gi', '12e6'. Values are exact, in
 * billionths (the finest the API keeps), so that sums do not drift. Source of the rules: the
 * comment on Quantity in the API reference.
 */

/** Which family of suffixes a quantity was written with: it keeps it when it is printed again. */
export type QuantityFormat = 'DecimalSI' | 'BinarySI' | 'DecimalExponent';

export interface ParsedQuantity {
  readonly nano: bigint;
  readonly format: QuantityFormat;
}

/** Either what the API sent, or what `parseQuantity` made of it. */
export type QuantityLike = Quantity | ParsedQuantity;

const nanoPerUnit = 1_000_000_000n;
/** The API caps larger values at the largest signed 64-bit integer. */
const maxNano = (2n ** 63n - 1n) * nanoPerUnit;

const decimalSuffixes = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const binarySuffixes = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const grammar = /^([+-]?)(\d*)(?:\.(\d*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,4}))?$/;

/** Reads a quantity; undefined when it is none. Finer than a billionth is rounded away from zero. */
export function tryParseQuantity(quantity: QuantityLike): ParsedQuantity | undefined {
  if (typeof quantity === 'object') return quantity;
  const match = grammar.exec(String(quantity));
  if (!match) return undefined;
  const [, sign, whole = '', fraction = '', suffix = '', exponent] = match;
  if (whole === '' && fraction === '') return undefined;
  const digits = BigInt(whole + fraction);
  const binary = suffix.endsWith('i');
  const power = exponent !== undefined ? Number(exponent) : binary ? 0 : (decimalSuffixes.indexOf(suffix) - 3) * 3;
  const factor = binary ? 1024n ** BigInt(binarySuffixes.indexOf(suffix)) : 1n;
  const magnitude = capped(scaled(digits * factor, power + 9 - fraction.length));
  return {
    nano: sign === '-' ? -magnitude : magnitude,
    format: exponent !== undefined ? 'DecimalExponent' : binary ? 'BinarySI' : 'DecimalSI',
  };
}

/** Reads a quantity. Throws an AgentError 'BadQuantity' that names the value. */
export function parseQuantity(quantity: QuantityLike): ParsedQuantity {
  const parsed = tryParseQuantity(quantity);
  if (parsed) return parsed;
  throw new AgentError('BadQuantity', `"${String(quantity)}" is not a quantity`, {
    hint: 'write a number with an optional suffix such as m, k, M, G, Ki, Mi or Gi',
  });
}

/** The value in whole units (bytes, cores, pieces), rounded up away from zero. */
export function quantityValue(quantity: QuantityLike): number {
  return Number(divideAwayFromZero(parseQuantity(quantity).nano, nanoPerUnit));
}

/** The value in thousandths (of a core), rounded up away from zero. */
export function quantityMilliValue(quantity: QuantityLike): number {
  return Number(divideAwayFromZero(parseQuantity(quantity).nano, 1_000_000n));
}

/** Negative when a < b, zero when they are the same amount, however it is written. */
export function compareQuantities(a: QuantityLike, b: QuantityLike): number {
  const difference = parseQuantity(a).nano - parseQuantity(b).nano;
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** The sum; it is written as `a` is, or as `b` when `a` is zero. */
export function addQuantities(a: QuantityLike, b: QuantityLike): ParsedQuantity {
  const [left, right] = [parseQuantity(a), parseQuantity(b)];
  return { nano: left.nano + right.nano, format: left.nano === 0n ? right.format : left.format };
}

/** a − b; it is written as `a` is, or as `b` when `a` is zero. */
export function subtractQuantities(a: QuantityLike, b: QuantityLike): ParsedQuantity {
  const right = parseQuantity(b);
  return addQuantities(a, { nano: -right.nano, format: right.format });
}

export function maxQuantity(a: QuantityLike, b: QuantityLike): ParsedQuantity {
  return parseQuantity(compareQuantities(a, b) >= 0 ? a : b);
}

/**
 * The canonical spelling: no fraction, the largest suffix of the quantity's family that keeps every
 * digit. Binary quantities below 1024 are written as decimal ones, and their fractions rounded up.
 */
export function formatQuantity(quantity: QuantityLike): string {
  const { nano, format } = parseQuantity(quantity);
  if (nano === 0n) return '0';
  const binary = format === 'BinarySI' && magnitudeOf(nano) >= 1024n * nanoPerUnit;
  if (binary) return formatBinary(divideAwayFromZero(nano, nanoPerUnit));
  const [mantissa, thousands] = factorOut(nano, 1000n, decimalSuffixes.length - 1);
  if (format !== 'DecimalExponent') return `${mantissa}${decimalSuffixes[thousands] ?? ''}`;
  return thousands === 3 ? `${mantissa}` : `${mantissa}e${(thousands - 3) * 3}`;
}

function formatBinary(value: bigint): string {
  const [mantissa, power] = factorOut(value, 1024n, binarySuffixes.length - 1);
  return `${mantissa}${binarySuffixes[power] ?? ''}`;
}

/** Divides by `base` as often as it goes without remainder, at most `limit` times. */
function factorOut(value: bigint, base: bigint, limit: number): [bigint, number] {
  let power = 0;
  let rest = value;
  while (power < limit && rest % base === 0n) {
    rest /= base;
    power++;
  }
  return [rest, power];
}

/** digits × 10^power, rounded up; exponents beyond any capped or vanishing value are not computed. */
function scaled(digits: bigint, power: number): bigint {
  if (digits === 0n) return 0n;
  if (power >= 0) return power > 60 ? maxNano : digits * 10n ** BigInt(power);
  const shift = Math.min(-power, String(digits).length + 1);
  return divideAwayFromZero(digits, 10n ** BigInt(shift));
}

const capped = (nano: bigint) => (nano > maxNano ? maxNano : nano);
const magnitudeOf = (value: bigint) => (value < 0n ? -value : value);

function divideAwayFromZero(value: bigint, divisor: bigint): bigint {
  const quotient = value / divisor;
  if (value % divisor === 0n) return quotient;
  return value < 0n ? quotient - 1n : quotient + 1n;
}
