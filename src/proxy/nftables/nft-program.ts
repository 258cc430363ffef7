import type { Exec } from '../../host/exec.ts';
import { ExecError, isProgramMissing } from '../../host/exec.ts';
import { AgentError } from '../../lib/errors.ts';

/**
 * nft could not be used, or refused what it was given. Codes: NftMissing, NftTooOld, NftDenied, NftUnsupported (the
 * kernel lacks something), NftTimeout, NftUnreadable (its output is no listing), NftFailed.
 */
export class NftError extends AgentError {}

export interface NftCall {
  readonly signal: AbortSignal;
  /** The deadline, milliseconds. */
  readonly timeoutMs: number;
  /** What nft reads from its stdin. */
  readonly input?: string;
}

/** Listings of the largest tables that are known to work are a tenth of this. */
const maxOutputBytes = 512 * 1024 * 1024;
/** First release whose rules our layout needs; kube-proxy asks for the same. */
const oldest: readonly number[] = [1, 0, 1];

/** Runs nft once and returns what it wrote; throws NftError, or the signal's reason. */
export async function runNft(exec: Pick<Exec, 'run'>, args: readonly string[], call: NftCall): Promise<string> {
  try {
    return (await exec.run('nft', args, { input: '', ...call, maxOutputBytes })).stdout;
  } catch (error) {
    throw nftErrorOf(error);
  }
}

/**
 * The version of this host's nft as `1.0.6`, or '' when it does not say one in a way that is known here: what it can
 * do then shows when it is asked to. Throws NftMissing, or NftTooOld for one that cannot do the job.
 */
export async function nftVersion(exec: Pick<Exec, 'run'>, signal: AbortSignal): Promise<string> {
  const output = await runNft(exec, ['--version'], { timeoutMs: 5_000, signal });
  const version = /\bv?(\d+)\.(\d+)(?:\.(\d+))?/.exec(output);
  const numbers = (version ?? []).slice(1).map((part) => Number(part ?? 0));
  if (numbers.length > 0 && isOlder(numbers, oldest)) {
    throw new NftError('NftTooOld', `nft ${numbers.join('.')} is older than ${oldest.join('.')}`, {
      hint: `install nftables ${oldest.join('.')} or later`,
    });
  }
  return numbers.join('.');
}

/** Whether nft said that the table, chain or set which was asked for is not there. */
export const isNothingThere = (error: unknown): boolean => stderrOf(error).includes('No such file');

/** Whether this kernel has no nf_tables at all, so that nothing can be in it. */
export const isKernelWithout = (error: unknown): boolean => /Protocol not supported/i.test(stderrOf(error));

/** What nft complained of, where it was nft that failed. */
export const stderrOf = (error: unknown): string =>
  error instanceof NftError && error.cause instanceof ExecError ? error.cause.stderr : '';

function nftErrorOf(error: unknown): unknown {
  if (isProgramMissing(error)) {
    return new NftError('NftMissing', 'Services are not programmed: the program nft is not installed', {
      cause: error,
      hint: 'install it: apt-get install nftables',
    });
  }
  if (!(error instanceof ExecError)) return error;
  if (error.timedOut) {
    return new NftError('NftTimeout', 'nft does not come to an end', {
      cause: error,
      hint: 'see with `nft list tables` whether it ever does; another program may hold the ruleset, or the host be overloaded',
      retryable: true,
    });
  }
  if (/Operation not permitted|must be root|Permission denied/i.test(error.stderr)) {
    return new NftError('NftDenied', 'Services are not programmed: nft may not change the packet filter', {
      cause: error,
      hint: 'run keelson as root, in a container with the capability NET_ADMIN',
    });
  }
  return new NftError('NftFailed', 'nft failed', { cause: error, retryable: true });
}

function isOlder(version: readonly number[], than: readonly number[]): boolean {
  for (const [i, wanted] of than.entries()) {
    const part = version[i] ?? 0;
    if (part !== wanted) return part < wanted;
  }
  return false;
}
