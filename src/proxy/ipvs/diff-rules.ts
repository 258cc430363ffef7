import { isDeepStrictEqual } from 'node:util';
import { tableNames } from '../iptables/chain-names.ts';
import type { KernelTable, KernelTables } from '../iptables/kernel-tables.ts';
import type { PacketChain } from './packet-rules.ts';
import { ipvsCanaryChain, ruleTag, ruleText } from './packet-rules.ts';

/**
 * What brings the rules of ours to `wished` (none: away), a script for `iptables-restore --noflush`; '' when they are
 * so. Touches chains of the wished names, rules with our tag, and chains that have such rules.
 */
export function rulesScript(saved: KernelTables, wished: readonly PacketChain[]): string {
  return tableNames
    .map((table) => {
      const chains = wished.filter((chain) => chain.table === table);
      const lines = tableScript(saved[table], chains);
      return lines.length > 0 ? `*${table}\n${lines.join('\n')}\nCOMMIT\n` : '';
    })
    .join('');
}

function tableScript(saved: KernelTable, wished: readonly PacketChain[]): readonly string[] {
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
function leavingChains(saved: KernelTable, wished: ReadonlyMap<string, PacketChain>): readonly string[] {
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
export const removedChains = (saved: KernelTables): readonly string[] =>
  tableNames.flatMap((table) => leavingChains(saved[table], new Map()).map((name) => `${table} ${name}`));
