import { orAborted } from './aborted.ts';
import { errorFields, isAbort } from './errors.ts';
import type { Log } from './log.ts';

/**
 * Long-running loops that live and die together: each runs until the common signal aborts, or ends
 * earlier when it has nothing to do. One that fails is named, and ends everything, so that the
 * supervisor starts a whole daemon again instead of keeping half of one.
 */
export class Tasks {
  readonly #log: Log;
  readonly #running = new Map<string, Promise<void>>();
  readonly #failed = Promise.withResolvers<never>();

  constructor(log: Log) {
    this.#log = log;
    this.#failed.promise.catch(() => {});
  }

  start(name: string, run: Promise<void>): void {
    const task = run.catch((error: unknown) => {
      if (isAbort(error)) return;
      this.#log.error({ task: name, ...errorFields(error) }, 'a part of keelson failed');
      this.#failed.reject(error);
    });
    this.#running.set(
      name,
      task.finally(() => this.#running.delete(name)),
    );
  }

  /** Resolves when the signal has aborted and every loop has ended; rejects as soon as one fails. */
  async finished(signal: AbortSignal): Promise<void> {
    await orAborted(this.#failed.promise, signal);
    const late = setTimeout(() => this.#log.warn({ tasks: [...this.#running.keys()] }, 'still stopping'), 5_000);
    await Promise.race([Promise.all(this.#running.values()), this.#failed.promise]).finally(() => clearTimeout(late));
  }
}
