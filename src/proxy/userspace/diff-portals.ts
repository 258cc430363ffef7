import { readTables } from '../iptables/kernel-tables.ts';
import type { PortalRules, PortalTable } from './compile-portals.ts';
import { portalChains, portalTables } from './compile-portals.ts';

/** What a table has of ours: our chains, and the rules of the kernel's own chains that lead to them. */
export interface SavedTable {
  /** Rules without their `-A CHAIN`, as printed. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly jumps: readonly Jump[];
}
export type SavedTables = Readonly<Record<PortalTable, SavedTable>>;

interface Jump {
  readonly from: string;
  readonly line: string;
}

interface WantedJump extends Jump {
  /** Before all other rules, or behind them. */
  readonly place: 'first' | 'last';
}

const isNew = '-m conntrack --ctstate NEW';

/** The way from the kernel's chains to ours. Node ports match broadly, so they come behind everything else. */
const wantedJumps: Readonly<Record<PortalTable, readonly WantedJump[]>> = {
  nat: [
    { from: 'PREROUTING', line: '-j KUBE-PORTALS-CONTAINER', place: 'first' },
    { from: 'OUTPUT', line: '-j KUBE-PORTALS-HOST', place: 'first' },
    { from: 'PREROUTING', line: '-m addrtype --dst-type LOCAL -j KUBE-NODEPORT-CONTAINER', place: 'last' },
    { from: 'OUTPUT', line: '-m addrtype --dst-type LOCAL -j KUBE-NODEPORT-HOST', place: 'last' },
  ],
  filter: [
    { from: 'INPUT', line: '-j KUBE-NODEPORT-NON-LOCAL', place: 'first' },
    { from: 'INPUT', line: `${isNew} -j KEELSON-PORTALS-CONTAINER`, place: 'first' },
    { from: 'FORWARD', line: `${isNew} -j KEELSON-PORTALS-CONTAINER`, place: 'first' },
    { from: 'OUTPUT', line: `${isNew} -j KEELSON-PORTALS-HOST`, place: 'first' },
  ],
};

const isOurs = (table: PortalTable, chain: string): boolean =>
  (portalChains[table] as readonly string[]).includes(chain);

/** What one table has of ours, of all that iptables-save printed. */
export function parseSaved(table: PortalTable, saved: string): SavedTable {
  const all = readTables(saved)[table];
  const isLedToOurs = (rule: string) => isOurs(table, / -j (\S+)$/.exec(` ${rule}`)?.[1] ?? '');
  return {
    chains: new Map([...all].filter(([chain]) => isOurs(table, chain))),
    jumps: [...all]
      .filter(([chain]) => !isOurs(table, chain))
      .flatMap(([from, rules]) => rules.filter(isLedToOurs).map((line) => ({ from, line }))),
  };
}

export const nothingSaved: SavedTable = { chains: new Map(), jumps: [] };

/** What a table holds once `restoreScript` has been run. */
export const savedOf = (rules: PortalRules): SavedTables => ({
  nat: { chains: rules.nat, jumps: wantedJumps.nat },
  filter: { chains: rules.filter, jumps: wantedJumps.filter },
});

/**
 * Input for `iptables-restore --noflush` that makes `have` into `want`: whole chains of those that differ, for a rule
 * cannot be exchanged in place. `writes` counts its rules; 0 with an empty script when nothing differs.
 */
export function restoreScript(
  have: SavedTables,
  want: PortalRules,
): { readonly script: string; readonly writes: number } {
  const changes = portalTables.map((table) => {
    const differing = [...want[table]].filter(([chain, rules]) => !areEqual(have[table].chains.get(chain), rules));
    const rules = differing.flatMap(([chain, lines]) => lines.map((line) => `-A ${chain} ${line}`));
    return tableScript(table, {
      differing: differing.map(([chain]) => chain),
      rules: [...rules, ...jumpChanges(table, have)],
    });
  });
  return {
    script: changes.map(({ script }) => script).join(''),
    writes: changes.reduce((sum, { writes }) => sum + writes, 0),
  };
}

function tableScript(
  table: PortalTable,
  { differing, rules }: { readonly differing: readonly string[]; readonly rules: readonly string[] },
): { readonly script: string; readonly writes: number } {
  if (differing.length + rules.length === 0) return { script: '', writes: 0 };
  const lines = [`*${table}`, ...differing.map((chain) => `:${chain} - [0:0]`), ...rules, 'COMMIT', ''];
  return { script: lines.join('\n'), writes: Math.max(1, rules.length) };
}

/** One of each is enough; what else leads to our chains is what an older version, or another proxy, had. */
function jumpChanges(table: PortalTable, have: SavedTables): readonly string[] {
  const left = [...have[table].jumps];
  const missing: string[] = [];
  for (const { from, line, place } of wantedJumps[table]) {
    const at = left.findIndex((jump) => jump.from === from && plain(jump.line) === line);
    if (at >= 0) left.splice(at, 1);
    else missing.push(`-${place === 'first' ? 'I' : 'A'} ${from} ${line}`);
  }
  return [...left.map(({ from, line }) => `-D ${from} ${line}`), ...missing];
}

/** What removes all that a table has of ours; '' when that is nothing. */
export function removeScript(table: PortalTable, { chains, jumps }: SavedTable): string {
  const gone = [...chains.keys()];
  if (gone.length + jumps.length === 0) return '';
  const lines = [
    ...gone.map((chain) => `:${chain} - [0:0]`),
    ...jumps.map(({ from, line }) => `-D ${from} ${line}`),
    ...gone.map((chain) => `-X ${chain}`),
  ];
  return [`*${table}`, ...lines, 'COMMIT', ''].join('\n');
}

/** `+` what is lacking, `-` what is too much, whatever its order. `spell` makes alike what need not be the same. */
export function portalDiff(
  have: SavedTables,
  want: PortalRules,
  spell: (line: string) => string = (line) => line,
): readonly string[] {
  const linesOf = (tables: SavedTables) =>
    portalTables.flatMap((table) => [
      ...[...tables[table].chains].flatMap(([chain, rules]) => [
        `${table} ${chain}`,
        ...rules.map((rule) => `${table} ${chain} ${spell(plain(rule))}`),
      ]),
      ...tables[table].jumps.map(({ from, line }) => `${table} ${from} ${plain(line)}`),
    ]);
  const [now, then] = [linesOf(have), linesOf(savedOf(want))];
  return [...without(now, then).map((line) => `- ${line}`), ...without(then, now).map((line) => `+ ${line}`)];
}

/** Each as often as it occurs more often. */
function without(lines: readonly string[], others: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const other of others) counts.set(other, (counts.get(other) ?? 0) + 1);
  return lines.filter((line) => {
    const count = counts.get(line) ?? 0;
    counts.set(line, count - 1);
    return count <= 0;
  });
}

/** Older versions of iptables print quotes only where they are needed. */
const plain = (line: string): string => line.replaceAll('"', '');

function areEqual(one: readonly string[] | undefined, other: readonly string[]): boolean {
  return one?.length === other.length && one.every((line, at) => plain(line) === plain(other[at] ?? ''));
}
