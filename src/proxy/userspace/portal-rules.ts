import type { Exec, ExecOptions } from '../../host/exec.ts';
import type { IpFamily } from '../read-service.ts';
import type { PortalTable } from './compile-portals.ts';
import { relayAddress } from './compile-portals.ts';
import type { SavedTable, SavedTables } from './diff-portals.ts';
import { parseSaved } from './diff-portals.ts';

/** How long iptables may wait for a program that holds its lock, and how long it may take altogether. */
const lockSeconds = 10;
const timeoutMs = 60_000;
const maxOutputBytes = 256 * 1024 * 1024;
const addressTimeoutMs = 10_000;

/** EXECUTOR: the rules of one family, and the address that relays listen on, by the host's programs. */
export class PortalRulesInKernel {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #family: IpFamily;

  constructor(exec: Pick<Exec, 'run'>, family: IpFamily) {
    this.#exec = exec;
    this.#family = family;
  }

  /** What there is of ours, and whether other chains are of kube-proxy or of keelson's other mode. */
  async read(signal: AbortSignal): Promise<SavedTables> {
    return { nat: await this.#readTable('nat', signal), filter: await this.#readTable('filter', signal) };
  }

  /** The text of one table as iptables-save prints it. */
  async save(table: PortalTable, signal: AbortSignal): Promise<string> {
    const options: ExecOptions = { signal, timeoutMs, maxOutputBytes };
    return (await this.#exec.run(`${this.#program}-save`, ['-t', table], options)).stdout;
  }

  /** Each table as a whole, or not at all. */
  async restore(script: string, signal: AbortSignal): Promise<void> {
    const args = ['--noflush', '-w', String(lockSeconds)];
    await this.#exec.run(`${this.#program}-restore`, args, { signal, timeoutMs, input: script });
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
    await this.#exec.run('conntrack', args, { signal, timeoutMs: addressTimeoutMs });
  }

  async #readTable(table: PortalTable, signal: AbortSignal): Promise<SavedTable> {
    return parseSaved(table, await this.save(table, signal));
  }

  async #ip(args: readonly string[], signal: AbortSignal): Promise<string> {
    const family = this.#family === 'IPv4' ? '-4' : '-6';
    const { stdout } = await this.#exec.run('ip', [family, ...args], { signal, timeoutMs: addressTimeoutMs });
    return stdout.replaceAll('\n', ' \n');
  }

  get #program(): string {
    return this.#family === 'IPv4' ? 'iptables' : 'ip6tables';
  }

  get #address(): string {
    return relayCidr(this.#family);
  }
}

/** The relays' address as the kernel prints it. */
export const relayCidr = (family: IpFamily): string => `${relayAddress[family]}/${family === 'IPv4' ? 32 : 128}`;
