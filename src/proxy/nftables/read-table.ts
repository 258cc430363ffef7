import { isIP } from 'node:net';
import { isPort } from '../read-service.ts';
import { nodeAddress } from '../route-services.ts';
import type { Proto } from './compile.ts';
import { frontendElement, protos } from './compile.ts';
import { affinitySet } from './keep-chain.ts';
import type { SplitListing } from './listed-elements.ts';
import { elementsOf, splitListing } from './listed-elements.ts';
import type { BaseChain, RulesetOptions, VerdictRole } from './ruleset.ts';
import {
  bothPlaces,
  endpointMap,
  hairpinSet,
  markerChain,
  staticChains,
  staticSets,
  verdictMap,
  verdictRoles,
} from './ruleset.ts';
import type { ChainState, FrontendState, TableState } from './table-state.ts';
import { emptyState, putFrontend } from './table-state.ts';

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
type JsonObject = { readonly [key: string]: Json };

/** A frontend in the reading. */
type Draft = { -readonly [Field in keyof FrontendState]: FrontendState[Field] } & {
  readonly slots: (string | undefined)[];
  readonly outsideSlots: (string | undefined)[];
};

/** What the elements of a map are, by its name. */
interface MapMeaning {
  readonly onNode: boolean;
  readonly proto?: Proto;
  readonly field: 'slots' | 'outsideSlots' | 'pick' | 'outsidePick' | 'noEndpoints' | 'sources';
}

const fieldOf: Readonly<Record<VerdictRole, MapMeaning['field']>> = {
  frontends: 'pick',
  outside: 'outsidePick',
  'no-endpoints': 'noEndpoints',
  sources: 'sources',
};

const meanings: ReadonlyMap<string, MapMeaning> = new Map(
  bothPlaces.flatMap((onNode): [string, MapMeaning][] => [
    ...verdictRoles.map((role): [string, MapMeaning] => [verdictMap(role, onNode), { onNode, field: fieldOf[role] }]),
    ...protos.flatMap((proto): [string, MapMeaning][] => [
      [endpointMap(proto, { onNode }), { onNode, proto, field: 'slots' }],
      [endpointMap(proto, { onNode, outside: true }), { onNode, proto, field: 'outsideSlots' }],
    ]),
  ]),
);

/** Written by the kernel alone, for clients that come. */
const kernelsOwn: ReadonlySet<string> = new Set(protos.map(affinitySet));

/** Slots that a frontend can have at most; an element beyond it is not ours. */
const maxSlots = 65_536;

/**
 * Turns the output of `nft -j list table` (schema: libnftables-json(5)) into the state that diffs start from. Whatever
 * is there and is not understood becomes a stray, so that reading never fails on what a foreign hand has put in.
 */
export function readTable(json: string, options: RulesetOptions): TableState {
  const state = emptyState();
  const drafts = new Map<string, Draft>();
  const { frame, lists } = splitListing(json);
  for (const item of listOf(objectOf(JSON.parse(frame) as Json)['nftables'])) {
    const { chain, rule, set, map } = objectOf(item);
    if (chain) readChain(state, objectOf(chain));
    if (rule) readRule(state, objectOf(rule));
    if (set || map) readElements(state, drafts, objectOf(set ?? map ?? null), lists);
  }
  for (const [element, draft] of drafts) putFrontend(state, element, frontendOf(draft));
  state.layout = layoutOf(state, options);
  return state;
}

/** One client that is kept with an endpoint, by its number (`endpointNumber`). */
export interface Note {
  readonly client: string;
  readonly endpoint: number;
}

/** The elements in the output of `nft -j list set` for a set of affinities; throws on what is no note. */
export function readNotes(json: string): readonly Note[] {
  return listOf(objectOf(JSON.parse(json) as Json)['nftables']).flatMap((item) =>
    listOf(objectOf(objectOf(item)['set'])['elem']).map((element) => {
      const [client, endpoint] = fieldsOf(element);
      if (!isAddress(client) || typeof endpoint !== 'number') throw new Error('an element is no note');
      return { client, endpoint };
    }),
  );
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

function readElements(
  state: TableState,
  drafts: Map<string, Draft>,
  set: JsonObject,
  lists: SplitListing['lists'],
): void {
  const name = String(set['name']);
  state.sets.add(name);
  const [list] = listOf(set['elem']);
  const pieces = lists[Number(list)] ?? [];
  if (kernelsOwn.has(name)) {
    state.hadNotes ||= pieces.some((piece) => piece.trim() !== '');
    return;
  }
  for (const item of elementsOf(pieces)) {
    const [key, value] = set['map'] === undefined ? [item as Json, null] : (listOf(item as Json) as [Json, Json]);
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
  const meaning = meanings.get(set);
  if (!meaning) return false;
  const fields = [...key];
  const ip = meaning.onNode ? nodeAddress : fields.shift();
  const proto = meaning.proto ?? fields.shift();
  const port = fields.shift();
  const draft = draftOf(drafts, ip, proto, port);
  if (!draft) return false;
  if (meaning.field !== 'slots' && meaning.field !== 'outsideSlots') {
    draft[meaning.field] = verdictOf(value);
    return fields.length === 0;
  }
  const [slot] = fields;
  if (typeof slot !== 'number' || slot >= maxSlots) return false;
  draft[meaning.field][slot] = fieldsOf(value).join(' . ');
  return true;
}

function draftOf(drafts: Map<string, Draft>, ip?: Json, protocol?: Json, port?: Json): Draft | undefined {
  const proto = protos.find((one) => one === protocol);
  if (!(ip === nodeAddress || isAddress(ip)) || !proto || !isPort(port)) return undefined;
  const id = { ip, proto, port };
  const element = frontendElement(id);
  const draft = drafts.get(element) ?? {
    ...{ id, slots: [], outsideSlots: [], pick: undefined, outsidePick: undefined },
    ...{ noEndpoints: undefined, sources: undefined },
  };
  drafts.set(element, draft);
  return draft;
}

function frontendOf(draft: Draft): FrontendState {
  return { ...draft, slots: Array.from(draft.slots), outsideSlots: Array.from(draft.outsideSlots) };
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
