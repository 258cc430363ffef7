import { isDeepStrictEqual } from 'node:util';
import type { Exec } from '../../host/exec.ts';
import type { RunCause } from '../../lib/bounded-runner.ts';
import type { Log } from '../../lib/log.ts';
import type { Backend, Routes, SyncOutcome, TrafficRules, Wish } from '../backend.ts';
import { nodeAddress } from '../route-services.ts';
import { NftTable } from './apply.ts';
import type { DesiredFrontend, Proto } from './compile.ts';
import { compileRoute, frontendElement, protos } from './compile.ts';
import type { DesiredChanges } from './diff.ts';
import { commit, planTransactions } from './diff.ts';
import { diffFrontend } from './diff-frontend.ts';
import { nftVersion } from './nft-program.ts';
import type { RulesetOptions } from './ruleset.ts';
import type { TableState } from './table-state.ts';
import { emptyState } from './table-state.ts';

/** A transaction of this many elements takes the kernel a few hundredths of a second. */
const maxWritesPerTransaction = 4_000;
/** Reading a table back takes nft about 25 µs an element; a larger one than this is read at every tenth check only. */
const smallTable = 1_000;
const checksPerFullRead = 10;
/** How often affinities are read anew when they change while they are dropped. */
const forgetTries = 3;
/** The one table of ours, in each family. */
export const tableName = 'keelson';

/** Services as elements of one nftables table: compile, diff with what the table holds, run, commit. */
export class NftBackend implements Backend {
  readonly mode = 'nftables';
  readonly #exec: Pick<Exec, 'run'>;
  readonly #log: Log;
  #rules: TrafficRules | undefined;
  /** Undefined: not known, read it back. */
  #state: TableState | undefined;
  #version: string | undefined;
  #checks = 0;

  constructor(options: { readonly exec: Pick<Exec, 'run'>; readonly log: Log }) {
    this.#exec = options.exec;
    this.#log = options.log;
  }

  async sync(wish: Wish, context: { readonly cause: RunCause; readonly signal: AbortSignal }): Promise<SyncOutcome> {
    try {
      return await this.#sync(wish, context);
    } catch (error) {
      this.#state = undefined;
      throw error;
    }
  }

  async run(): Promise<void> {}

  plan(wish: Wish): string {
    const state = emptyState();
    const transactions = planTransactions(state, everything(wish.routes, state), rulesetOptions(wish.rules), Infinity);
    return [...transactions].map((one) => one.script).join('');
  }

