import { execa } from 'execa';
import { notFound } from './exec.ts';

export interface ProgramOptions {
  readonly signal: AbortSignal;
  /** The deadline, milliseconds. */
  readonly timeoutMs: number;
}

const killDelayMs = 1_000;

/**
 * What a program of the host writes, stdout and stderr as they come, at the pace of whoever takes it. How it ends is
 * all the same; only one that is not there fails, with code ExecNotFound. Ended early, or by `signal`, it is stopped.
 */
export async function* programOutput(
  file: string,
  args: readonly string[],
  options: ProgramOptions,
): AsyncGenerator<Buffer> {
  const subprocess = execa(file, args, {
    all: true,
    buffer: false,
    cancelSignal: options.signal,
    timeout: options.timeoutMs,
    forceKillAfterDelay: killDelayMs,
    stdin: 'ignore',
    reject: false,
    encoding: 'buffer',
  });
  try {
    for await (const chunk of subprocess.all as AsyncIterable<Buffer>) yield chunk;
    const { code, cause } = await subprocess;
    if (code === 'ENOENT') throw notFound(file, cause);
  } finally {
    subprocess.kill();
  }
}
