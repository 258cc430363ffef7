import { didYouMean } from './did-you-mean.ts';
import type { SourcePath } from './yaml-source.ts';

/**
 * Descriptions of what a document may hold, which read it and complain: every complaint names the
 * place, the value and what was expected, and reading goes on after it. Null counts as absent, as in Go.
 */

export interface Complaint {
  /** 'unknown': no such key (the path ends in it); 'value': the value at the path is wrong. */
  readonly about: 'unknown' | 'value';
  readonly path: SourcePath;
  readonly message: string;
  readonly hint?: string | undefined;
  /** The value is a word, as it should be, but none of those that are known. */
  readonly isWord?: true;
}

export type Complain = (complaint: Complaint) => void;

export interface Schema<T> {
  /** What a value should be, for messages: 'a whole number from 1 to 5'. */
  readonly expects: string;
  /** The value as the program uses it; undefined, after a complaint, when it is not one. */
  read(value: unknown, path: SourcePath, complain: Complain): T | undefined;
}

/** The type that a schema reads. */
export type Read<S> = S extends Schema<infer T> ? T : never;

/** The value as it is complained about: short, on one line. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** 'a.b[2]["x/y"]', as people write paths. */
export function pathText(path: SourcePath): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    if (!/^[\w-]+$/.test(step)) return `${text}[${JSON.stringify(step)}]`;
    return text ? `${text}.${step}` : step;
  }, '');
}

/** A schema of values that `accept` turns into T; undefined refuses. */
export function scalar<T>(expects: string, accept: (value: unknown) => T | undefined): Schema<T> {
  return {
    expects,
    read: (value, path, complain) => {
      const read = accept(value);
      if (read === undefined) complain({ about: 'value', path, message: `${quote(value)} is not ${expects}` });
      return read;
    },
  };
}

export const boolean = scalar('true or false', (v) => (typeof v === 'boolean' ? v : undefined));
export const number = scalar('a number', (v) => (typeof v === 'number' && Number.isFinite(v) ? v : undefined));
export const string: Schema<string> = {
  expects: 'a string',
  read: (value, path, complain) => {
    if (typeof value === 'string') return value;
    // `yes`, `n` and `8080` are no strings in YAML, though they look like some.
    const hint = typeof value === 'boolean' || typeof value === 'number' ? { hint: 'write it in quotes' } : {};
    complain({ about: 'value', path, message: `${quote(value)} is not a string`, ...hint });
    return undefined;
  },
};
export const anything: Schema<unknown> = { expects: 'anything', read: (value) => value };

/** A string that may be secret: a complaint does not show the value. */
export const hiddenString: Schema<string> = {
  expects: 'a string',
  read: (value, path, complain) => {
    if (typeof value === 'string') return value;
    complain({ about: 'value', path, message: 'is not a string', hint: 'write it in quotes' });
    return undefined;
  },
};

/** A string that `valid` likes. */
export const text = (expects: string, valid: (value: string) => boolean): Schema<string> =>
  scalar(expects, (v) => (typeof v === 'string' && valid(v) ? v : undefined));

export function integer(min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER): Schema<number> {
  const [low, high] = [min > Number.MIN_SAFE_INTEGER, max < Number.MAX_SAFE_INTEGER];
  const range = low && high ? ` from ${min} to ${max}` : low ? `, ${min} or more` : high ? `, ${max} or less` : '';
  const fits = (v: unknown): v is number => typeof v === 'number' && Number.isSafeInteger(v) && v >= min && v <= max;
  return scalar(`a whole number${range}`, (v) => (fits(v) ? v : undefined));
}

/** What Go's int64 holds. JSON.parse rounds values beyond 2^53, such as the largest, which people write for 'for ever'. */
export const int64 = scalar('a whole number', (v) =>
  typeof v === 'number' && Number.isInteger(v) && Math.abs(v) <= 2 ** 63 ? v : undefined,
);

export function oneOf<const T extends string>(...words: readonly T[]): Schema<T> {
  const expects = `one of ${words.map((word) => (word === '' ? '""' : word)).join(', ')}`;
  return {
    expects,
    read: (value, path, complain) => {
      const found = words.find((word) => word === value);
      if (found !== undefined) return found;
      const meant = typeof value === 'string' ? didYouMean(value, words) : undefined;
      const hint = meant ? { hint: `did you mean ${meant}?` } : {};
      const word = typeof value === 'string' ? { isWord: true as const } : {};
      complain({ about: 'value', path, message: `${quote(value)} is not ${expects}`, ...hint, ...word });
      return undefined;
    },
  };
}

export function list<T>(of: Schema<T>): Schema<readonly T[]> {
  return {
    expects: 'a list',
    read: (value, path, complain) => {
      if (!Array.isArray(value)) return refuse(value, 'a list', path, complain);
      const items = value.map((item, index) => of.read(item, [...path, index], complain));
      return items.filter((item) => item !== undefined);
    },
  };
}

export function map<T>(of: Schema<T>, key: Schema<string> = string): Schema<Readonly<Record<string, T>>> {
  return {
    expects: 'a map',
    read: (value, path, complain) => {
      if (!isRecord(value)) return refuse(value, 'a map', path, complain);
      const entries: [string, T][] = [];
      for (const [name, item] of Object.entries(value)) {
        const goodKey = key.read(name, [...path, name], (c) => complain({ ...c, about: 'unknown' }));
        const read = of.read(item, [...path, name], complain);
        if (goodKey !== undefined && read !== undefined) entries.push([name, read]);
      }
      return Object.fromEntries(entries);
    },
  };
}

export type Fields = Readonly<Record<string, Schema<unknown>>>;
export type ReadFields<F extends Fields> = { readonly [K in keyof F]?: Read<F[K]> };

/** A map with known keys, each of which may be absent. */
export function object<F extends Fields>(fields: F): Schema<ReadFields<F>> {
  return {
    expects: 'a map',
    read: (value, path, complain) => {
      if (!isRecord(value)) return refuse(value, 'a map', path, complain);
      const entries: [string, unknown][] = [];
      for (const [name, item] of Object.entries(value)) {
        const schema = Object.hasOwn(fields, name) ? fields[name] : undefined;
        if (!schema) complain(unknownKey(name, path, Object.keys(fields)));
        else if (item !== null) {
          const read = schema.read(item, [...path, name], complain);
          if (read !== undefined) entries.push([name, read]);
        }
      }
      return Object.fromEntries(entries) as ReadFields<F>;
    },
  };
}

/** For schemas that hold themselves. */
export function lazy<T>(schema: () => Schema<T>): Schema<T> {
  return { expects: 'a map', read: (value, path, complain) => schema().read(value, path, complain) };
}

export function unknownKey(name: string, parent: SourcePath, known: readonly string[]): Complaint {
  return {
    about: 'unknown',
    path: [...parent, name],
    message: 'no such key',
    // Looked for when somebody asks: an object of the API has dozens of keys that are of no interest here.
    get hint() {
      const meant = didYouMean(name, known);
      return meant && `did you mean ${meant}?`;
    },
  };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuse(value: unknown, expects: string, path: SourcePath, complain: Complain): undefined {
  complain({ about: 'value', path, message: `${quote(value)} is not ${expects}` });
  return undefined;
}
