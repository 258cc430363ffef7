import { execa } from 'execa';
import { AgentError } from '../lib/errors.ts';

/** PORT: programs of the host. */
export interface Exec {
  /**
   * Runs `file` (looked up on PATH) without a shell and resolves when it has exited with 0. Every other end is an
   * ExecError; when `signal` aborts, the program gets SIGTERM, then SIGKILL, and the call rejects with the signal's reason.
   */
  run(file: string, args: readonly string[], options: ExecOptions): Promise<ExecResult>;
}

export interface ExecOptions {
  readonly signal: AbortSignal;
  /** The deadline, milliseconds. */
  readonly timeoutMs: number;
  /** Written to the program's stdin, which is empty otherwise. */
  readonly input?: string;
  /** Added to keelson's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** For each of stdout and stderr, default 4 MiB; a program that writes more is stopped and the call fails. */
  readonly maxOutputBytes?: number;
}

/** Output as UTF-8, unchanged (with its last newline). */
export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that could not be started, ended badly or took too long. */
export class ExecError extends AgentError {
  readonly file: string;
  /** Undefined when the program did not start, was killed or ran into the deadline. */
  readonly exitCode: number | undefined;
  readonly stderr: string;
  readonly timedOut: boolean;

  constructor(file: string, message: string, facts: ExecFacts) {
    super(facts.code, `${file}: ${message}`, {
      retryable: facts.timedOut,
      ...(facts.cause === undefined ? {} : { cause: facts.cause }),
      ...(facts.hint === undefined ? {} : { hint: facts.hint }),
    });
    this.file = file;
    this.exitCode = facts.exitCode;
    this.stderr = facts.stderr;
    this.timedOut = facts.timedOut;
  }
}

export interface ExecFacts {
  readonly code: 'ExecFailed' | 'ExecNotFound' | 'ExecTimeout' | 'ExecOutputTooLarge';
  readonly exitCode: number | undefined;
  readonly stderr: string;
  readonly timedOut: boolean;
  readonly hint?: string;
  readonly cause?: unknown;
}

/** Which Debian package brings a program that keelson may call. */
const debianPackage: Readonly<Record<string, string>> = {
  busctl: 'systemd',
  conntrack: 'conntrack',
  flock: 'util-linux',
  ip: 'iproute2',
  ip6tables: 'iptables',
  'ip6tables-restore': 'iptables',
  'ip6tables-save': 'iptables',
  ipset: 'ipset',
  iptables: 'iptables',
  'iptables-restore': 'iptables',
  'iptables-save': 'iptables',
  ipvsadm: 'ipvsadm',
  modprobe: 'kmod',
  mount: 'mount',
  nft: 'nftables',
  sysctl: 'procps',
  'systemd-notify': 'systemd',
  systemctl: 'systemd',
  umount: 'mount',
  unshare: 'util-linux',
};

const defaultMaxOutput = 4 * 1024 * 1024;
/** How much of stderr an error's message repeats. */
const quotedStderr = 500;

/** From SIGTERM to SIGKILL, and from there to giving up on a program that cannot be killed. */
const killDelayMs = 1_000;
const giveUpDelayMs = 2_000;

export const hostExec: Exec = {
  async run(file, args, options) {
    options.signal.throwIfAborted();
    const subprocess = execa(file, args, {
      cancelSignal: options.signal,
      timeout: options.timeoutMs,
      forceKillAfterDelay: killDelayMs,
      maxBuffer: options.maxOutputBytes ?? defaultMaxOutput,
      input: options.input ?? '',
      reject: false,
      stripFinalNewline: false,
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    const release = giveUpLater(options, () => {
      // A program in uninterruptible sleep, or a grandchild that keeps the pipes open, must not hold the caller.
      subprocess.kill('SIGKILL');
      subprocess.stdout.destroy();
      subprocess.stderr.destroy();
      subprocess.unref();
    });
    const result = await Promise.race([subprocess, release.gaveUp]).finally(() => release[Symbol.dispose]());
    options.signal.throwIfAborted();
    if (!result.failed) return { stdout: result.stdout, stderr: result.stderr };
    throw execErrorOf(file, options, result);
  },
};

/** Resolves some time after the deadline or the abort, which have had their chance by then. */
function giveUpLater(options: ExecOptions, abandon: () => void): Disposable & { gaveUp: Promise<Abandoned> } {
  const { promise: gaveUp, resolve } = Promise.withResolvers<Abandoned>();
  const giveUp = () => {
    abandon();
    resolve({ failed: true, timedOut: true, isMaxBuffer: false });
  };
  let timer = setTimeout(giveUp, options.timeoutMs + giveUpDelayMs);
  const onAbort = () => {
    clearTimeout(timer);
    timer = setTimeout(giveUp, giveUpDelayMs);
  };
  options.signal.addEventListener('abort', onAbort, { once: true });
  return {
    gaveUp,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', onAbort);
    },
  };
}

type Abandoned = Ended & { readonly failed: true };

interface Ended {
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  readonly stderr?: string;
  readonly timedOut: boolean;
  readonly isMaxBuffer: boolean;
  readonly code?: string | undefined;
  readonly originalMessage?: string | undefined;
  readonly cause?: unknown;
}

function execErrorOf(file: string, options: ExecOptions, ended: Ended): ExecError {
  const facts = { exitCode: ended.exitCode, stderr: ended.stderr ?? '', timedOut: ended.timedOut, cause: ended.cause };
  if (ended.code === 'ENOENT') return notFound(file, facts.cause);
  if (ended.timedOut) {
    return new ExecError(file, `did not finish within ${options.timeoutMs} ms`, { ...facts, code: 'ExecTimeout' });
  }
  if (ended.isMaxBuffer) {
    const max = options.maxOutputBytes ?? defaultMaxOutput;
    return new ExecError(file, `wrote more than ${max} bytes`, { ...facts, code: 'ExecOutputTooLarge' });
  }
  const how =
    ended.exitCode !== undefined
      ? `exited with status ${ended.exitCode}`
      : ended.signal !== undefined
        ? `was ended by ${ended.signal}`
        : (ended.originalMessage ?? 'did not start');
  const said = facts.stderr.trim().slice(0, quotedStderr);
  return new ExecError(file, said ? `${how}: ${said}` : how, { ...facts, code: 'ExecFailed' });
}

/** The error for a program that is not installed; the hint names its package where we know it. */
export function notFound(file: string, cause?: unknown): ExecError {
  const name = debianPackage[file];
  return new ExecError(file, 'program not found', {
    code: 'ExecNotFound',
    exitCode: undefined,
    stderr: '',
    timedOut: false,
    cause,
    hint: name ? `install it: apt-get install ${name}` : `install ${file}, or put it on PATH`,
  });
}

export const isProgramMissing = (error: unknown): error is ExecError =>
  error instanceof ExecError && error.code === 'ExecNotFound';
