import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Tells that something happened in a directory, through inotify. A hint only: what has changed is for the
 * reader to find. While the directory is missing its parent is watched, so that its coming back is noticed.
 */
export class DirectoryWatch {
  readonly #dir: string;
  readonly #onEvent: () => void;
  #watcher: FSWatcher | undefined;
  /** What the watcher watches: path, device and inode. A directory made anew is another one. */
  #watched = '';

  constructor(dir: string, onEvent: () => void) {
    this.#dir = dir;
    this.#onEvent = onEvent;
  }

  /** Watches what stands at the path now. Where nothing can be watched, only the regular rescan is left. */
  async refresh(): Promise<void> {
    const target = (await identify(this.#dir)) ?? (await identify(dirname(this.#dir)));
    if (target?.key === this.#watched) return;
    this.close();
    if (!target) return;
    try {
      this.#watcher = watch(target.path, { persistent: false }, this.#onEvent);
    } catch {
      return;
    }
    this.#watched = target.key;
    this.#watcher.on('error', () => {
      this.close();
      this.#onEvent();
    });
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = '';
  }
}

async function identify(path: string): Promise<{ path: string; key: string } | undefined> {
  try {
    const { dev, ino } = await stat(path);
    return { path, key: `${path}:${dev}:${ino}` };
  } catch {
    return undefined;
  }
}
