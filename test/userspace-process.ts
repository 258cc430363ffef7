import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Lab } from './proxy-lab.ts';
import type { ChildOrder } from './userspace-child.ts';

const script = fileURLToPath(new URL('userspace-child.ts', import.meta.url));

/** The userspace mode, running on the Lab's node. */
export class UserspaceProcess implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(lab: Lab) {
    const args = ['netns', 'exec', lab.hostNamespace, process.execPath, script];
    const child = spawn('ip', args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#process = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Resolves when the order is in effect. */
  async order(order: ChildOrder): Promise<void> {
    this.#process.stdin?.write(`${JSON.stringify(order)}\n`);
    const { done } = await this.#lines.next();
    if (done) throw new Error('the process has ended');
  }

  /** As a crash would. */
  async kill(): Promise<void> {
    await this.#end(() => this.#process.kill('SIGKILL'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end(() => this.#process.stdin?.end());
  }

  async #end(how: () => void): Promise<void> {
    const { exitCode, signalCode } = this.#process;
    if (exitCode !== null || signalCode !== null) return;
    const gone = once(this.#process, 'exit');
    how();
    await gone;
  }
}
