import type { Exec } from '../../host/exec.ts';
import { ExecError, isProgramMissing } from '../../host/exec.ts';
import { AgentError } from '../../lib/errors.ts';
import type { IpFamily } from '../read-service.ts';
import type { TableName } from './chain-names.ts';

/**
 * iptables could not be used, or refused. Codes: IptablesMissing, IptablesDenied, IptablesUnsupported, XtablesLocked,
 * IptablesFailed, ChainHeld, TableUnreadable.
 */
export class IptablesError extends AgentError {}

export type Variant = 'nft' | 'legacy';

/** How long the programs wait for another one that holds the xtables lock. */
const lockSeconds = 5;
/** For what changes no table that others use: nobody holds this lock for long. */
export const noLock = { XTABLES_LOCKFILE: '/dev/null' };
const maxOutputBytes = 512 * 1024 * 1024;

/** EXECUTOR: the programs of one family and one variant. Decides nothing. */
export class IptablesPrograms {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #program: string;

  /** `variant`: undefined for the one that the host calls iptables. */
  constructor(exec: Pick<Exec, 'run'>, family: IpFamily, variant?: Variant) {
    this.#exec = exec;
    this.#program = `${family === 'IPv4' ? 'iptables' : 'ip6tables'}${variant ? `-${variant}` : ''}`;
  }

  get name(): string {
    return this.#program;
  }

  /** Which variant these programs are of. */
  async variant(signal: AbortSignal): Promise<Variant> {
    const text = await this.#run(this.#program, ['--version'], '', 5_000, signal);
    return text.includes('nf_tables') ? 'nft' : 'legacy';
  }

  /** All tables in use, as text. Neither makes a table nor loads a module, and takes no lock. */
  save(signal: AbortSignal): Promise<string> {
    return this.#run(`${this.#program}-save`, [], '', 120_000, signal);
  }

  /** Rules of one chain, as text; undefined when it is not there. */
  async list(table: TableName, chain: string, signal: AbortSignal): Promise<string | undefined> {
    try {
      return await this.#run(this.#program, ['-w', `${lockSeconds}`, '-t', table, '-S', chain], '', 60_000, signal);
    } catch (error) {
      if (isNoSuchChain(error)) return undefined;
      throw error;
    }
  }

  /** Each table of `script` takes effect as a whole or, when this throws, not, and none after it. */
  async restore(script: string, signal: AbortSignal): Promise<void> {
    await this.#run(`${this.#program}-restore`, ['-w', `${lockSeconds}`, '--noflush'], script, 180_000, signal);
  }

  /** Throws when the programs do not know what is in `script`; nothing takes effect. */
  async test(script: string, signal: AbortSignal): Promise<void> {
    const args = ['-w', `${lockSeconds}`, '--noflush', '--test'];
    await this.#run(`${this.#program}-restore`, args, script, 30_000, signal, noLock);
  }

  /** What iptables cannot print it must not be asked to change: comparing would write everything again. */
  unreadable(table: TableName): IptablesError {
    const message = `${this.#program}-save cannot print table ${table}, which has rules that nft wrote`;
    const family = this.#program.startsWith('ip6') ? 'ip6' : 'ip';
    return new IptablesError('TableUnreadable', message, {
      hint: `give the rules that nft wrote a table of their own: nft list table ${family} ${table}`,
      retryable: true,
    });
  }

  async #run(
    file: string,
    args: readonly string[],
    input: string,
    timeoutMs: number,
    signal: AbortSignal,
    env: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    try {
      return (await this.#exec.run(file, args, { signal, timeoutMs, input, maxOutputBytes, env })).stdout;
    } catch (error) {
      throw iptablesErrorOf(error, file);
    }
  }
}

function iptablesErrorOf(error: unknown, file: string): unknown {
  if (isProgramMissing(error)) {
    return new IptablesError('IptablesMissing', `Services are not programmed: the program ${file} is not installed`, {
      cause: error,
      hint: 'install it: apt-get install iptables',
    });
  }
  if (!(error instanceof ExecError)) return error;
  if (/xtables lock/i.test(error.stderr)) {
    return new IptablesError('XtablesLocked', `another program has held the xtables lock for ${lockSeconds} s`, {
      cause: error,
      hint: 'see who holds it: lslocks | grep xtables.lock',
      retryable: true,
    });
  }
  if (/Operation not permitted|Permission denied|must be root/i.test(error.stderr)) {
    return new IptablesError(
      'IptablesDenied',
      `Services are not programmed: ${file} may not change the packet filter`,
      {
        cause: error,
        hint: 'run keelson as root, in a container with the capabilities NET_ADMIN and NET_RAW',
      },
    );
  }
  return new IptablesError('IptablesFailed', `${file} failed`, { cause: error, retryable: true });
}

export const isUnreadable = (error: unknown): error is IptablesError =>
  error instanceof IptablesError && error.code === 'TableUnreadable';

const isNoSuchChain = (error: unknown): boolean =>
  error instanceof IptablesError &&
  error.cause instanceof ExecError &&
  /No chain\/target\/match|chain .* (?:does not exist|is incompatible)|No such file/i.test(error.cause.stderr);
