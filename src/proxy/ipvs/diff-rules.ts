import { isDeepStrictEqual } from 'node:util';
import type { PacketChain } from './packet-rules.ts';
import { ipvsCanaryChain, ruleTag, ruleText } from './packet-rules.ts';

/** Chains of one table: for each, its rules as iptables-save prints them. */
export type SavedTable = ReadonlyMap<string, readonly string[]>;

/** The output of `iptables-save`; tables that it does not name are empty. */
export function readRules(output: string): ReadonlyMap<string, SavedTable> {
  const tables = new Map<string, Map<string, string[]>>();
  let table = new Map<string, string[]>();
  for (const line of output.split('\n')) {
    const [, name, chain, into, rule] = /^(?:\*(\S+)|:(\S+) .*|-A (\S+) ?(.*))$/.exec(line) ?? [];
    if (name !== undefined) {
      table = new Map();
      tables.set(name, table);
    }
    if (chain !== undefined) table.set(chain, []);
    if (into !== undefined) table.get(into)?.push(rule ?? '');
  }
  return tables;
}

/**
 * What brings the rules of ours to `wished` (none: away), a script for `iptables-restore --noflush`; '' when they are
 * so. Touches chains of the wished names, rules with our tag, and chains that have such rules.
 */
export function rulesScript(saved: ReadonlyMap<string, SavedTable>, wished: readonly PacketChain[]): string {
  const tables = new Set([...wished.map((chain) => chain.table), ...saved.keys()]);
  return [...tables]
    .map((table) => [
      table,
      tableScript(
        saved.get(table) ?? new Map(),
        wished.filter((chain) => chain.table === table),
      ),
    ])
    .map(([table, lines]) => (lines?.length ? `*${table}\n${(lines as readonly string[]).join('\n')}\nCOMMIT\n` : ''))
    .join('');
}

function tableScript(saved: SavedTable, wished: readonly PacketChain[]): readonly string[] {
  const declared: string[] = [];
  const rules: string[] = [];
  const byName = new Map(wished.map((chain) => [chain.name, chain]));
  for (const chain of wished) {
    const actual = saved.get(chain.name);
    const tags = chain.rules.map(ruleTag);
    if (chain.kind === 'jump') {
      const ours = (actual ?? []).filter(isOurs);
      if (isDeepStrictEqual(ours.map(tagOf), tags)) continue;
      rules.push(...ours.map((rule) => `-D ${chain.name} ${rule}`));
      rules.push(...chain.rules.map((rule, i) => `-I ${chain.name} ${i + 1} ${ruleText(rule)}`));
    } else if (!actual || !isDeepStrictEqual(actual.map(tagOf), tags)) {
      declared.push(`:${chain.name} - [0:0]`);
      rules.push(...chain.rules.map((rule) => `-A ${chain.name} ${ruleText(rule)}`));
    }
  }
  const leaving = leavingChains(saved, byName);
  for (const [name, actual] of saved) {
    if (byName.has(name) || leaving.includes(name)) continue;
    rules.push(...actual.filter(isOurs).map((rule) => `-D ${name} ${rule}`));
  }
  return [...declared, ...rules, ...leaving.map((name) => `-F ${name}`), ...leaving.map((name) => `-X ${name}`)];
}

/** Chains of ours that are not wished, unless another's rule leads there or is in there. */
function leavingChains(saved: SavedTable, wished: ReadonlyMap<string, PacketChain>): readonly string[] {
  const foreign = [...saved.values()].flat().filter((rule) => !isOurs(rule));
  const isFree = (name: string) => !foreign.some((rule) => new RegExp(`-[jg] ${name}( |$)`).test(rule));
  return [...saved].flatMap(([name, rules]) => {
    if (wished.has(name) || builtIn.has(name)) return [];
    const isEmptied = rules.length > 0 && rules.every(isOurs) && isFree(name);
    return name === ipvsCanaryChain || isEmptied ? [name] : [];
  });
}

const builtIn: ReadonlySet<string> = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);

const tagPattern = /--comment "(keelson ipvs [0-9a-f]{12})"/;
const tagOf = (rule: string): string => tagPattern.exec(rule)?.[1] ?? '';
export const isOurs = (rule: string): boolean => tagPattern.test(rule);

/** `nat KUBE-SERVICES`, for each chain that a removal takes away. */
export const removedChains = (saved: ReadonlyMap<string, SavedTable>): readonly string[] =>
  [...saved].flatMap(([table, chains]) => leavingChains(chains, new Map()).map((name) => `${table} ${name}`));
