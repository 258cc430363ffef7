import type { TableName } from './chain-names.ts';
import { tableNames } from './chain-names.ts';

/** Chains of one table by name, the kernel's own among them; each rule as printed, without `-A <chain>`. */
export type KernelTable = ReadonlyMap<string, readonly string[]>;
export type KernelTables = Readonly<Record<TableName, KernelTable>>;

/** Reads what iptables-save prints; a table that nobody uses reads as empty. */
export function readTables(saved: string): KernelTables {
  const tables: Record<TableName, Map<string, string[]>> = { mangle: new Map(), nat: new Map(), filter: new Map() };
  let table: Map<string, string[]> | undefined;
  for (const line of saved.split('\n')) {
    const first = line[0];
    if (first === '*') {
      const name = tableNames.find((one) => line === `*${one}`);
      table = name && tables[name];
    } else if (first === ':') {
      table?.set(line.slice(1, line.indexOf(' ')), []);
    } else if (line.startsWith('-A ')) {
      const end = line.indexOf(' ', 3);
      const name = end < 0 ? line.slice(3) : line.slice(3, end);
      table?.get(name)?.push(end < 0 ? '' : line.slice(end + 1));
    }
  }
  return tables;
}

/** Tables that iptables-save of the nft variant leaves out, because rules of nft are in them that it cannot print. */
export const unreadableTables = (saved: string): readonly TableName[] =>
  tableNames.filter((table) => saved.includes(`# Table \`${table}' is incompatible`));

/** The chain that a rule leads to, or undefined for any other end. Comments may speak of chains as well. */
export const targetOf = (rule: string): string | undefined =>
  /(?:^| )-[jg] (\S+)/.exec(rule.replaceAll(/"(?:[^"\\]|\\.)*"/g, ''))?.[1];
