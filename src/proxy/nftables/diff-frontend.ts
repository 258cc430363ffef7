import { nodeAddress } from '../route-services.ts';
import type { DesiredFrontend, FrontendId, PickChain } from './compile.ts';
import { frontendElement, pickChainName, slotElement, sourcesChainName } from './compile.ts';
import type { KeepChain } from './keep-chain.ts';
import { keepChainName, keepChainsOf, pickKinds } from './keep-chain.ts';
import { endpointMap, rejectChain, verdictMap } from './ruleset.ts';
import type { FrontendState } from './table-state.ts';

/** Elements to write; within one set all removals come before all additions. */
export interface ElementWrites {
  readonly remove: readonly { readonly set: string; readonly element: string }[];
  /** `value` is what a map's element leads to; undefined in a set. */
  readonly add: readonly { readonly set: string; readonly element: string; readonly value?: string }[];
}

export interface FrontendChange extends ElementWrites {
  /** What the kernel holds once the writes are done; undefined when nothing is left. */
  readonly next: FrontendState | undefined;
}

interface Cell {
  readonly set: string;
  readonly element: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/**
 * The fewest element writes that lead from what one frontend has in the kernel to what it shall have, or undefined
 * when it has that already. An endpoint that stays keeps its slot; the hole of one that goes is filled by the one in
 * the last slot, so that removing an endpoint touches three elements however many there are.
 */
export function diffFrontend(
  current: FrontendState | undefined,
  desired: DesiredFrontend | undefined,
): FrontendChange | undefined {
  const id = current?.id ?? desired?.id;
  if (!id) return undefined;
  const next = nextState(id, current, desired);
  const element = frontendElement(id);
  const onNode = id.ip === nodeAddress;
  const verdict = (role: Parameters<typeof verdictMap>[0], field: VerdictField): Cell => ({
    ...{ set: verdictMap(role, onNode), element, from: current?.[field], to: next[field] },
  });
  const cells: readonly Cell[] = [
    ...slotCells(id, false, current?.slots ?? [], next.slots),
    ...slotCells(id, true, current?.outsideSlots ?? [], next.outsideSlots),
    verdict('frontends', 'pick'),
    verdict('outside', 'outsidePick'),
    verdict('no-endpoints', 'noEndpoints'),
    verdict('sources', 'sources'),
  ];
  const changed = cells.filter((cell) => cell.from !== cell.to);
  if (changed.length === 0) return undefined;
  return {
    remove: changed.filter((cell) => cell.from !== undefined).map((cell) => ({ set: cell.set, element: cell.element })),
    add: changed.flatMap((cell) =>
      cell.to === undefined ? [] : [{ set: cell.set, element: cell.element, value: cell.to }],
    ),
    next: desired ? next : undefined,
  };
}

type VerdictField = 'pick' | 'outsidePick' | 'noEndpoints' | 'sources';

function nextState(
  id: FrontendId,
  current: FrontendState | undefined,
  desired: DesiredFrontend | undefined,
): FrontendState {
  const { masquerade = 'outsiders', outside, sources } = desired ?? {};
  const keep = desired && keepChainsOf(desired);
  // A chain that keeps clients has its endpoints in its rules.
  const slots = placeEndpoints(current?.slots ?? [], keep?.pick ? [] : (desired?.endpoints ?? []));
  const outsideSlots = placeEndpoints(current?.outsideSlots ?? [], keep?.outside ? [] : (outside?.endpoints ?? []));
  const lead = (chain: KeepChain | undefined, kind: PickChain['kind'], count: number): string | undefined => {
    if (chain) return `goto ${keepChainName(chain)}`;
    const onNode = id.ip === nodeAddress;
    return count === 0 ? undefined : `goto ${pickChainName({ kind, count, proto: id.proto, onNode })}`;
  };
  return {
    id,
    slots,
    pick: lead(keep?.pick, pickKinds[masquerade], slots.length),
    outsideSlots,
    // Without an endpoint for outside its packets must not fall through to those for everybody.
    outsidePick: lead(keep?.outside, 'plain', outsideSlots.length) ?? (outside && 'accept'),
    noEndpoints: noEndpointsVerdict((outside ?? desired)?.verdict),
    sources: sources && `goto ${sourcesChainName(sources)}`,
  };
}

function slotCells(
  id: FrontendId,
  outside: boolean,
  old: readonly (string | undefined)[],
  next: readonly (string | undefined)[],
): readonly Cell[] {
  const set = endpointMap(id.proto, { outside, onNode: id.ip === nodeAddress });
  const count = Math.max(old.length, next.length);
  return Array.from({ length: count }, (_, slot) => ({
    ...{ set, element: slotElement(id, slot), from: old[slot], to: next[slot] },
  }));
}

function placeEndpoints(old: readonly (string | undefined)[], wanted: readonly string[]): readonly string[] {
  const count = wanted.length;
  const left = new Set(wanted);
  const slots = old.slice(0, count).map((endpoint) => {
    const stays = endpoint !== undefined && left.delete(endpoint);
    return stays ? endpoint : undefined;
  });
  const homeless = left.values();
  return Array.from({ length: count }, (_, slot) => slots[slot] ?? homeless.next().value ?? '');
}

function noEndpointsVerdict(verdict: DesiredFrontend['verdict'] | undefined): string | undefined {
  if (verdict === undefined || verdict === 'forward') return undefined;
  return verdict === 'reject' ? `goto ${rejectChain}` : 'drop';
}