  async diff(wish: Wish, signal: AbortSignal): Promise<readonly string[]> {
    const options = rulesetOptions(wish.rules);
    const state = await new NftTable(this.#exec, options).read(signal);
    const transactions = planTransactions(state, everything(wish.routes, state), options, Infinity);
    return [...transactions].flatMap((one) => one.script.split('\n')).flatMap(diffLine);
  }

  explain(frontend: string, { routes }: Wish): readonly string[] {
    const route = routes.get(frontend);
    if (!route) return [];
    const change = diffFrontend(undefined, compileRoute(route));
    return (change?.add ?? []).map(({ set, element, value }) => `${set} { ${element}${value ? ` : ${value}` : ''} }`);
  }

  async #sync(
    { routes, rules, changed, changedTargets }: Wish,
    { cause, signal }: { readonly cause: RunCause; readonly signal: AbortSignal },
  ): Promise<SyncOutcome> {
    const options = rulesetOptions(rules);
    const table = new NftTable(this.#exec, options);
    this.#version ??= await nftVersion(this.#exec, signal);
    // The rules are compared with what is wanted when the table is read back.
    if (!isDeepStrictEqual(rules, this.#rules)) this.#state = undefined;
    if (this.#state && cause === 'periodic' && (await this.#mayHaveChanged(table, this.#state, signal))) {
      this.#state = undefined;
    }
    const known = this.#state;
    const state = known ?? (await table.read(signal));
    this.#state = state;
    this.#rules = rules;
    const isFull = state !== known || state.layout !== 'ours';
    // Most clusters have no IPv6 Service, and their packets need not pass through rules for it.
    if (rules.family === 'IPv6' && state.layout === 'absent' && routes.isEmpty) return { isFull, writes: 0 };
    const desired = isFull ? everything(routes, state) : changesOf(routes, changed.frontends, changedTargets);
    let writes = 0;
    let forgets = !known && [...state.frontends.values()].some((frontend) => frontend.remember !== undefined);
    for (const transaction of planTransactions(state, desired, options, maxWritesPerTransaction)) {
      await table.run(transaction.script, signal);
      commit(state, transaction);
      writes += transaction.writes;
      forgets ||= transaction.forgets;
      if (cause === 'periodic') {
        this.#log.warn({ table: options.table }, 'another program changed the ruleset; repaired');
      }
    }
    if (forgets && rules.family === 'IPv4') await forgetClients(table, state, signal);
    return { isFull, writes };
  }

  /** Whether to read the table back: it lost a chain, or it is due for a look at every element. */
  async #mayHaveChanged(table: NftTable, state: TableState, signal: AbortSignal): Promise<boolean> {
    if (state.layout === 'absent') return false;
    this.#checks += 1;
    const due = state.frontends.size < smallTable || this.#checks % checksPerFullRead === 0;
    return due || !(await table.hasChains(state, signal));
  }
}

const rulesetOptions = ({ family, ...rules }: TrafficRules): RulesetOptions => ({
  ...rules,
  family: family === 'IPv4' ? 'ip' : 'ip6',
  table: tableName,
});

function changesOf(routes: Routes, frontends: Iterable<string>, targets: Iterable<string>): DesiredChanges {
  const local = routes.localTargets();
  return {
    frontends: [...frontends].map((frontend) => desiredOf(routes, frontend)),
    hairpins: [...targets].map((ip) => [ip, local.has(ip)] as const),
  };
}

/** Every frontend wanted, those that other Services wait for first, then what the kernel has besides. */
function everything(routes: Routes, state: TableState): DesiredChanges {
  const local = routes.localTargets();
  const addresses = new Set([...local.keys(), ...state.hairpins]);
  const keys = [...routes.frontends()];
  const first = keys.filter((key) => isUrgent(routes, key));
  const frontends = new Map([...first, ...keys].map((key) => desiredOf(routes, key)));
  for (const element of state.frontends.keys()) if (!frontends.has(element)) frontends.set(element, undefined);
  return { frontends, hairpins: [...addresses].map((ip) => [ip, local.has(ip)] as const) };
}

/** Name service and the API server: what a cold node's pods ask for before anything else. */
const isUrgent = (routes: Routes, frontend: string): boolean =>
  frontend.endsWith(' 53') || routes.ownerOf(frontend) === 'default/kubernetes';

function desiredOf(routes: Routes, frontend: string): readonly [string, DesiredFrontend | undefined] {
  const route = routes.get(frontend);
  if (route) {
    const desired = compileRoute(route);
    return [frontendElement(desired.id), desired];
  }
  const [ip = '', protocol = '', port = ''] = frontend.split(' ');
  return [frontendElement({ ip, proto: protocol.toLowerCase() as Proto, port: Number(port) }), undefined];
}

/** Ends the affinity of clients to endpoints that their Service does not have any more. */
async function forgetClients(table: NftTable, state: TableState, signal: AbortSignal): Promise<void> {
  for (const proto of protos) {
    for (let tries = 1; ; tries++) {
      const gone = (await table.readAffinities(proto, signal)).filter(({ ip, port, endpoint }) => {
        const own = state.frontends.get(frontendElement({ ip, proto, port }));
        const frontend = own ?? state.frontends.get(frontendElement({ ip: nodeAddress, proto, port }));
        return !frontend || ![...frontend.slots, ...frontend.outsideSlots].includes(endpoint);
      });
      if (gone.length === 0) break;
      try {
        await table.dropAffinities(proto, gone, signal);
        break;
      } catch (error) {
        if (signal.aborted || tries === forgetTries) throw error;
      }
    }
  }
}

/** `add …` is what the kernel lacks, `delete …` and `flush …` what it has and should not. */
function diffLine(line: string): readonly string[] {
  const [, verb, rest] = /^(add|delete|flush) (.*)$/.exec(line) ?? [];
  return verb ? [`${verb === 'add' ? '+' : '-'} ${rest}`] : [];
}
