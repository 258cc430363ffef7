import { readAddress } from './usable-address.ts';

/** One object may be wrong in thousands of places; more than this are not worth a line. */
const maxProblems = 20;
const shownLength = 60;

/**
 * Reads the fields of an object from the wire, where anything may stand: what is not as the API says is named with
 * its path and its value, and left out. Absent and null are the same, and no fault.
 */
export class FieldReader {
  readonly #problems = new Set<string>();

  get problems(): readonly string[] {
    return [...this.#problems];
  }

  /** `why` completes the sentence that begins with path and value. */
  refuse(path: string, value: unknown, why: string): undefined {
    if (this.#problems.size < maxProblems) this.#problems.add(`${path} ${shown(value)} ${why}`);
    return undefined;
  }

  /** Members of any kind; undefined where there is no object. */
  object(value: unknown, path: string): Readonly<Record<string, unknown>> | undefined {
    if (value === undefined || value === null) return undefined;
    if (isObject(value)) return value;
    return this.refuse(path, value, 'is not an object');
  }

  list(value: unknown, path: string): readonly unknown[] {
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value;
    this.refuse(path, value, 'is not a list');
    return [];
  }

  text(value: unknown, path: string): string | undefined {
    if (value === undefined || value === null) return undefined;
    return typeof value === 'string' ? value : this.refuse(path, value, 'is not a text');
  }

  texts(value: unknown, path: string): readonly string[] {
    return this.list(value, path).flatMap((one, i) => this.text(one, `${path}[${i}]`) ?? []);
  }

  flag(value: unknown, path: string): boolean | undefined {
    if (value === undefined || value === null) return undefined;
    return typeof value === 'boolean' ? value : this.refuse(path, value, 'is neither true nor false');
  }

  /** An address of either family, as nft spells it; one that would endanger the host is refused like one that is none. */
  address(value: unknown, path: string, options?: { readonly mayBeLinkLocal?: boolean }): string | undefined {
    const read = readAddress(value, options);
    return typeof read === 'string' ? read : this.refuse(path, value, read.fault);
  }

  /** One of some words; undefined where none stands, and where another one does. */
  oneOf<T extends string>(value: unknown, words: readonly T[], path: string): T | undefined {
    if (value === undefined || value === null || value === '') return undefined;
    return words.find((word) => word === value) ?? this.refuse(path, value, `is none of ${words.join(', ')}`);
  }

  /** A port number; undefined also for 0, which stands for none. */
  optionalPort(value: unknown, path: string): number | undefined {
    return value === undefined || value === null || value === 0 ? undefined : this.port(value, path);
  }

  port(value: unknown, path: string): number | undefined {
    return isPort(value) ? value : this.refuse(path, value, 'is not a port number');
  }
}

export const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'is absent and';
  return text.length > shownLength ? `${text.slice(0, shownLength)}…` : text;
}
