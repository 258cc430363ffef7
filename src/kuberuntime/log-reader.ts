import type { FileHandle } from 'node:fs/promises';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';
import { findTailOffset } from './find-tail-offset.ts';
import { LogFiles } from './log-files.ts';
import { type LogOptions, LogRenderer } from './log-renderer.ts';

export interface LogSource {
  readonly path: string;
  /** Whether the container may still write. */
  readonly alive: () => boolean;
  /** Calls back when that may have changed. */
  readonly onChange: (wake: () => void) => Disposable;
}

export interface LogReading {
  readonly source: LogSource;
  readonly options: LogOptions;
  /** Resolves when the bytes have been handed over, and their buffer may be used again. */
  readonly write: (bytes: Buffer) => Promise<void>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** The runtime finishes what it has in hand in the old file when it has opened the new one: so long it is given. */
const rotationGraceMs = 100;
/** How often to look where nothing can be watched; upstream's period. */
const unwatchedCheckMs = 1_000;

/**
 * Writes what `options` ask for of a container's log. Following, it goes on across rotations until the container has
 * ended and everything is written. Fails with an AgentError when the file cannot be read, with UnknownLogFormat, and
 * with the signal's reason; files and watches are closed in any case.
 */
export async function readLog({ source, options, write, clock, signal }: LogReading): Promise<void> {
  await using files = await openLog(source.path, options.follow);
  using _changes = options.follow ? source.onChange(() => files.touch()) : undefined;
  const renderer = new LogRenderer(options);
  const copier = new Copier(renderer, write, signal);
  let position = await startOf(files.current, options.tailLines);
  for (;;) {
    const followed = options.follow && source.alive();
    files.expectChange();
    position = await copier.copy(files.current, position, options.follow ? 'leave' : 'last');
    if (renderer.done || (!options.follow && !files.hasNext)) return;
    if (files.hasNext) {
      await clock.sleep(rotationGraceMs, signal);
      await copier.copy(files.current, position, 'last');
      await files.advance();
      renderer.endFile();
      position = 0;
    } else if (!followed) {
      await copier.copy(files.current, position, 'last');
      // The last change may have been a rotation.
      if (!files.hasNext) return;
    } else {
      await waitForChange(files, clock, signal);
      if ((await files.current.stat()).size < position) position = 0;
    }
  }
}

async function waitForChange(files: LogFiles, clock: Clock, signal: AbortSignal): Promise<void> {
  if (files.watched) return files.change(signal);
  using _check = clock.after(unwatchedCheckMs, () => files.refresh());
  await files.change(signal);
}

async function openLog(path: string, follow: boolean): Promise<LogFiles> {
  try {
    return await LogFiles.open(path, follow);
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT')
      throw new AgentError('LogUnreadable', `failed to open log file ${JSON.stringify(path)}`, { cause });
    throw new AgentError(
      'LogNotFound',
      `failed to try resolving symlinks in path ${JSON.stringify(path)}: lstat ${path}: no such file or directory`,
    );
  }
}

async function startOf(file: FileHandle, tailLines: number | undefined): Promise<number> {
  if (tailLines === undefined) return 0;
  const { size } = await file.stat();
  const read = async (buffer: Buffer, position: number) => {
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, position + length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return length;
  };
  return findTailOffset(read, size, tailLines);
}

/** Two outputs: while one is being sent the other is filled. */
interface Blocks {
  readonly input: Buffer;
  readonly outputs: readonly [Buffer, Buffer];
}

const inputBytes = 128 * 1024;
const maxSpare = 2;
/** Made once for all readers: a follower that waits holds none. */
const spare: Blocks[] = [];

function takeBlocks(): Blocks {
  const output = () => Buffer.allocUnsafeSlow(LogRenderer.room(inputBytes));
  return spare.pop() ?? { input: Buffer.allocUnsafeSlow(inputBytes), outputs: [output(), output()] };
}

/** Carries a file's bytes through the renderer to the writer, without an object per line. */
class Copier {
  readonly #renderer: LogRenderer;
  readonly #write: (bytes: Buffer) => Promise<void>;
  readonly #signal: AbortSignal;

  constructor(renderer: LogRenderer, write: (bytes: Buffer) => Promise<void>, signal: AbortSignal) {
    this.#renderer = renderer;
    this.#write = write;
    this.#signal = signal;
  }

  /**
   * Everything from `position` to the end of the file as it is now. Returns where the next copy goes on: at the
   * beginning of a line that is not finished yet.
   */
  async copy(file: FileHandle, position: number, unfinished: 'leave' | 'last'): Promise<number> {
    const blocks = takeBlocks();
    const { input, outputs } = blocks;
    let sending: Promise<void> = Promise.resolve();
    let at = position;
    let kept = 0;
    for (let turn = 0; !this.#renderer.done; turn++) {
      this.#signal.throwIfAborted();
      const { bytesRead } = await file.read(input, kept, input.length - kept, at);
      if (bytesRead === 0 && (kept === 0 || unfinished === 'leave')) break;
      at += bytesRead;
      const block = input.subarray(0, kept + bytesRead);
      const output = outputs[turn % 2] as Buffer;
      const mode =
        bytesRead === 0 ? 'last' : block.length === input.length && block.indexOf(10) < 0 ? 'pass on' : 'leave';
      const { used, written } = this.#renderer.render(block, output, mode);
      input.copyWithin(0, used, block.length);
      kept = block.length - used;
      // One is on its way at most, so that the other is free.
      await sending;
      if (written > 0) sending = this.#write(output.subarray(0, written));
      // It is awaited a turn later, and may fail before.
      sending.catch(() => {});
    }
    await sending;
    // Not after a failure: somebody may still be sending out of them.
    if (spare.length < maxSpare) spare.push(blocks);
    return at - kept;
  }
}
