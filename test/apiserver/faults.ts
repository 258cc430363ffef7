/** What a fault looks at: a request as it arrives. */
export interface RequestFacts {
  readonly verb: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly user: string;
}

/** Every given field must be equal, or contain the request's value when it is a list. */
export type FaultMatch = { readonly [K in keyof RequestFacts]?: RequestFacts[K] | readonly RequestFacts[K][] };

/**
 * drop: the connection is destroyed; delay: answered `delayMs` later; stall: accepted and never
 * answered (a watch gets its headers and then nothing); 429 with Retry-After; 500; 503; expire: 410.
 */
export type FaultAction = 'drop' | 'delay' | 'stall' | '429' | '500' | '503' | 'expire';

export interface FaultRule {
  readonly match?: FaultMatch;
  readonly action: FaultAction;
  /** How many requests it hits before it is used up; all of them without one. */
  readonly count?: number;
  readonly delayMs?: number;
  readonly retryAfterSeconds?: number;
}

export interface ActiveFault extends Disposable {
  readonly id: number;
  readonly rule: FaultRule;
  /** The requests it has hit so far. */
  readonly hits: number;
}

/** The faults in force; the first that matches a request is the one it gets. */
export class Faults {
  readonly #active = new Map<number, { rule: FaultRule; hits: number }>();
  #nextId = 1;

  add(rule: FaultRule): ActiveFault {
    const id = this.#nextId++;
    const entry = { rule, hits: 0 };
    this.#active.set(id, entry);
    return {
      id,
      rule,
      get hits() {
        return entry.hits;
      },
      [Symbol.dispose]: () => this.remove(id),
    };
  }

  remove(id: number): void {
    this.#active.delete(id);
  }

  clear(): void {
    this.#active.clear();
  }

  list(): { id: number; rule: FaultRule; hits: number }[] {
    return [...this.#active].map(([id, entry]) => ({ id, ...entry }));
  }

  /** The fault that this request gets, counted; undefined when it gets none. */
  take(facts: RequestFacts): FaultRule | undefined {
    for (const [id, entry] of this.#active) {
      if (!matchesFacts(entry.rule.match, facts)) continue;
      entry.hits++;
      if (entry.hits >= (entry.rule.count ?? Number.POSITIVE_INFINITY)) this.#active.delete(id);
      return entry.rule;
    }
    return undefined;
  }
}

export function matchesFacts(match: FaultMatch | undefined, facts: RequestFacts): boolean {
  return Object.entries(match ?? {}).every(([key, wanted]) => {
    const value = facts[key as keyof RequestFacts];
    return Array.isArray(wanted) ? wanted.includes(value) : wanted === value;
  });
}
