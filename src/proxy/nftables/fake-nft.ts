import type { Exec, ExecOptions, ExecResult } from '../../host/exec.ts';
import { ExecError } from '../../host/exec.ts';

interface FakeRule {
  readonly text: string;
  readonly comment: string | undefined;
}

export interface FakeChain {
  /** What stands between the braces of a base chain. */
  readonly base: string | undefined;
  readonly rules: readonly FakeRule[];
}

export interface FakeSet {
  readonly kind: 'map' | 'set';
  readonly declaration: string;
  /** Key to value; undefined in a set. */
  readonly elements: ReadonlyMap<string, string | undefined>;
}

export interface FakeTable {
  readonly chains: ReadonlyMap<string, FakeChain>;
  readonly sets: ReadonlyMap<string, FakeSet>;
}

/** Each version of the ruleset is a value: a transaction that fails half way leaves the one before. */
type Ruleset = ReadonlyMap<string, FakeTable>;

class NftRefusal extends Error {}
const missing = (what: string) => new NftRefusal(`Error: No such file or directory\n${what}`);
const exists = (what: string) => new NftRefusal(`Error: Could not process rule: File exists\n${what}`);
const busy = (what: string) => new NftRefusal(`Error: Could not process rule: Device or resource busy\n${what}`);

/**
 * FAKE of the nft program at the exec port: keeps a ruleset, runs scripts of one command a line in the forms that
 * keelson writes, atomically and with the kernel's checks of references, and lists as `nft -j` does. Unknown commands
 * are refused, so that what it does not model cannot pass.
 */
export class FakeNft implements Exec {
  #ruleset: Ruleset = new Map();
  /** Scripts that were run, refused ones among them. */
  readonly scripts: string[] = [];
  #failures: { readonly stderr: string; readonly applied: boolean }[] = [];

  /** Makes the next script fail; with `applied`, only after it has taken effect, as a killed nft may. */
  failNext(stderr: string, applied = false): void {
    this.#failures.push({ stderr, applied });
  }

  /** A client is noted for every endpoint that rules may note it for, as connections of it would be. */
  noteEverywhere(client: string): void {
    const next = [...this.#ruleset].map(([key, { chains, sets }]): [string, FakeTable] => {
      const noted = new Map(sets);
      const texts = [...chains.values()].flatMap(({ rules }) => rules.map((rule) => rule.text));
      for (const text of texts) {
        const [, name = '', number] = /update @(affinity-\w+) \{ .*? offset (\d+) /.exec(text) ?? [];
        const set = noted.get(name);
        const note = `${client} . ${number}`;
        if (set) noted.set(name, { ...set, elements: new Map(set.elements).set(note, undefined) });
      }
      return [key, { chains, sets: noted }];
    });
    this.#ruleset = new Map(next);
  }

  table(family: string, name: string): FakeTable | undefined {
    return this.#ruleset.get(`${family} ${name}`);
  }

