import type { Exec, ExecOptions, ExecResult } from '../../host/exec.ts';
import { ExecError, notFound } from '../../host/exec.ts';
import { targetOf } from './kernel-tables.ts';

/** Chains of one table by name; rules without `-A <chain>`. */
export type FakeChains = ReadonlyMap<string, readonly string[]>;
/** Each version is a value: a transaction that fails half way leaves the one before. */
type FakeTables = ReadonlyMap<string, FakeChains>;

const builtIn: Readonly<Record<string, readonly string[]>> = {
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
};

class Refusal extends Error {}

/**
 * FAKE of the iptables programs at the exec port, for both families and both variants: keeps tables, runs
 * `iptables-restore --noflush` atomically for each table and with the kernel's checks of references, and prints as
 * iptables-save does. Takes rules as text, exactly as they would be printed; what it does not model it refuses.
 */
export class FakeIptables implements Exec {
  readonly #tables = new Map<string, FakeTables>();
  /** Inputs of restores, refused ones among them. */
  readonly scripts: string[] = [];
  readonly #failures: { readonly stderr: string; readonly tables: number }[] = [];
  readonly #missing = new Set<string>();
  /** What `iptables` without a variant's name is. */
  readonly #variant: 'nft' | 'legacy';

  constructor(variant: 'nft' | 'legacy' = 'nft') {
    this.#variant = variant;
  }

  /** Makes the next restore fail once so many of its tables have taken effect. */
  failNext(stderr: string, tables = 0): void {
    this.#failures.push({ stderr, tables });
  }

  /** Takes a program away. */
  uninstall(...programs: readonly string[]): void {
    for (const program of programs) this.#missing.add(program);
  }

  /** The chains of a table, by the program that keeps them. */
  table(name: string, program = 'iptables'): FakeChains | undefined {
    return this.#tables.get(this.#placeOf(program))?.get(name);
  }

