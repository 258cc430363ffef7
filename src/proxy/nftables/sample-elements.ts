import { diffFrontend } from './diff-frontend.ts';
import { hairpinSet } from './ruleset.ts';
import type { TableState } from './table-state.ts';

/** So many frontends are looked at with all their elements, */
const wholly = 200;
/** and so many more to find an element of each map. */
const inAll = 4_000;

/** Elements that the kernel has, by set: enough of them to notice that a set was flushed, all where they are few. */
export function sampleElements(state: TableState): readonly (readonly [set: string, elements: readonly string[]])[] {
  const samples = new Map<string, string[]>();
  const hairpins = [...state.hairpins].slice(0, wholly);
  if (hairpins.length > 0)
    samples.set(
      hairpinSet,
      hairpins.map((ip) => `${ip} . ${ip}`),
    );
  let seen = 0;
  for (const frontend of state.frontends.values()) {
    seen += 1;
    if (seen > inAll) break;
    for (const { set, element } of diffFrontend(frontend, undefined)?.remove ?? []) {
      const sample = samples.get(set);
      if (!sample) samples.set(set, [element]);
      else if (seen <= wholly) sample.push(element);
    }
  }
  return [...samples];
}