  async run(file: string, args: readonly string[], options: ExecOptions): Promise<ExecResult> {
    options.signal.throwIfAborted();
    if (file !== 'nft') throw refused(`no program ${file} here`);
    const command = args.join(' ');
    if (command === '--version') return { stdout: 'nftables v1.0.6 (Lester Gooch #5)\n', stderr: '' };
    try {
      if (command === '-f -') return this.#runScript(options.input ?? '');
      if (command === '--check -f -') return this.#checkScript(options.input ?? '');
      const listed = /^list tables (ip6?)$/.exec(command)?.[1];
      if (listed !== undefined) return { stdout: this.#listTables(listed), stderr: '' };
      const [, what, family = '', name = '', set] = /^-j list (table|set) (\S+) (\S+)(?: (\S+))?$/.exec(command) ?? [];
      if (what) return { stdout: this.#listTable(family, name, set), stderr: '' };
    } catch (error) {
      if (error instanceof NftRefusal) throw refused(error.message);
      throw error;
    }
    throw refused(`Error: syntax error: ${command}`);
  }

  /** The ruleset as text, sorted, so that equal rulesets have equal dumps. */
  dump(): string {
    const lines: string[] = [];
    for (const [name, table] of [...this.#ruleset].sort(byKey)) {
      lines.push(`table ${name}`);
      for (const [set, { kind, declaration, elements }] of [...table.sets].sort(byKey)) {
        lines.push(`  ${kind} ${set} { ${declaration} }`);
        for (const [key, value] of [...elements].sort(byKey)) lines.push(`    ${key}${value ? ` : ${value}` : ''}`);
      }
      for (const [chain, { base, rules }] of [...table.chains].sort(byKey)) {
        lines.push(`  chain ${chain}${base ? ` { ${base} }` : ''}`, ...rules.map((rule) => `    ${rule.text}`));
      }
    }
    return lines.join('\n');
  }

  #runScript(script: string): ExecResult {
    this.scripts.push(script);
    const failure = this.#failures.shift();
    if (failure && !failure.applied) throw refused(failure.stderr);
    this.#ruleset = this.#after(script);
    if (failure) throw refused(failure.stderr);
    return { stdout: '', stderr: '' };
  }

  #checkScript(script: string): ExecResult {
    this.#after(script);
    return { stdout: '', stderr: '' };
  }

  #after(script: string): Ruleset {
    let next = this.#ruleset;
    for (const line of script.split('\n')) if (line.trim() !== '') next = applyCommand(next, line.trim());
    checkReferences(next);
    return next;
  }

  #listTables(family: string): string {
    const tables = [...this.#ruleset.keys()].filter((key) => key.startsWith(`${family} `));
    return tables.map((key) => `table ${key}\n`).join('');
  }

  #listTable(family: string, name: string, only?: string): string {
    const table = this.table(family, name);
    if (!table) throw missing(`list table ${family} ${name}`);
    const where = { family, table: name };
    const listed = [...table.sets].filter(([set]) => only === undefined || set === only);
    const sets = listed.map(([set, { kind, elements }]) => ({
      [kind]: {
        ...where,
        name: set,
        ...(kind === 'map' ? { map: 'verdict' } : {}),
        elem: [...elements].map(([key, value]) =>
          value === undefined ? fieldsJson(key) : [fieldsJson(key), valueJson(value)],
        ),
      },
    }));
    if (only !== undefined) return JSON.stringify({ nftables: sets });
    const rules = [...table.chains].flatMap(([chain, { rules }]) =>
      rules.map(({ comment }) => ({
        rule: { ...where, chain, ...(comment === undefined ? {} : { comment }), expr: [] },
      })),
    );
    return JSON.stringify({
      nftables: [{ table: { family, name } }, ...sets, ...chainsJson(family, name, table), ...rules],
    });
  }
}

const refused = (stderr: string): ExecError =>
  new ExecError('nft', `exited with status 1: ${stderr}`, { code: 'ExecFailed', exitCode: 1, stderr, timedOut: false });

const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);

function applyCommand(ruleset: Ruleset, line: string): Ruleset {
  if (line === 'flush ruleset') return new Map();
  const [, verb = '', kind = '', key = '', rest = ''] = /^(\w+) (\w+) (ip6? [\w-]+) ?(.*)$/.exec(line) ?? [];
  const table = ruleset.get(key);
  if (kind === 'table') return applyTable(ruleset, verb, key, line);
  if (!table) throw missing(line);
  return new Map(ruleset).set(key, applyInTable(table, verb, kind, rest, line));
}

function applyTable(ruleset: Ruleset, verb: string, key: string, line: string): Ruleset {
  const next = new Map(ruleset);
  if (verb === 'add') next.set(key, ruleset.get(key) ?? { chains: new Map(), sets: new Map() });
  else if (verb !== 'delete') throw new NftRefusal(`Error: syntax error\n${line}`);
  else if (!next.delete(key)) throw missing(line);
  return next;
}

