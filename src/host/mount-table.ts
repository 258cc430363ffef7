import { readFile } from 'node:fs/promises';
import type { Exec } from './exec.ts';
import type { MountPoint, Mounts } from './mounts.ts';

/** One line of mountinfo, proc_pid_mountinfo(5). */
export interface MountInfo extends MountPoint {
  readonly id: number;
  readonly parentId: number;
  /** The folder of the file system that is mounted here: not '/' for a bind mount. */
  readonly root: string;
  /** Options of the file system, e.g. a v1 hierarchy's controllers. */
  readonly superOptions: readonly string[];
  /** 'shared:1', 'master:2', …: how mounts propagate. */
  readonly propagation: readonly string[];
}

/** Parses the text of /proc/<pid>/mountinfo; lines that are none are left out. */
export function parseMountInfo(text: string): MountInfo[] {
  return text.split('\n').flatMap((line) => {
    const [before, after] = line.split(' - ');
    if (!before || !after) return [];
    const [id, parentId, device, root, target, options, ...propagation] = before.split(' ');
    const [type, source, superOptions] = after.split(' ');
    if (!id || !parentId || !device || !root || !target || !options || !type) return [];
    return [
      {
        id: Number(id),
        parentId: Number(parentId),
        device,
        root: unescapeOctal(root),
        target: unescapeOctal(target),
        options: options.split(','),
        propagation,
        type,
        source: unescapeOctal(source ?? ''),
        superOptions: (superOptions ?? '').split(','),
      },
    ];
  });
}

/**
 * The kernel writes space, tab, newline, backslash and '#' as `\ooo`; other bytes, of UTF-8 too, stand as they are.
 */
function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The mount points at `path` and below it, deepest last. `path` is absolute and without symbolic links. */
export function mountsUnder<M extends MountPoint>(mounts: readonly M[], path: string): M[] {
  const prefix = path.endsWith('/') ? path : `${path}/`;
  return mounts.filter((m) => m.target === path || m.target.startsWith(prefix));
}

export async function readMountInfo(): Promise<MountInfo[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

const mountTimeoutMs = 30_000;
/** A server that does not answer is tried for two minutes by mount.nfs(8), which then says so. */
const nfsTimeoutMs = 150_000;

/** The mount namespace that keelson runs in, changed through mount(8) and umount(8). */
export class HostMounts implements Mounts {
  readonly #exec: Exec;

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  list(): Promise<readonly MountInfo[]> {
    return readMountInfo();
  }

  async mount(
    source: string,
    target: string,
    type: string,
    options: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    const bind = options.includes('bind') || options.includes('rbind');
    const args = [
      // Paths come from our own tables: a symbolic link that somebody put there meanwhile is not to be followed.
      '--no-canonicalize',
      ...(bind || !type ? [] : ['-t', type]),
      ...(options.length ? ['-o', options.join(',')] : []),
      '--',
      source,
      target,
    ];
    const timeoutMs = type.startsWith('nfs') ? nfsTimeoutMs : mountTimeoutMs;
    await this.#exec.run('mount', args, { signal, timeoutMs });
  }

  async unmount(target: string, signal: AbortSignal): Promise<void> {
    const mounted = async () => (await this.list()).some((m) => m.target === target);
    // Several mounts may lie on one point; a bound keeps an endless source of them from holding us.
    for (let i = 0; i < 16 && (await mounted()); i++) {
      try {
        await this.#exec.run('umount', ['--no-canonicalize', '--', target], { signal, timeoutMs: mountTimeoutMs });
      } catch (error) {
        if (await mounted()) throw error;
      }
    }
  }
}
