import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, realpath, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import type { Mounts } from '../host/mounts.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';

/** One `volumeMounts[].subPath` of a container. */
export interface SubPath {
  /** Where the whole volume is on the host. */
  readonly volumePath: string;
  /** Relative to it. */
  readonly subPath: string;
  /** Where the runtime is to find it: `<pod>/volume-subpaths/<volume>/<container>/<index>`, without links. */
  readonly target: string;
}

/** open(2): a handle on the name itself, which neither reads nor blocks. Not among Node's constants. */
const pathOnly = 0o10000000 | constants.O_NOFOLLOW;
const realFolder = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Makes a part of a volume available at `target`, and the folder in the volume where there is nothing of the name. A
 * target that has the right thing already stays as it is.
 *
 * Containers may write to the volume while we look at it, so that any name in it can become a link to somewhere else on
 * the host at any moment. Links are resolved once, and what they lead to has to lie in the volume; from there on every
 * component is opened relative to the handle of the one before, following nothing. The last handle is what is mounted,
 * through its link in /proc, and no name.
 */
export async function bindSubPath(wanted: SubPath, mounts: Mounts, signal: AbortSignal): Promise<void> {
  const { subPath, target } = wanted;
  const volume = await realpath(wanted.volumePath);
  const full = join(volume, subPath);
  if (subPath.startsWith('/') || subPath.split('/').includes('..')) throw outside(full, volume);
  if (!(await exists(full))) await makeFolders(full, volume);
  await using source = await openInside(await realpath(full), volume);
  const found = await source.stat();
  if ((await mounts.list()).some((mount) => mount.target === target)) {
    const there = await stat(target).catch(() => undefined);
    if (there && there.dev === found.dev && there.ino === found.ino) return;
    await mounts.unmount(target, signal);
  }
  // The volume may have taken so long to answer that nobody wants its part any more.
  signal.throwIfAborted();
  await makeTarget(target, found.isDirectory());
  await mounts.mount(`/proc/${process.pid}/fd/${source.fd}`, target, '', ['bind'], signal);
}

/** Makes the folders that are missing, with the volume's own mode, so that who may write there may write here. */
async function makeFolders(full: string, volume: string): Promise<void> {
  const mode = (await stat(volume)).mode & 0o2777;
  const missing: string[] = [];
  let existing = full;
  while (!(await exists(existing))) {
    missing.unshift(basename(existing));
    existing = dirname(existing);
  }
  let parent = await openInside(await realpath(existing), volume);
  try {
    for (const name of missing) {
      const path = below(parent, name);
      const isNew = await mkdir(path, { mode: 0o700 }).then(
        () => true,
        (error: unknown) => {
          if (errnoOf(error) !== 'EEXIST') throw error;
          return false;
        },
      );
      const child = await open(path, realFolder);
      await parent.close();
      parent = child;
      // Whatever the umask is.
      if (isNew) await child.chmod(mode);
    }
  } finally {
    await parent.close();
  }
}

/** A handle on `path`, which is a real path, without ever leaving `volume`. */
async function openInside(path: string, volume: string): Promise<FileHandle> {
  const rest = relative(volume, path);
  if (rest === '..' || rest.startsWith('../')) throw outside(path, volume);
  let handle = await open(volume, pathOnly);
  try {
    for (const name of rest === '' ? [] : rest.split('/')) {
      const next = await open(below(handle, name), pathOnly);
      await handle.close();
      handle = next;
      if ((await next.stat()).isSymbolicLink()) {
        throw new AgentError('SubPathChanged', `${path}: ${JSON.stringify(name)} has just become a link`, {
          retryable: true,
        });
      }
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Node has no openat(2): the kernel resolves the handle's link in /proc to the very folder that it stands for. */
const below = (folder: FileHandle, name: string): string => `/proc/self/fd/${folder.fd}/${name}`;

const outside = (path: string, volume: string): AgentError =>
  new AgentError('SubPathOutside', `${path} is not within the volume ${volume}`, {
    hint: 'a subPath must not lead out of its volume, through a link neither',
  });

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Something of the same sort to mount on: a folder, or for everything else a file. */
async function makeTarget(target: string, isFolder: boolean): Promise<void> {
  await mkdir(dirname(target), { recursive: true, mode: 0o750 });
  const present = await stat(target).catch(() => undefined);
  if (present && present.isDirectory() === isFolder) return;
  // Was of the other sort in an earlier life of the container; nothing is in it but what was mounted.
  if (present) await (present.isDirectory() ? rmdir(target) : rm(target));
  if (isFolder) await mkdir(target, { mode: 0o750 });
  else await (await open(target, 'wx', 0o640)).close();
}
