import type { FrontendId } from './compile.ts';
import { isKeepChain } from './keep-chain.ts';
import type { BaseChain } from './ruleset.ts';

/**
 * What the kernel's table holds: read once at start, and after every transaction changed by exactly what that
 * transaction wrote. The truth for diffs. It can describe any state a foreign hand may have left behind.
 */
export interface TableState {
  /** Whether the table is there and has our layout; without it nothing below means anything. */
  layout: 'ours' | 'foreign' | 'absent';
  /** Names of the sets and maps that are there. */
  readonly sets: Set<string>;
  readonly chains: Map<string, ChainState>;
  /** By frontend element: `10.96.0.9 . tcp . 80`. */
  readonly frontends: Map<string, FrontendState>;
  /** How many elements lead to each verdict (`goto pick-tcp-5`). */
  readonly picks: Map<string, number>;
  /** Addresses that have their pair in the hairpin set. */
  readonly hairpins: Set<string>;
  /** Elements that fit nowhere in this model; they shall go. */
  readonly strays: StrayElement[];
  /** Whether any client was noted for an endpoint when the table was read. */
  hadNotes: boolean;
}

export interface ChainState {
  readonly base: BaseChain | undefined;
  /** The comment of each rule in order; '' for a rule without one, which is not ours. */
  readonly tags: readonly string[];
}

export interface FrontendState {
  readonly id: FrontendId;
  /** The verdict in the frontend map: `goto pick-tcp-5`, or `goto keep-…`. */
  readonly pick: string | undefined;
  /** The verdict for clients from outside where it is another: `goto plain-tcp-2`, or `accept` to leave them alone. */
  readonly outsidePick: string | undefined;
  /** The verdict in the no-endpoints map: `goto reject` or `drop`. */
  readonly noEndpoints: string | undefined;
  /** `goto only-…`: the chain that knows who may send here. */
  readonly sources: string | undefined;
  /** By slot number; a slot without endpoint is undefined, which only a foreign hand brings about. */
  readonly slots: readonly (string | undefined)[];
  /** The endpoints for clients from outside, where those are others. */
  readonly outsideSlots: readonly (string | undefined)[];
}

export interface StrayElement {
  readonly set: string;
  readonly element: string;
}

export const emptyState = (): TableState => ({
  layout: 'absent',
  sets: new Set(),
  chains: new Map(),
  frontends: new Map(),
  picks: new Map(),
  hairpins: new Set(),
  strays: [],
  hadNotes: false,
});

/** Sets or removes one frontend and keeps the count of what leads where. */
export function putFrontend(state: TableState, element: string, next: FrontendState | undefined): void {
  countVerdicts(state.picks, state.frontends.get(element), -1);
  countVerdicts(state.picks, next, 1);
  if (next) state.frontends.set(element, next);
  else state.frontends.delete(element);
}

/** Adds `by` to the count of every verdict of a frontend that leads to a chain made for it. */
export function countVerdicts(picks: Map<string, number>, frontend: FrontendState | undefined, by: number): void {
  for (const verdict of verdictsOf(frontend)) count(picks, verdict, by);
}

/** The verdicts of a frontend that lead to chains made on demand. */
export const verdictsOf = (frontend: FrontendState | undefined): readonly string[] =>
  [frontend?.pick, frontend?.outsidePick, frontend?.sources].filter((verdict) => verdict !== undefined);

/** Whether it leads to a chain of session affinity. */
export const keepsClients = (frontend: FrontendState | undefined): boolean =>
  verdictsOf(frontend).some((verdict) => isKeepChain(verdict.replace('goto ', '')));

/** Adds `by` to a count that vanishes at zero. */
export function count(counts: Map<string, number>, key: string | undefined, by: number): void {
  if (key === undefined) return;
  const sum = (counts.get(key) ?? 0) + by;
  if (sum === 0) counts.delete(key);
  else counts.set(key, sum);
}
