import type { Log } from '../lib/log.ts';

/** What is wrong with one object. */
export interface Fault {
  /** e.g. `Service default/web` */
  readonly about: string;
  readonly text: string;
}

/** More of one object is not worth a longer line. */
const maxShown = 5;

/** What is said of an object that is wrong in part. */
const unusable = {
  Service: { message: 'part of a Service cannot be used', hint: 'correct it in the Service; the rest is in use' },
  EndpointSlice: {
    message: 'part of an EndpointSlice cannot be used',
    hint: 'whoever writes the slice, as its label endpointslice.kubernetes.io/managed-by says, has to correct it; the rest is in use',
  },
} as const;

/**
 * Warns of faults of objects: once, however many find them and however often, and anew only when they were mended in
 * between. One for the proxiers of both address families, which read the same objects.
 */
export class Complaints {
  readonly #log: Log;
  readonly #byFinder = new Map<string, ReadonlySet<string>>();
  /** By how many finders each fault is found now. */
  readonly #found = new Map<string, number>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** All that `finder` finds now; what it found before and does not any more is forgotten. `hint`: the remedy for all. */
  found(finder: string, faults: readonly Fault[], message: string, hint?: string): void {
    for (const [about, texts] of Map.groupBy(this.news(finder, faults), (fault) => fault.about)) {
      const details = texts
        .slice(0, maxShown)
        .map((fault) => fault.text)
        .join('; ');
      this.#log.warn({ about, details, ...(hint === undefined ? {} : { hint }) }, message);
    }
  }

  /** What reading one object finds wrong with it; undefined or empty: nothing, or it is gone. */
  ofObject(finder: string, kind: keyof typeof unusable, key: string, problems: readonly string[] = []): void {
    const about = `${kind} ${key}`;
    const { message, hint } = unusable[kind];
    const faults = problems.map((text) => ({ about, text }));
    this.found(`${finder} ${about}`, faults, message, hint);
  }

  /** As `found`, for who says it himself: what nobody had found. */
  news(finder: string, faults: readonly Fault[]): readonly Fault[] {
    const before = this.#byFinder.get(finder);
    if (!before && faults.length === 0) return [];
    const now = new Set(faults.map(keyOf));
    const fresh = faults.filter((fault) => !this.#found.has(keyOf(fault)));
    for (const key of now) if (!before?.has(key)) this.#found.set(key, (this.#found.get(key) ?? 0) + 1);
    for (const key of before ?? []) if (!now.has(key)) this.#lost(key);
    if (now.size > 0) this.#byFinder.set(finder, now);
    else this.#byFinder.delete(finder);
    return fresh;
  }

  #lost(key: string): void {
    const left = (this.#found.get(key) ?? 1) - 1;
    if (left > 0) this.#found.set(key, left);
    else this.#found.delete(key);
  }
}

const keyOf = ({ about, text }: Fault): string => `${about}: ${text}`;