  async run(file: string, args: readonly string[], options: ExecOptions): Promise<ExecResult> {
    options.signal.throwIfAborted();
    const [, program = '', tool] = /^(ip6?tables(?:-nft|-legacy)?)(?:-(restore|save))?$/.exec(file) ?? [];
    if (program === '' || this.#missing.has(file)) throw notFound(file);
    const place = this.#placeOf(program);
    const command = args.join(' ');
    try {
      if (tool === 'save' && command === '') return said(this.#save(place));
      if (tool === 'restore' && /^-w \d+ --noflush( --test)?$/.test(command)) {
        this.#restore(place, options.input ?? '', args.includes('--test'));
        return said('');
      }
      if (tool === undefined && command === '--version') {
        return said(`${program} v1.8.9 (${place.endsWith('nft') ? 'nf_tables' : 'legacy'})\n`);
      }
      const [, table = '', chain = ''] = /^-w \d+ -t (\S+) -S (\S+)$/.exec(command) ?? [];
      if (tool === undefined && table !== '') return said(this.#list(place, table, chain));
      throw new Refusal(`unknown command: ${file} ${command}`);
    } catch (error) {
      if (error instanceof Refusal) throw refused(file, error.message);
      throw error;
    }
  }

  /** All tables as text, with the rules of chains that have no order of their own sorted. */
  dump(): string {
    const shared = /^KUBE-(?:SERVICES|NODEPORTS|EXTERNAL-SERVICES|PROXY-FIREWALL)$/;
    const lines: string[] = [];
    for (const [place, tables] of [...this.#tables].sort(byKey)) {
      for (const [table, chains] of [...tables].sort(byKey)) {
        for (const [chain, rules] of [...chains].sort(byKey)) {
          const listed = shared.test(chain) ? [...rules].sort() : rules;
          lines.push(`${place} ${table} ${chain}`, ...listed.map((rule) => `  ${rule}`));
        }
      }
    }
    return lines.join('\n');
  }

  #placeOf(program: string): string {
    const [family = '', variant = this.#variant] = program.split('-');
    return `${family}-${variant}`;
  }

  #save(place: string): string {
    const lines: string[] = [];
    for (const [table, chains] of this.#tables.get(place) ?? []) {
      lines.push(`*${table}`);
      for (const chain of chains.keys()) lines.push(`:${chain} ${isBuiltIn(table, chain) ? 'ACCEPT' : '-'} [0:0]`);
      for (const [chain, rules] of chains) lines.push(...rules.map((rule) => `-A ${chain} ${rule}`));
      lines.push('COMMIT');
    }
    return lines.length > 0 ? `${lines.join('\n')}\n` : '';
  }

  #list(place: string, table: string, chain: string): string {
    const rules = this.#tables.get(place)?.get(table)?.get(chain);
    if (!rules) throw new Refusal('iptables: No chain/target/match by that name.');
    return [`-N ${chain}`, ...rules.map((rule) => `-A ${chain} ${rule}`), ''].join('\n');
  }

  #restore(place: string, script: string, isTest: boolean): void {
    if (!isTest) this.scripts.push(script);
    const failure = isTest ? undefined : this.#failures.shift();
    let left = failure ? failure.tables : Infinity;
    for (const text of script.split(/^COMMIT$/m)) {
      const lines = text.split('\n').filter((line) => line !== '');
      const [head = '', ...commands] = lines;
      if (head === '') continue;
      if (left === 0) break;
      left -= 1;
      const table = head.slice(1);
      const initial = builtIn[table];
      if (!head.startsWith('*') || !initial) throw new Refusal(`not a table: ${head}`);
      const before = this.#tables.get(place)?.get(table) ?? new Map(initial.map((chain) => [chain, []]));
      const after = applyCommands(table, before, commands);
      if (!isTest) this.#tables.set(place, new Map(this.#tables.get(place)).set(table, after));
    }
    if (failure) throw new Refusal(failure.stderr);
  }
}

function applyCommands(table: string, before: FakeChains, commands: readonly string[]): FakeChains {
  const chains = new Map([...before].map(([name, rules]) => [name, [...rules]]));
  for (const line of commands) applyCommand(table, chains, line);
  return chains;
}

function applyCommand(table: string, chains: Map<string, string[]>, line: string): void {
  const declared = /^:(\S{1,28}) - \[0:0\]$/.exec(line)?.[1];
  if (declared !== undefined) {
    if (isBuiltIn(table, declared)) throw new Refusal(`not to be flushed here: ${line}`);
    chains.set(declared, []);
    return;
  }
  const [, verb = '', name = '', rule = ''] = /^-([AIDX]) (\S+)(?: (.+))?$/.exec(line) ?? [];
  const rules = chains.get(name);
  if (!rules) throw new Refusal(`line failed: No chain/target/match by that name: ${line}`);
  if (verb === 'X') {
    const isUsed = [...chains.values()].some((others) => others.some((other) => targetOf(other) === name));
    if (isUsed || rules.length > 0 || isBuiltIn(table, name)) throw new Refusal(`CHAIN_DEL failed (busy): ${line}`);
    chains.delete(name);
  } else if (verb === 'D') {
    const at = rules.indexOf(rule);
    if (at < 0) throw new Refusal(`Bad rule (does a matching rule exist in that chain?): ${line}`);
    rules.splice(at, 1);
  } else {
    const target = targetOf(rule) ?? '';
    if (!ownTargets.has(target) && !chains.has(target)) throw new Refusal(`Couldn't load target ${target}: ${line}`);
    if (verb === 'I') rules.unshift(rule);
    else rules.push(rule);
  }
}

const ownTargets = new Set(['ACCEPT', 'DROP', 'RETURN', 'REJECT', 'MARK', 'DNAT', 'MASQUERADE']);
const isBuiltIn = (table: string, chain: string): boolean => builtIn[table]?.includes(chain) === true;
const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);
const said = (stdout: string): ExecResult => ({ stdout, stderr: '' });

const refused = (file: string, stderr: string): ExecError =>
  new ExecError(file, `exited with status 1: ${stderr}`, { code: 'ExecFailed', exitCode: 1, stderr, timedOut: false });
