import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { childOf } from './child-of.ts';

/** Enough to see what went wrong, and little enough that a chatty daemon cannot fill the memory. */
const MAX_LINES = 50_000;

export interface WaitOptions {
  readonly timeoutMs?: number;
  /** Only lines from this index of `lines` on. */
  readonly from?: number;
}

/** A daemon inside a test host: what it prints, its end, and signals to itself (not to the nsenter in front of it). */
export class ManagedProcess {
  readonly name: string;
  readonly lines: string[] = [];
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #child: ChildProcess;
  #ended = false;
  #watchers = new Set<() => void>();

  constructor(name: string, command: readonly string[], options: { env?: NodeJS.ProcessEnv; cwd?: string } = {}) {
    const [file = '', ...args] = command;
    this.name = name;
    this.#child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream) createInterface({ input: stream }).on('line', (line) => this.#addLine(line));
    }
    this.exited = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('exit', (code, signal) => {
        this.#ended = true;
        resolve({ code, signal });
        this.#wake();
      });
    });
    this.exited.catch(() => {});
  }

  get running(): boolean {
    return !this.#ended;
  }

  /** The number of the process itself, as the machine sees it; undefined when it is not there (yet, or any more). */
  get pid(): number | undefined {
    const parent = this.#child.pid;
    return parent === undefined || this.#ended ? undefined : childOf(parent);
  }

  /** The first line that matches, also of those printed already. Fails with the last lines when it ends or takes too long. */
  async waitForLog(matches: RegExp | ((line: string) => boolean), options: WaitOptions = {}): Promise<string> {
    const test = typeof matches === 'function' ? matches : (line: string) => matches.test(line);
    let next = options.from ?? 0;
    const timeout = AbortSignal.timeout(options.timeoutMs ?? 30_000);
    for (;;) {
      for (; next < this.lines.length; next++) {
        const line = this.lines[next] ?? '';
        if (test(line)) return line;
      }
      if (this.#ended || timeout.aborted) {
        const why = this.#ended ? 'ended' : 'said nothing of the kind in time';
        throw new Error(`${this.name} ${why} (waiting for ${matches}):\n${this.lines.slice(-40).join('\n')}`);
      }
      await this.#change(timeout);
    }
  }

  /** Sends the signal to the process and resolves when it has ended; one that has ended is a success. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.#ended) return;
    const { pid } = this;
    if (pid !== undefined) process.kill(pid, signal);
    // The nsenter in front has not started it yet.
    else this.#child.kill(signal);
    await this.exited;
  }

  /** Takes the processor away from the process until `resume`: it is alive, and does nothing. */
  pause(): void {
    if (this.pid !== undefined) process.kill(this.pid, 'SIGSTOP');
  }

  resume(): void {
    const { pid } = this;
    if (pid !== undefined) process.kill(pid, 'SIGCONT');
    // The nsenter in front has stopped with what it runs.
    this.#child.kill('SIGCONT');
  }

  #addLine(line: string): void {
    if (this.lines.length < MAX_LINES) this.lines.push(line);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#watchers) wake();
  }

  #change(timeout: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#watchers.delete(done);
        timeout.removeEventListener('abort', done);
        resolve();
      };
      this.#watchers.add(done);
      timeout.addEventListener('abort', done);
    });
  }
}
