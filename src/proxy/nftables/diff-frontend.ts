import type { DesiredFrontend } from './compile.ts';
import { frontendElement, pickChainName, slotElement } from './compile.ts';
import { endpointMap, frontendMap, noEndpointsMap, rejectChain } from './ruleset.ts';
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
  const old = current?.slots ?? [];
  const slots = placeEndpoints(old, desired?.endpoints ?? []);
  const pick = slots.length > 0 ? `goto ${pickChainName(id.proto, slots.length)}` : undefined;
  const noEndpoints = noEndpointsVerdict(desired);
  const element = frontendElement(id);
  const cells: { set: string; element: string; from: string | undefined; to: string | undefined }[] = [];
  for (let slot = 0; slot < Math.max(old.length, slots.length); slot++) {
    cells.push({ set: endpointMap(id.proto), element: slotElement(id, slot), from: old[slot], to: slots[slot] });
  }
  cells.push({ set: frontendMap, element, from: current?.pick, to: pick });
  cells.push({ set: noEndpointsMap, element, from: current?.noEndpoints, to: noEndpoints });
  const changed = cells.filter((cell) => cell.from !== cell.to);
  if (changed.length === 0) return undefined;
  return {
    remove: changed.filter((cell) => cell.from !== undefined).map((cell) => ({ set: cell.set, element: cell.element })),
    add: changed.flatMap((cell) =>
      cell.to === undefined ? [] : [{ set: cell.set, element: cell.element, value: cell.to }],
    ),
    next: desired ? { id, pick, noEndpoints, slots } : undefined,
  };
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

function noEndpointsVerdict(desired: DesiredFrontend | undefined): string | undefined {
  if (!desired || desired.verdict === 'forward') return undefined;
  return desired.verdict === 'reject' ? `goto ${rejectChain}` : 'drop';
}
