import type { Exec } from '../../host/exec.ts';
import type { KernelTables } from '../iptables/kernel-tables.ts';
import { readTables } from '../iptables/kernel-tables.ts';
import type { IpFamily } from '../read-service.ts';
import type { IpvsSettings } from './ipvs-backend.ts';
import { IpvsError, ipvsErrorOf, ipvsRefusal } from './ipvs-error.ts';
import { readSysctls, releaseSysctl, timeoutArguments, wishedSysctls } from './kernel-settings.ts';
import type { KernelState } from './kernel-state.ts';
import {
  deviceAlias,
  deviceName,
  ownDevices,
  readAddresses,
  readConnections,
  readServers,
  readSets,
  unfinishedDevice,
} from './kernel-state.ts';
import type { StepScripts } from './step-scripts.ts';

/** Enough for what a cold start with tens of thousands of Services writes. */
const timeoutMs = 120_000;
const maxOutputBytes = 512 * 1024 * 1024;
/** For whoever holds the lock of iptables. */
const lockSeconds = '5';
/** The proxiers of both address families may make the device at the same time. */
const deviceTries = 4;

export interface KernelReading {
  readonly state: KernelState;
  readonly rules: KernelTables;
}

/** EXECUTOR: IPVS, the device, the sets and the packet rules of one family, through their programs. Decides nothing. */
export class IpvsKernel {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #family: IpFamily;

  constructor(exec: Pick<Exec, 'run'>, family: IpFamily) {
    this.#exec = exec;
    this.#family = family;
  }

  /** All that the family has. */
  async read(signal: AbortSignal): Promise<KernelReading> {
    const family = this.#family;
    // First, because it has the kernel load its module.
    const servers = readServers((await this.#run('ipvsadm', ['-Sn'], signal)).stdout, family);
    const [addresses, sets, rules] = await Promise.all([
      this.readAddresses(signal),
      this.#run('ipset', ['save'], signal),
      this.#run(this.#iptables('save'), [], signal),
    ]);
    const state = { ...addresses, servers, sets: readSets(sets.stdout, family) };
    return { state, rules: readTables(rules.stdout) };
  }

  /** The device and the addresses alone. */
  async readAddresses(signal: AbortSignal): Promise<Pick<KernelState, 'device' | 'addresses' | 'hostAddresses'>> {
    return readAddresses(await this.#links(signal), this.#family);
  }

  /** Makes our device. Throws IpvsForeignDevice when another has its name. */
  async makeDevice(signal: AbortSignal): Promise<void> {
    const mark = [`link set dev ${unfinishedDevice} alias ${deviceAlias}`];
    const name = `link set dev ${unfinishedDevice} name ${deviceName}`;
    let failure: unknown;
    for (let tries = 0; tries < deviceTries; tries++) {
      const links = await this.#links(signal);
      const { device } = readAddresses(links, this.#family);
      if (device === 'ours') return this.#removeUnfinished(links, signal);
      if (device === 'foreign') throw foreignDevice();
      const make = device === 'absent' ? [`link add name ${unfinishedDevice} type dummy`] : [];
      const input = [...make, ...mark, name].map((line) => `${line}\n`).join('');
      await this.#run('ip', ['-batch', '-'], signal, input).catch((error: unknown) => {
        failure = error;
      });
    }
    throw failure ?? foreignDevice();
  }

  /** The one of the two families that was too late has one that it cannot give its name. */
  async #removeUnfinished(links: string, signal: AbortSignal): Promise<void> {
    if (!ownDevices(links).includes(unfinishedDevice)) return;
    await this.#run('ip', ['link', 'del', 'dev', unfinishedDevice], signal).catch(() => {
      // The other family has removed it. If not, it disturbs nobody, and goes with a cleanup.
      signal.throwIfAborted();
    });
  }

  async #links(signal: AbortSignal): Promise<string> {
    return (await this.#run('ip', ['-d', '-j', 'addr', 'show'], signal)).stdout;
  }

  /**
   * Each run goes on after what is refused, and so do the others, except that servers come only when the sets are as
   * they should be, and members leave only when all else is done; throws what was refused first.
   */
  async write(scripts: StepScripts, rules: string, signal: AbortSignal): Promise<void> {
    const failures: unknown[] = [];
    const attempt = async (input: string, run: () => Promise<unknown>) => {
      if (input === '') return;
      try {
        await run();
      } catch (error) {
        signal.throwIfAborted();
        failures.push(error);
      }
    };
    const restoreSets = (input: string) => this.#run('ipset', ['-exist', 'restore'], signal, input);
    await attempt(scripts.sets, () => restoreSets(scripts.sets));
    const { servers, addresses } = failures.length > 0 ? scripts.withoutSets() : scripts;
    await attempt(rules, () => this.writeRules(rules, signal));
    await attempt(servers, () => this.writeServers(servers, signal));
    await attempt(addresses, () => this.#run('ip', ['-force', '-batch', '-'], signal, addresses));
    // Virtual servers are known for ours by the members that their frontends have.
    if (failures.length > 0) throw failures[0];
    if (scripts.leavingMembers !== '') await restoreSets(scripts.leavingMembers);
  }

  async writeRules(script: string, signal: AbortSignal): Promise<void> {
    await this.#run(this.#iptables('restore'), ['-w', lockSeconds, '--noflush'], signal, script);
  }

  /** ipvsadm ends well whatever the kernel has refused of a batch, but says so. */
  async writeServers(script: string, signal: AbortSignal): Promise<void> {
    const { stderr } = await this.#run('ipvsadm', ['-R'], signal, script);
    if (stderr.trim() !== '') throw ipvsRefusal('ipvsadm', stderr);
  }

  /** Connections by `<key> <endpoint>`. */
  async connections(signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    return readConnections((await this.#run('ipvsadm', ['-Ln'], signal)).stdout);
  }

  /** Brings sysctls and timeouts to what they shall be; returns how many were written. */
  async settle(settings: IpvsSettings, signal: AbortSignal): Promise<number> {
    const [release, timeouts] = await Promise.all([
      this.#run('sysctl', [releaseSysctl], signal),
      this.#run('ipvsadm', ['-L', '--timeout'], signal),
    ]);
    const wished = wishedSysctls(settings, readSysctls(release.stdout).get(releaseSysctl) ?? '');
    const found = readSysctls((await this.#run('sysctl', ['-e', ...wished.keys()], signal)).stdout);
    const missing = [...wished].filter(([name, value]) => found.get(name) !== value);
    const times = timeoutArguments(settings, timeouts.stdout);
    if (times) await this.#run('ipvsadm', times, signal);
    if (missing.length > 0) {
      await this.#run('sysctl', ['-q', '-w', ...missing.map(([name, value]) => `${name}=${value}`)], signal);
    }
    return missing.length + (times ? 1 : 0);
  }

  #iptables(verb: 'save' | 'restore'): string {
    return `${this.#family === 'IPv4' ? 'iptables' : 'ip6tables'}-${verb}`;
  }

  async #run(file: string, args: readonly string[], signal: AbortSignal, input = '') {
    try {
      return await this.#exec.run(file, args, { signal, timeoutMs, input, maxOutputBytes });
    } catch (error) {
      throw ipvsErrorOf(error);
    }
  }
}

export const foreignDevice = (): IpvsError =>
  new IpvsError('IpvsForeignDevice', `the device ${deviceName} is another program's, kube-proxy's most likely`, {
    hint: `stop kube-proxy on this node and run kube-proxy --cleanup, or ip link del dev ${deviceName}`,
  });
