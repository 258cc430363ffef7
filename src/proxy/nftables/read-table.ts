import { isIP } from 'node:net';
import { isPort } from '../read-service.ts';
import type { FrontendId, Proto } from './compile.ts';
import { frontendElement, protos } from './compile.ts';
import type { BaseChain, RulesetOptions } from './ruleset.ts';
import {
  endpointMap,
  frontendMap,
  hairpinSet,
  markerChain,
  noEndpointsMap,
  staticChains,
  staticSets,
} from './ruleset.ts';
import type { ChainState, FrontendState, TableState } from './table-state.ts';
import { emptyState, putFrontend } from './table-state.ts';

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
type JsonObject = { readonly [key: string]: Json };

interface Draft {
  readonly id: FrontendId;
  pick: string | undefined;
  noEndpoints: string | undefined;
  readonly slots: (string | undefined)[];
}

/** Slots that a frontend can have at most; an element beyond it is not ours. */
const maxSlots = 65_536;

/**
 * Turns the output of `nft -j list table` (schema: libnftables-json(5)) into the state that diffs start from. Whatever
 * is there and is not understood becomes a stray, so that reading never fails on what a foreign hand has put in.
 */
export function readTable(json: string, options: RulesetOptions): TableState {
  const state = emptyState();
  const drafts = new Map<string, Draft>();
  for (const item of listOf(objectOf(JSON.parse(json) as Json)['nftables'])) {
    const { chain, rule, set, map } = objectOf(item);
    if (chain) readChain(state, objectOf(chain));
    if (rule) readRule(state, objectOf(rule));
    if (set || map) readElements(state, drafts, objectOf(set ?? map ?? null));
  }
  for (const [element, draft] of drafts) putFrontend(state, element, frontendOf(draft));
  state.layout = layoutOf(state, options);
  return state;
}

/** Names of one table's chains in the output of `nft -j list chains`. */
export function readChainNames(json: string, table: string): ReadonlySet<string> {
  const names = new Set<string>();
  for (const item of listOf(objectOf(JSON.parse(json) as Json)['nftables'])) {
    const chain = objectOf(objectOf(item)['chain']);
    if (chain['table'] === table) names.add(String(chain['name']));
  }
  return names;
}

function layoutOf({ chains, sets }: TableState, options: RulesetOptions): 'ours' | 'foreign' {
  if (!chains.has(markerChain)) return 'foreign';
  const wanted = staticChains(options);
  const moved = wanted.some(({ name, base }) => {
    const found = chains.get(name);
    return found !== undefined && !sameBase(found.base, base);
  });
  const unknownSet = [...sets].some((name) => !staticSets(options).some((set) => set.name === name));
  return moved || unknownSet ? 'foreign' : 'ours';
}

const sameBase = (a: BaseChain | undefined, b: BaseChain | undefined): boolean =>
  a?.type === b?.type && a?.hook === b?.hook && a?.priority === b?.priority;

function readChain(state: TableState, chain: JsonObject): void {
  const { type, hook, prio } = chain;
  const base =
    (type === 'nat' || type === 'filter') && typeof hook === 'string'
      ? { type: type as BaseChain['type'], hook, priority: Number(prio) }
      : undefined;
  state.chains.set(String(chain['name']), { base, tags: [] });
}

function readRule(state: TableState, rule: JsonObject): void {
  const name = String(rule['chain']);
  const chain: ChainState = state.chains.get(name) ?? { base: undefined, tags: [] };
  state.chains.set(name, { ...chain, tags: [...chain.tags, textOf(rule['comment']) ?? ''] });
}

function readElements(state: TableState, drafts: Map<string, Draft>, set: JsonObject): void {
  const name = String(set['name']);
  state.sets.add(name);
  for (const item of listOf(set['elem'])) {
    const [key, value] = set['map'] === undefined ? [item, null] : (listOf(item) as readonly [Json, Json]);
    const fields = fieldsOf(key);
    if (!place(state, drafts, name, fields, value)) state.strays.push({ set: name, element: fields.join(' . ') });
  }
}

function place(
  state: TableState,
  drafts: Map<string, Draft>,
  set: string,
  key: readonly (string | number)[],
  value: Json,
): boolean {
  if (set === hairpinSet) {
    if (key.length !== 2 || key[0] !== key[1] || !isAddress(key[0])) return false;
    state.hairpins.add(key[0]);
    return true;
  }
  const proto = protos.find((one) => endpointMap(one) === set);
  if (proto) {
    const [ip, port, slot] = key;
    const draft = draftOf(drafts, ip, proto, port);
    if (!draft || typeof slot !== 'number' || slot >= maxSlots) return false;
    draft.slots[slot] = fieldsOf(value).join(' . ');
    return true;
  }
  const draft = draftOf(drafts, key[0], key[1], key[2]);
  const verdict = verdictOf(value);
  if (!draft || (set !== frontendMap && set !== noEndpointsMap)) return false;
  if (set === frontendMap) draft.pick = verdict;
  else draft.noEndpoints = verdict;
  return true;
}

function draftOf(drafts: Map<string, Draft>, ip?: Json, protocol?: Json, port?: Json): Draft | undefined {
  const proto = protos.find((one) => one === protocol);
  if (!isAddress(ip) || !proto || !isPort(port)) return undefined;
  const id = { ip, proto: proto as Proto, port };
  const element = frontendElement(id);
  const draft = drafts.get(element) ?? { id, pick: undefined, noEndpoints: undefined, slots: [] };
  drafts.set(element, draft);
  return draft;
}

function frontendOf(draft: Draft): FrontendState {
  return { ...draft, slots: Array.from(draft.slots) };
}

/** The parts of an element's key or value, whether alone, concatenated or wrapped with its comment or timeout. */
function fieldsOf(value: Json): readonly (string | number)[] {
  const { concat, elem } = objectOf(value);
  if (elem !== undefined) return fieldsOf(objectOf(elem)['val'] ?? null);
  const parts = concat === undefined ? [value] : listOf(concat);
  return parts.map((part) => (typeof part === 'number' ? part : (textOf(part) ?? JSON.stringify(part))));
}

function verdictOf(value: Json): string {
  const [kind, detail] = Object.entries(objectOf(value))[0] ?? ['', null];
  const target = objectOf(detail)['target'];
  return target === undefined ? kind : `${kind} ${String(target)}`;
}

const isAddress = (value: unknown): value is string => typeof value === 'string' && isIP(value) !== 0;
const textOf = (value: Json | undefined): string | undefined => (typeof value === 'string' ? value : undefined);
const listOf = (value: Json | undefined): readonly Json[] => (Array.isArray(value) ? value : []);
const objectOf = (value: Json | undefined): JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
