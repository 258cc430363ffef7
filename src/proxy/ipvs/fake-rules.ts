/** A model of what iptables-restore --noflush and iptables-save do with chains and rules; each table all or nothing. */
export class FakeRules {
  #tables = new Map<string, ReadonlyMap<string, readonly string[]>>();

  save(): string {
    return [...this.#tables]
      .map(([table, chains]) => {
        const declared = [...chains.keys()].map((name) => `:${name} - [0:0]`);
        const rules = [...chains].flatMap(([name, own]) => own.map((rule) => `-A ${name} ${rule}`));
        return `*${table}\n${[...declared, ...rules].join('\n')}\nCOMMIT\n`;
      })
      .join('');
  }

  /** Whether any rule looks into a set. */
  namesSet(set: string): boolean {
    return this.save()
      .split('\n')
      .some((line) => line.includes(`-set ${set} `));
  }

  /** Removes all, as another program's flush does. */
  flush(): void {
    this.#tables.clear();
  }

  /** Returns why the input is refused, if it is; tables before the one that is refused are done. */
  restore(input: string, hasSet: (name: string) => boolean): string | undefined {
    let table = '';
    let chains = new Map<string, string[]>();
    for (const line of input.split('\n').filter((text) => text !== '')) {
      if (line.startsWith('*')) {
        table = line.slice(1);
        chains = new Map([...(this.#tables.get(table) ?? builtIn(table))].map(([name, own]) => [name, [...own]]));
      } else if (line === 'COMMIT') this.#tables.set(table, chains);
      else {
        const refusal = apply(chains, line, hasSet);
        if (refusal !== undefined) return refusal;
      }
    }
    return undefined;
  }
}

const builtInChains: Readonly<Record<string, readonly string[]>> = {
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
};
const builtIn = (table: string) => (builtInChains[table] ?? []).map((name): [string, string[]] => [name, []]);

const verdicts = new Set(['ACCEPT', 'DROP', 'REJECT', 'RETURN', 'MARK', 'MASQUERADE', 'SET']);

function apply(chains: Map<string, string[]>, line: string, hasSet: (name: string) => boolean): string | undefined {
  const [, declared] = /^:(\S+) /.exec(line) ?? [];
  if (declared !== undefined) {
    chains.set(declared, []);
    return undefined;
  }
  const [, verb = '', name = '', rest = ''] = /^-([AIDFX]) (\S+) ?(.*)$/.exec(line) ?? [];
  const rules = chains.get(name);
  if (!rules) return `No chain/target/match by that name: ${line}`;
  if (verb === 'F') rules.length = 0;
  if (verb === 'X') {
    const isUsed = [...chains.values()].flat().some((rule) => rule.endsWith(`-j ${name}`));
    if (rules.length > 0 || isUsed) return `CHAIN_DEL failed (Device or resource busy): chain ${name}`;
    chains.delete(name);
  }
  if (verb === 'D') {
    const at = rules.indexOf(rest);
    if (at < 0) return `Bad rule (does a matching rule exist in that chain?): ${line}`;
    rules.splice(at, 1);
  }
  if (verb !== 'A' && verb !== 'I') return undefined;
  const rule = verb === 'I' ? rest.replace(/^\d+ /, '') : rest;
  const [, set] = /-set (\S+) /.exec(rule) ?? [];
  if (set !== undefined && !hasSet(set)) return `Set ${set} doesn't exist.`;
  const [, target] = / ?-j (\S+)/.exec(rule) ?? [];
  if (target !== undefined && !verdicts.has(target) && !chains.has(target)) return `Couldn't load target ${target}`;
  if (verb === 'A') rules.push(rule);
  else rules.splice(Number(rest.split(' ')[0]) - 1, 0, rule);
  return undefined;
}
