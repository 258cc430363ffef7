import { parseGoDuration } from '../lib/go-duration.ts';
import { type Complain, isRecord, pathText, quote, type Schema, unknownKey } from '../lib/schema.ts';
import type { SourcePath } from '../lib/yaml-source.ts';

/**
 * One table per kind of configuration says everything about its keys: type, default, and whether keelson
 * heeds it yet. The types of the program (`kinds.ts`) are derived from the tables.
 */

/** 'now': keelson does what it says; 'later': known upstream, warned about when it is set. */
export type Support = 'now' | 'later';

export interface Key<T> {
  readonly schema: Schema<unknown>;
  readonly fallback: T;
  readonly support: Support;
  /** Whether a zero value (0, '', 0s, false, nothing in it) is a value, or stands for the default. */
  readonly zeroCounts: boolean;
}

export type Table = { readonly [name: string]: Key<unknown> | Table };
export type Values<T> = { readonly [K in keyof T]: T[K] extends Key<infer V> ? V : Values<T[K]> };

/** A key whose zero value stands for the default: in upstream's Go types, one that is no pointer. */
export function key<T, D extends T | undefined>(schema: Schema<T>, fallback: D, support: Support): Key<T | D> {
  return { schema, fallback, support, zeroCounts: false };
}

/** A key whose zero value counts, because absence is told apart from it. */
export function pointer<T, D extends T | undefined>(schema: Schema<T>, fallback: D, support: Support): Key<T | D> {
  return { schema, fallback, support, zeroCounts: true };
}

export const isKey = (entry: Key<unknown> | Table): entry is Key<unknown> => typeof entry['zeroCounts'] === 'boolean';

export interface TableReading<T> {
  readonly values: Values<T>;
  /** The keys that the operator set, as path texts. */
  readonly set: ReadonlySet<string>;
  /** Set, but not heeded yet; a whole group by its own name when nothing in it is heeded. */
  readonly unsupported: readonly SourcePath[];
}

/** Reads a document against its table and fills in the defaults. Complains of every fault it finds. */
export function readTable<const T extends Table>(table: T, value: unknown, complain: Complain): TableReading<T> {
  const set = new Set<string>();
  const unsupported: SourcePath[] = [];
  const read = (part: Table, given: unknown, path: SourcePath): Record<string, unknown> => {
    if (given !== undefined && given !== null && !isRecord(given)) {
      complain({ about: 'value', path, message: `${quote(given)} is not a map` });
    }
    const record = isRecord(given) ? given : {};
    for (const name of Object.keys(record)) {
      if (!Object.hasOwn(part, name)) complain(missing(table, part, name, path));
    }
    const setBefore = set.size;
    const values = Object.fromEntries(
      Object.entries(part).map(([name, entry]) => {
        const at = [...path, name];
        const own = record[name];
        return [name, isKey(entry) ? readKey(entry, own, at) : read(entry, own, at)];
      }),
    );
    if (path.length > 0 && set.size > setBefore && !isHeeded(part)) unsupported.push(path);
    return values;
  };
  const readKey = (entry: Key<unknown>, given: unknown, path: SourcePath): unknown => {
    if (given === undefined || given === null) return entry.fallback;
    if (isZero(given) && !entry.zeroCounts) {
      if (!isZeroOf(entry.fallback, given)) entry.schema.read(given, path, complain);
      return entry.fallback;
    }
    set.add(pathText(path));
    if (entry.support === 'later') unsupported.push(path);
    return entry.schema.read(given, path, complain) ?? entry.fallback;
  };
  const values = read(table, value, []) as Values<T>;
  return { values, set, unsupported: outermost(unsupported) };
}

/** The defaults of a table. */
export function defaultsOf<const T extends Table>(table: T): Values<T> {
  return readTable(table, {}, () => {}).values;
}

/** Every key of a table, as path texts. */
export function keysOf(table: Table, path: SourcePath = []): string[] {
  return Object.entries(table).flatMap(([name, entry]) => {
    const at = [...path, name];
    return isKey(entry) ? [pathText(at)] : keysOf(entry, at);
  });
}

export function isZero(value: unknown): boolean {
  if (typeof value === 'string') return value === '' || parseGoDuration(value) === 0;
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0;
  return value === 0 || value === false;
}

/** Whether the zero is of the type of the default: `maxPods: ''` is a mistake, `maxPods: 0` is not. */
function isZeroOf(fallback: unknown, zero: unknown): boolean {
  if (fallback === undefined) return true;
  if (typeof fallback === 'number') return zero === 0 || (typeof zero === 'string' && parseGoDuration(zero) === 0);
  return typeof fallback === typeof zero && Array.isArray(fallback) === Array.isArray(zero);
}

function isHeeded(part: Table): boolean {
  return Object.values(part).some((entry) => (isKey(entry) ? entry.support === 'now' : isHeeded(entry)));
}

/** Without the paths that lie inside another one. */
function outermost(paths: readonly SourcePath[]): SourcePath[] {
  const texts = new Set(paths.map(pathText));
  return paths.filter((path) => !path.some((_, end) => end > 0 && texts.has(pathText(path.slice(0, end)))));
}

/** An unknown key; when it has its place elsewhere in the table, that place is what was meant. */
function missing(table: Table, part: Table, name: string, path: SourcePath) {
  const complaint = unknownKey(name, path, Object.keys(part));
  if (complaint.hint) return complaint;
  const elsewhere = keysOf(table).find((known) => known.endsWith(`.${name}`) || known === name);
  return elsewhere ? { ...complaint, hint: `did you mean ${elsewhere}?` } : complaint;
}
