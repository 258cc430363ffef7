/** What a line of a program that follows the kernel's ruleset says; `ip keelson` is a table. */
export type RulesetEvent =
  /** Something in a table changed. `elements`: only what its sets and maps hold. */
  | { readonly kind: 'change'; readonly table: string; readonly what: 'rules' | 'elements' }
  /** The transaction is over that all changes since the last such line belong to. */
  | { readonly kind: 'end'; readonly program: string }
  /** The program was too slow to hear all. */
  | { readonly kind: 'lost' };

const families: Readonly<Record<string, string>> = { '4': 'ip', '6': 'ip6' };

/**
 * Reads lines of `nft monitor` and of `xtables-monitor --event`, which says nothing of elements. Undefined for any
 * other line.
 */
export function readRulesetEvent(line: string): RulesetEvent | undefined {
  const [, family, name] = /^ *EVENT: -([46]) -t (\S+) /.exec(line) ?? [];
  if (family && name) return { kind: 'change', table: `${families[family]} ${name}`, what: 'rules' };
  const [, table, itsFamily] = /^ *EVENT: nft: \w+ table: table (\S+) (\w+)/.exec(line) ?? [];
  if (table) return { kind: 'change', table: `${itsFamily} ${table}`, what: 'rules' };
  const program =
    /^NEWGEN: .*\bNAME=(.*)$/.exec(line)?.[1] ?? /^# new generation \d+ by process \d+ \((.*)\)$/.exec(line)?.[1];
  if (program !== undefined) return { kind: 'end', program };
  if (/^# ERROR: .*\blost\b/.test(line)) return { kind: 'lost' };
  const [, object, where] = /^\0?[a-z]+ (\w+) ((?:ip|ip6|inet|arp|bridge|netdev) [^\s{]+)/.exec(line) ?? [];
  if (object === undefined || where === undefined) return undefined;
  return { kind: 'change', table: where, what: object === 'element' ? 'elements' : 'rules' };
}
