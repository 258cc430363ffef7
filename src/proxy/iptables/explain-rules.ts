import type { Route } from '../route-services.ts';
import { nodeAddress } from '../route-services.ts';
import type { CompiledService } from './compile-service.ts';
import { targetOf } from './kernel-tables.ts';
import { hostRange } from './rule-text.ts';

/** The rules that packets to one route's frontend meet: its entries in the shared chains, then the chains from there. */
export function explainRules({ frontend }: Route, { chains, entries }: CompiledService): readonly string[] {
  const { ip, protocol, port } = frontend;
  const proto = protocol.toLowerCase();
  const isNode = ip === nodeAddress;
  const asked = entries.filter(
    ({ rule }) =>
      rule.startsWith(isNode ? `-p ${proto} ` : `-d ${hostRange(ip)} -p ${proto} `) &&
      `${rule} `.includes(` -m ${proto} --dport ${port} `),
  );
  const lines = asked.map(({ table, chain, rule }) => `${table} -A ${chain} ${rule}`);
  const open = asked.map(({ table, rule }) => `${table} ${targetOf(rule)}`);
  const seen = new Set<string>();
  for (let key = open.shift(); key !== undefined; key = open.shift()) {
    if (seen.has(key)) continue;
    seen.add(key);
    const chain = chains.find((one) => `${one.table} ${one.name}` === key);
    for (const rule of chain?.rules ?? []) {
      lines.push(`${chain?.table} -A ${chain?.name} ${rule}`);
      open.push(`${chain?.table} ${targetOf(rule)}`);
    }
  }
  return lines;
}
