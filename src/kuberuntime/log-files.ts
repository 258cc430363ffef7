import { constants, type FSWatcher, watch } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { AgentError, errnoOf } from '../lib/errors.ts';

/** What a reader that is slower than the container may keep open; beyond it the oldest of them is left out. */
const maxWaiting = 8;

/**
 * The file of a container's log, and while it is followed those that come after it: a rotation puts another in its
 * place, and the follower finishes the old one first. The next one is opened as soon as it is there, because at the
 * rotation after that it has another name, and is compressed soon.
 */
export class LogFiles implements AsyncDisposable {
  readonly path: string;
  readonly #name: string;
  #current: FileHandle;
  #waiting: FileHandle[] = [];
  /** Of the file that was opened last. */
  #newest: string;
  #watcher: FSWatcher | undefined;
  #opening: Promise<void> = Promise.resolve();
  #changed = false;
  #wake: (() => void) | undefined;
  #closed = false;

  private constructor(path: string, file: FileHandle, identity: string) {
    this.path = path;
    this.#name = basename(path);
    this.#current = file;
    this.#newest = identity;
  }

  /** Fails as the file system does. */
  static async open(path: string, follow: boolean): Promise<LogFiles> {
    // A link may be watched only where it points to.
    const real = await realpath(path);
    const { file, identity } = await openFile(real);
    const files = new LogFiles(real, file, identity);
    if (follow) {
      files.#watch();
      // Whatever came into its place before it was watched.
      files.#lookForNext();
    }
    return files;
  }

  get current(): FileHandle {
    return this.#current;
  }

  get hasNext(): boolean {
    return this.#waiting.length > 0;
  }

  /** Whether changes are told: where the kernel has no watch left, somebody has to look. */
  get watched(): boolean {
    return this.#watcher !== undefined;
  }

  /** Goes on with the next file. */
  async advance(): Promise<void> {
    const next = this.#waiting.shift();
    if (!next) return;
    const old = this.#current;
    this.#current = next;
    await old.close();
  }

  /** Forgets what has changed so far: from here on `change` tells of what comes. */
  expectChange(): void {
    this.#changed = false;
  }

  /** Something may have changed that no file tells of. */
  touch(): void {
    this.#changed = true;
    this.#wake?.();
  }

  /** Resolves as soon as something has happened since `expectChange`; rejects when the signal aborts. */
  async change(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#changed) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    this.#wake = resolve;
    try {
      await promise;
    } finally {
      this.#wake = undefined;
      signal.removeEventListener('abort', abort);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#watcher?.close();
    await this.#opening;
    await Promise.all([this.#current, ...this.#waiting.splice(0)].map((file) => file.close()));
  }

  #watch(): void {
    try {
      this.#watcher = watch(dirname(this.path), { persistent: false }, (event, name) => this.#onEvent(event, name));
    } catch {
      return;
    }
    this.#watcher.on('error', () => {
      this.#watcher?.close();
      this.#watcher = undefined;
      this.touch();
    });
  }

  #onEvent(event: string, name: string | null): void {
    if (name !== null && !concerns(name, this.#name)) return;
    if (event === 'rename') this.#lookForNext();
    this.touch();
  }

  /** For where no event tells of a rotation. */
  #lookForNext(): void {
    this.#opening = this.#opening.then(() => this.#openNext());
  }

  refresh(): void {
    this.#lookForNext();
    this.touch();
  }

  async #openNext(): Promise<void> {
    if (this.#closed) return;
    try {
      const { file, identity } = await openFile(this.path);
      if (this.#closed || identity === this.#newest) {
        await file.close();
        return;
      }
      this.#newest = identity;
      this.#waiting.push(file);
      if (this.#waiting.length > maxWaiting) await this.#waiting.shift()?.close();
      this.touch();
    } catch (error) {
      // Between the renaming and the runtime's opening of the next one there is none: another event follows.
      if (errnoOf(error) === undefined && !(error instanceof AgentError)) throw error;
    }
  }
}

/** The file itself, and what a rotation calls it while the runtime may still write it. */
const concerns = (name: string, log: string): boolean =>
  name === log || (name.startsWith(`${log}.`) && !name.endsWith('.gz') && !name.endsWith('.tmp'));

async function openFile(path: string): Promise<{ file: FileHandle; identity: string }> {
  // A pipe that nobody writes must not hold us: who can put one there could stop all that reads files.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = await file.stat({ bigint: true });
    if (!stats.isFile()) throw new AgentError('LogNoFile', `${path} is not a file`);
    const { dev, ino, birthtimeNs } = stats;
    // Inodes are used again: a file made in the place of a removed one may have its number.
    return { file, identity: `${dev}:${ino}:${birthtimeNs}` };
  } catch (error) {
    await file.close();
    throw error;
  }
}