function applyInTable(table: FakeTable, verb: string, kind: string, rest: string, line: string): FakeTable {
  const [, name = '', body = ''] = /^(\S+) ?(.*)$/.exec(rest) ?? [];
  const braces = /^\{ (.*) \}$/.exec(body)?.[1];
  const chains = new Map(table.chains);
  const sets = new Map(table.sets);
  const chain = chains.get(name);
  const set = sets.get(name);
  switch (`${verb} ${kind}`) {
    case 'add map':
    case 'add set':
      sets.set(name, set ?? { kind: kind as FakeSet['kind'], declaration: braces ?? '', elements: new Map() });
      break;
    case 'add chain':
      chains.set(name, chain ?? { base: braces, rules: [] });
      break;
    case 'flush chain':
      if (!chain) throw missing(line);
      chains.set(name, { ...chain, rules: [] });
      break;
    case 'delete chain':
      if (!chains.delete(name)) throw missing(line);
      break;
    case 'add rule': {
      if (!chain) throw missing(line);
      const [, index, rule = ''] = /^(?:index (\d+) )?(.*)$/.exec(body) ?? [];
      const at = index === undefined ? chain.rules.length : Number(index) + 1;
      if (at > chain.rules.length) throw missing(line);
      const [, text = rule, comment] = /^(.*) comment "([^"]*)"$/.exec(rule) ?? [];
      chains.set(name, { ...chain, rules: chain.rules.toSpliced(at, 0, { text, comment }) });
      break;
    }
    case 'flush map':
    case 'flush set':
      if (!set) throw missing(line);
      sets.set(name, { ...set, elements: new Map() });
      break;
    case 'add element':
    case 'delete element':
      if (!set) throw missing(line);
      sets.set(name, { ...set, elements: applyElements(set.elements, verb, (braces ?? '').split(', '), line) });
      break;
    default:
      throw new NftRefusal(`Error: syntax error\n${line}`);
  }
  return { chains, sets };
}

function applyElements(
  elements: FakeSet['elements'],
  verb: string,
  items: readonly string[],
  line: string,
): FakeSet['elements'] {
  const next = new Map(elements);
  for (const item of items) {
    const [key = '', value] = item.replace(/ timeout \d+s/, '').split(' : ');
    if (verb === 'delete') {
      if (!next.delete(key)) throw missing(line);
    } else if (next.has(key) && next.get(key) !== value) throw exists(line);
    else next.set(key, value);
  }
  return next;
}

function checkReferences(ruleset: Ruleset): void {
  for (const { chains, sets } of ruleset.values()) {
    const values = [...sets.values()].flatMap((set) => [...set.elements.values()]);
    const texts = [...chains.values()].flatMap((chain) => chain.rules.map((rule) => rule.text));
    for (const text of [...values, ...texts]) {
      const target = /\b(?:goto|jump) (\S+)/.exec(text ?? '')?.[1];
      if (target !== undefined && !chains.has(target)) throw busy(`chain ${target}`);
    }
    for (const text of texts) {
      for (const [, set = ''] of text.matchAll(/@([\w-]+)/g)) if (!sets.has(set)) throw missing(`set ${set}`);
    }
  }
}

function chainsJson(family: string, table: string, { chains }: FakeTable): readonly object[] {
  return [...chains].map(([name, { base }]) => {
    const [, type, hook, prio] = /^type (\w+) hook (\w+) priority (-?\d+); policy accept;$/.exec(base ?? '') ?? [];
    return { chain: { family, table, name, ...(type ? { type, hook, prio: Number(prio), policy: 'accept' } : {}) } };
  });
}

function fieldsJson(text: string): unknown {
  const fields = text.split(' . ').map((field) => (/^\d+$/.test(field) ? Number(field) : field));
  return fields.length === 1 ? fields[0] : { concat: fields };
}

function valueJson(text: string): unknown {
  const [verdict = '', target] = text.split(' ');
  if (verdict === 'goto' || verdict === 'jump') return { [verdict]: { target } };
  return verdict === 'drop' || verdict === 'accept' ? { [verdict]: null } : fieldsJson(text);
}
