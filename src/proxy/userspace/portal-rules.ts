import type { Exec } from '../../host/exec.ts';
import type { Variant } from '../iptables/iptables-programs.ts';
import { IptablesPrograms } from '../iptables/iptables-programs.ts';
import { unreadableTables } from '../iptables/kernel-tables.ts';
import type { IpFamily } from '../read-service.ts';
import { portalTables, relayAddress } from './compile-portals.ts';
import type { SavedTables } from './diff-portals.ts';
import { parseSaved } from './diff-portals.ts';

const timeoutMs = 10_000;

/** EXECUTOR: the rules of one family, and the address that relays listen on, by the host's programs. */
export class PortalRulesInKernel {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #programs: IptablesPrograms;
  readonly #family: IpFamily;

  constructor(exec: Pick<Exec, 'run'>, family: IpFamily) {
    this.#exec = exec;
    this.#programs = new IptablesPrograms(exec, family);
    this.#family = family;
  }

  /** The one that the host's programs are of. */
  variant(signal: AbortSignal): Promise<Variant> {
    return this.#programs.variant(signal);
  }

  /** What there is of ours. */
  async read(signal: AbortSignal): Promise<SavedTables> {
    const saved = await this.#programs.save(signal);
    const hidden = portalTables.find((table) => unreadableTables(saved).includes(table));
    if (hidden) throw this.#programs.unreadable(hidden);
    return { nat: parseSaved('nat', saved), filter: parseSaved('filter', saved) };
  }

  /** Each table as a whole, or not at all. */
  restore(script: string, signal: AbortSignal): Promise<void> {
    return this.#programs.restore(script, signal);
  }

  /** Gives the loopback interface the relays' address; changes nothing where it has it. */
  async addAddress(signal: AbortSignal): Promise<void> {
    // Nobody shall take it for an address to be called by: not as a source of other traffic, nor from other hosts.
    const more = this.#family === 'IPv4' ? ['scope', 'host'] : ['preferred_lft', '0'];
    await this.#ip(['addr', 'replace', this.#address, 'dev', 'lo', ...more], signal);
  }

  async hasAddress(signal: AbortSignal): Promise<boolean> {
    return (await this.#ip(['-o', 'addr', 'show', 'dev', 'lo'], signal)).includes(` ${this.#address} `);
  }

  async removeAddress(signal: AbortSignal): Promise<void> {
    if (await this.hasAddress(signal)) await this.#ip(['addr', 'del', this.#address, 'dev', 'lo'], signal);
  }

  /** Forgets UDP flows to relays, so that their clients find the way that there is now. Fails when there are none. */
  async endFlows(signal: AbortSignal): Promise<void> {
    const family = this.#family === 'IPv4' ? 'ipv4' : 'ipv6';
    const args = ['-D', '-f', family, '-p', 'udp', '--reply-src', relayAddress[this.#family]];
    await this.#exec.run('conntrack', args, { signal, timeoutMs });
  }

  async #ip(args: readonly string[], signal: AbortSignal): Promise<string> {
    const family = this.#family === 'IPv4' ? '-4' : '-6';
    const { stdout } = await this.#exec.run('ip', [family, ...args], { signal, timeoutMs });
    return stdout.replaceAll('\n', ' \n');
  }

  get #address(): string {
    return relayCidr(this.#family);
  }
}

/** The relays' address as the kernel prints it. */
export const relayCidr = (family: IpFamily): string => `${relayAddress[family]}/${family === 'IPv4' ? 32 : 128}`;
