import { isDeepStrictEqual } from 'node:util';
import type { Exec } from '../../host/exec.ts';
import { aborted } from '../../lib/aborted.ts';
import type { RunCause } from '../../lib/bounded-runner.ts';
import type { Clock } from '../../lib/clock.ts';
import { errorFields } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Backend, SyncOutcome, TrafficRules, Wish } from '../backend.ts';
import { readTables } from '../iptables/kernel-tables.ts';
import type { IpFamily } from '../read-service.ts';
import { nodeAddress } from '../route-services.ts';
import type { Draining } from './decide-drained.ts';
import { decideDrained, drainingAfter, drainingIn } from './decide-drained.ts';
import { rulesScript } from './diff-rules.ts';
import type { Step } from './diff-state.ts';
import { commit, diffState, isBare, touchAll } from './diff-state.ts';
import type { KernelReading } from './ipvs-kernel.ts';
import { foreignDevice, IpvsKernel } from './ipvs-kernel.ts';
import type { KernelState } from './kernel-state.ts';
import { emptyKernel } from './kernel-state.ts';
import { OutsideMarks } from './outside-marks.ts';
import { packetRules } from './packet-rules.ts';
import { deviceLines, stepLine, stepScripts } from './step-scripts.ts';
import { WishCompiler } from './wish-compiler.ts';

/** As KubeProxyConfiguration.ipvs; durations in milliseconds, 0 leaves what the kernel has. */
export interface IpvsSettings {
  readonly scheduler: string;
  /** Virtual servers of others in these ranges are left alone. */
  readonly excludeCIDRs: readonly string[];
  readonly strictARP: boolean;
  readonly tcpTimeoutMs: number;
  readonly tcpFinTimeoutMs: number;
  readonly udpTimeoutMs: number;
}

/** How often endpoints that have left are asked for connections; the kernel tells nobody when the last one ends. */
const drainCheckMs = 10_000;
/** After this long an endpoint that has left goes with the connections that it still has. */
const drainBoundMs = 15 * 60_000;
/** With more addresses than this, every tenth periodic check reads all back, and the others addresses alone. */
const smallTable = 1_000;
const checksPerFullRead = 10;

type Context = { readonly cause: RunCause; readonly signal: AbortSignal };

/**
 * Services as virtual servers of IPVS, with their addresses on a dummy device, and with sets and a few packet rules
 * for what IPVS does not do: masquerade, source ranges, what is dropped, and other endpoints for clients from outside.
 */
export class IpvsBackend implements Backend {
  readonly mode = 'ipvs';
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #settings: IpvsSettings;
  readonly #kernel: IpvsKernel;
  #rules: TrafficRules | undefined;
  /** What the kernel holds, and what it shall. Undefined: not known, read it back. */
  #known: { readonly state: KernelState; readonly compiler: WishCompiler } | undefined;
  #draining = new Map<string, Draining>();
  #lastDrainCheck: number;
  #drainingBegan: () => void = () => {};
  #checks = 0;
  /** At the last look nothing was wanted and nothing was there. */
  #wasIdle = false;
  #saidUnsettled = false;

  constructor(options: {
    readonly exec: Pick<Exec, 'run'>;
    readonly log: Log;
    readonly clock: Clock;
    readonly family: IpFamily;
    readonly settings: IpvsSettings;
  }) {
    this.#log = options.log;
    this.#clock = options.clock;
    this.#settings = options.settings;
    this.#kernel = new IpvsKernel(options.exec, options.family);
    this.#lastDrainCheck = options.clock.monotonic();
  }

  async sync(wish: Wish, context: Context): Promise<SyncOutcome> {
    try {
      return await this.#sync(wish, context);
    } catch (error) {
      this.#known = undefined;
      throw error;
    }
  }

