import { lstatSync, readdirSync } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../lib/errors.ts';

/** What files take of their file system, as du(1) counts: blocks, not lengths. */
export interface DiskUsage {
  readonly bytes: number;
  readonly inodes: number;
}

const blockBytes = 512;
/** A folder with more is not measured further: the figure is then a lower bound. */
const mostEntries = 2_000_000;
/** Entries looked at side by side. */
const batchSize = 64;

/**
 * Measures a folder with everything in it, on its own file system alone; what has several names counts once. Entries that
 * go meanwhile are left out. Takes no thread for long, but as long as there is something to look at.
 */
export async function measureFolder(path: string, signal: AbortSignal): Promise<DiskUsage> {
  const root = await lstat(path);
  const seen = new Set<number>();
  const usage = { bytes: root.blocks * blockBytes, inodes: 1 };
  const folders = [path];
  for (let folder = folders.pop(); folder !== undefined && usage.inodes < mostEntries; folder = folders.pop()) {
    const here = folder;
    for await (const batch of batches(here)) {
      signal.throwIfAborted();
      const entries = await Promise.all(batch.map((name) => lstatIfThere(join(here, name))));
      for (const [index, entry] of entries.entries()) {
        if (!entry || entry.dev !== root.dev) continue;
        if (entry.isDirectory()) folders.push(join(here, batch[index] ?? ''));
        else if (entry.nlink > 1) {
          if (seen.has(entry.ino)) continue;
          seen.add(entry.ino);
        }
        usage.bytes += entry.blocks * blockBytes;
        usage.inodes++;
      }
    }
  }
  return usage;
}

async function* batches(folder: string): AsyncGenerator<readonly string[]> {
  let batch: string[] = [];
  try {
    for await (const entry of await opendir(folder)) {
      batch.push(entry.name);
      if (batch.length === batchSize) {
        yield batch;
        batch = [];
      }
    }
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  if (batch.length) yield batch;
}

const lstatIfThere = (path: string) =>
  lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });

const nothing: DiskUsage = { bytes: 0, inodes: 0 };

/** The files directly in a folder: for folders of a few, such as a container's logs. Nothing when there is none. */
export function measureFiles(folder: string): DiskUsage {
  let names: readonly string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return nothing;
  }
  const files = names.map((name) => measureFile(join(folder, name)));
  return files.reduce((sum, file) => ({ bytes: sum.bytes + file.bytes, inodes: sum.inodes + file.inodes }), nothing);
}

/** One file; nothing when there is none, or it is a folder. */
export function measureFile(path: string): DiskUsage {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat === undefined || stat.isDirectory() ? nothing : { bytes: stat.blocks * blockBytes, inodes: 1 };
}
