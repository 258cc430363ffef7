import { spawn } from 'node:child_process';
import { errnoOf } from '../lib/errors.ts';
import { ExecError, isProgramMissing, notFound } from './exec.ts';

export interface FollowOptions {
  readonly signal: AbortSignal;
  /** Each line of stdout without its end, cut off after 4,096 characters; what comes after the last end too. */
  readonly onLine: (line: string) => void;
}

/**
 * PORT: a program of the host that runs for as long as somebody cares, and tells what happens. Resolves once it has
 * ended because `signal` aborted; any other end is an ExecError (ExecNotFound, ExecFailed).
 */
export type Follow = (file: string, args: readonly string[], options: FollowOptions) => Promise<void>;

const maxLine = 4_096;
const maxStderr = 2_000;
/** From SIGTERM to SIGKILL. */
const killDelayMs = 1_000;

/**
 * A program must write each line when it has it: into a pipe, many keep them back until there are 4 KiB. It ends with
 * keelson, however that ends, where there is setpriv(1) of util-linux: otherwise one that has nothing to write stays,
 * and after each restart there is one more.
 */
export const followProgram: Follow = async (file, args, options) => {
  try {
    await follow('setpriv', ['--pdeathsig', 'TERM', file, ...args], options);
  } catch (error) {
    if (!isOfSetpriv(error)) throw error;
    await follow(file, args, options);
  }
};

/** It is not there, does not know the option, or did not find the program. */
const isOfSetpriv = (error: unknown): boolean =>
  isProgramMissing(error) || (error instanceof ExecError && error.stderr.startsWith('setpriv: '));

const follow: Follow = async (file, args, { signal, onLine }) => {
  if (signal.aborted) return;
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(0, maxStderr);
  });
  const lines = lineSplitter(onLine);
  child.stdout.setEncoding('utf8').on('data', lines.take).once('end', lines.end);
  let killer: NodeJS.Timeout | undefined;
  const stop = () => {
    child.kill('SIGTERM');
    killer = setTimeout(() => child.kill('SIGKILL'), killDelayMs);
  };
  signal.addEventListener('abort', stop, { once: true });
  const ended = Promise.withResolvers<ExecError>();
  child.once('error', (error) =>
    ended.resolve(errnoOf(error) === 'ENOENT' ? notFound(file, error) : failed(file, '', error)),
  );
  child.once('close', (exitCode, by) => {
    const how = exitCode === null ? `was ended by ${by}` : `exited with status ${exitCode}`;
    ended.resolve(failed(file, stderr, undefined, how, exitCode ?? undefined));
  });
  try {
    const error = await ended.promise;
    if (!signal.aborted) throw error;
  } finally {
    clearTimeout(killer);
    signal.removeEventListener('abort', stop);
  }
};

/** Takes text in any pieces, and the end, where the last line may be unfinished; never holds more than one line. */
export function lineSplitter(onLine: (line: string) => void): { take(text: string): void; end(): void } {
  let begun = '';
  return {
    take: (text) => {
      const [first = '', ...rest] = text.split('\n');
      begun = (begun + first).slice(0, maxLine);
      for (const next of rest) {
        onLine(begun);
        begun = next.slice(0, maxLine);
      }
    },
    end: () => {
      if (begun !== '') onLine(begun);
      begun = '';
    },
  };
}

function failed(file: string, stderr: string, cause?: unknown, how = 'did not start', exitCode?: number): ExecError {
  const said = stderr.trim();
  const facts = { code: 'ExecFailed', exitCode, stderr, timedOut: false, cause } as const;
  return new ExecError(file, said ? `${how}: ${said}` : how, facts);
}