  /** Has endpoints that have left looked after for as long as there are any. */
  async run(signal: AbortSignal, needsSync: () => void): Promise<void> {
    const stopped = aborted(signal);
    while (!signal.aborted) {
      const began = new Promise<void>((resolve) => {
        this.#drainingBegan = resolve;
      });
      if (this.#draining.size === 0) await Promise.race([began, stopped]);
      await this.#clock.sleep(drainCheckMs, signal).catch(() => {});
      if (this.#draining.size > 0 && !signal.aborted) needsSync();
    }
  }

  plan(wish: Wish): string {
    const state = emptyKernel();
    const compiler = this.#planCompiler(wish);
    compiler.update(wish.routes, wish.routes.frontends());
    const steps = diffState(state, compiler.wished, touchAll(state, compiler.wished, []));
    const { sets, servers, addresses } = stepScripts(steps, wish.rules.family);
    const iptables = wish.rules.family === 'IPv4' ? 'iptables' : 'ip6tables';
    return [
      `# ipset -exist restore\n${sets}`,
      `# ${iptables}-restore --noflush\n${rulesScript(readTables(''), packetRules(wish.rules))}`,
      `# ipvsadm -R\n${servers}`,
      `# ip -batch -\n${deviceLines.map((line) => `${line}\n`).join('')}${addresses}`,
    ].join('');
  }

  async diff(wish: Wish, signal: AbortSignal): Promise<readonly string[]> {
    const { state, rules } = await this.#kernel.read(signal);
    if (isIdle(wish, state)) return [];
    const compiler = WishCompiler.for(state, wish.rules, this.#settings.scheduler);
    compiler.update(wish.routes, wish.routes.frontends());
    const steps = diffState(state, compiler.wished, touchAll(state, compiler.wished, this.#settings.excludeCIDRs));
    const script = rulesScript(rules, packetRules(wish.rules));
    const device = state.device === 'ours' ? [] : deviceLines.map((line) => `+ ${line}`);
    return [
      ...device,
      ...steps.map((step) => diffLine(step, wish.rules.family)),
      ...script.split('\n').flatMap(rulesDiffLine),
    ];
  }

  explain(frontend: string, wish: Wish): readonly string[] {
    const alone = this.#known
      ? WishCompiler.for(this.#known.state, wish.rules, this.#settings.scheduler)
      : this.#planCompiler(wish);
    alone.update(wish.routes, [frontend]);
    const state = emptyKernel();
    const steps = diffState(state, alone.wished, touchAll(state, alone.wished, []));
    return steps.filter(({ kind }) => kind !== 'add-set').map((step) => stepLine(step, wish.rules.family));
  }

  async #sync(wish: Wish, { cause, signal }: Context): Promise<SyncOutcome> {
    if (!isDeepStrictEqual(wish.rules, this.#rules)) this.#known = undefined;
    const wasKnown = this.#known;
    if (wasKnown && cause === 'periodic' && (await this.#mayHaveChanged(wasKnown.state, signal)))
      this.#known = undefined;
    if (this.#known) return this.#syncChanges(this.#known, wish, signal);
    if (this.#wasIdle && wish.routes.isEmpty && cause !== 'periodic') return { isFull: false, writes: 0 };
    const reading = await this.#kernel.read(signal);
    const writes = await this.#syncAll(reading, wish, signal);
    this.#rules = wish.rules;
    const isForeign = wasKnown && isDeepStrictEqual(wasKnown.state.hostAddresses, reading.state.hostAddresses);
    if (writes > 0 && isForeign && wish.changed.frontends.size === 0) {
      this.#log.warn({ family: wish.rules.family }, 'another program changed IPVS or its rules; repaired');
    }
    return { isFull: true, writes };
  }

  async #syncAll({ state, rules }: KernelReading, wish: Wish, signal: AbortSignal): Promise<number> {
    const { family } = wish.rules;
    // Most clusters have no IPv6 Service, and their packets need not pass through rules for it.
    this.#wasIdle = isIdle(wish, state);
    if (this.#wasIdle) return 0;
    if (state.device === 'foreign') throw foreignDevice();
    let writes = await this.#settle(signal);
    if (state.device !== 'ours') {
      await this.#kernel.makeDevice(signal);
      writes += 1;
    }
    const compiler = WishCompiler.for(state, wish.rules, this.#settings.scheduler);
    compiler.update(wish.routes, wish.routes.frontends());
    const now = this.#clock.monotonic();
    this.#draining = drainingIn(state.servers, (key) => compiler.wished.server(key) !== undefined, this.#draining, now);
    const steps = diffState(state, compiler.wished, touchAll(state, compiler.wished, this.#settings.excludeCIDRs));
    const script = rulesScript(rules, packetRules(wish.rules));
    await this.#kernel.write(stepScripts(steps, family), script, signal);
    this.#commit(state, steps);
    this.#known = { state, compiler };
    writes += steps.length + script.split('\n').filter((line) => line.startsWith('-')).length;
    return writes + (await this.#removeDrained(state, signal));
  }

  async #syncChanges(
    { state, compiler }: { readonly state: KernelState; readonly compiler: WishCompiler },
    { routes, rules, changed }: Wish,
    signal: AbortSignal,
  ): Promise<SyncOutcome> {
    const steps = diffState(state, compiler.wished, compiler.update(routes, compiler.affected(changed.frontends)));
    await this.#kernel.write(stepScripts(steps, rules.family), '', signal);
    this.#commit(state, steps);
    const drained = await this.#removeDrained(state, signal);
    return { isFull: false, writes: steps.length + drained };
  }

  #commit(state: KernelState, steps: readonly Step[]): void {
    commit(state, steps);
    const now = this.#clock.monotonic();
    if (this.#draining.size === 0) this.#lastDrainCheck = now;
    drainingAfter(this.#draining, steps, now);
    if (this.#draining.size > 0) this.#drainingBegan();
  }

  /** Returns how many endpoints that had left were removed. */
  async #removeDrained(state: KernelState, signal: AbortSignal): Promise<number> {
    const now = this.#clock.monotonic();
    if (this.#draining.size === 0 || now - this.#lastDrainCheck < drainCheckMs) return 0;
    const connections = await this.#kernel.connections(signal);
    const steps = decideDrained(this.#draining.values(), connections, now, drainBoundMs);
    if (steps.length > 0) await this.#kernel.writeServers(stepScripts(steps, 'IPv4').servers, signal);
    this.#commit(state, steps);
    this.#lastDrainCheck = now;
    return steps.length;
  }

  /** A host may let nobody write its sysctls; they may be right nevertheless, and are worth no more than a warning. */
  async #settle(signal: AbortSignal): Promise<number> {
    try {
      const writes = await this.#kernel.settle(this.#settings, signal);
      this.#saidUnsettled = false;
      return writes;
    } catch (error) {
      signal.throwIfAborted();
      if (!this.#saidUnsettled) this.#log.warn(errorFields(error), 'sysctls or timeouts of IPVS cannot be set');
      this.#saidUnsettled = true;
      return 0;
    }
  }

  /** Whether to read all back: an address came or went, or it is due for a look at everything. */
  async #mayHaveChanged(state: KernelState, signal: AbortSignal): Promise<boolean> {
    this.#checks += 1;
    if (state.addresses.size < smallTable || this.#checks % checksPerFullRead === 0) return true;
    const { device, addresses, hostAddresses } = await this.#kernel.readAddresses(signal);
    const has = { device: 'ours', addresses: state.addresses, hostAddresses: state.hostAddresses };
    return !isDeepStrictEqual({ device, addresses, hostAddresses }, has);
  }

  #planCompiler({ rules }: Wish): WishCompiler {
    // Before the kernel was read nobody knows the node's addresses.
    const unknown = {
      family: rules.family,
      scheduler: this.#settings.scheduler,
      nodePortAddresses: [nodeAddress],
      hostAddresses: new Set<string>(),
    };
    return new WishCompiler(this.#known?.compiler.place ?? unknown, new OutsideMarks(rules.masqueradeBit));
  }
}

const isIdle = ({ routes, rules }: Wish, state: KernelState): boolean =>
  rules.family === 'IPv6' && routes.isEmpty && isBare(state);

const diffLine = (step: Step, family: IpFamily): string =>
  `${step.kind.startsWith('delete') ? '-' : '+'} ${stepLine(step, family)}`;

/** `-A …` and `-I …` are what the kernel lacks, `-D …`, `-F …` and `-X …` what it has and should not. */
function rulesDiffLine(line: string): readonly string[] {
  const [, verb] = /^-([AIDFX]) /.exec(line) ?? [];
  return verb ? [`${verb === 'A' || verb === 'I' ? '+' : '-'} ${line}`] : [];
}
