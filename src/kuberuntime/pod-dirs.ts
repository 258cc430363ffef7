import { mkdir, open, readdir, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Container, Pod } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { atomicWrite, readIfExists, writeError } from '../host/files.ts';
import { errnoOf } from '../lib/errors.ts';
import { generateEtcHosts } from './etc-hosts.ts';
import { podNames } from './pod-hostname.ts';
import { podLogDirectory } from './sandbox-config.ts';

export interface PodDirsOptions {
  readonly rootDir: string;
  readonly podLogsDir: string;
  readonly clusterDomain: string;
}

/** What a pod has on the host's disk besides its volumes: its folder, /etc/hosts, termination logs and log files. */
export class PodDirs {
  readonly #o: PodDirsOptions;

  constructor(options: PodDirsOptions) {
    this.#o = options;
  }

  podDir(uid: PodUid): string {
    return join(this.#o.rootDir, 'pods', uid);
  }

  /** Makes the pod's folders. */
  async create(uid: PodUid, pod: Pod): Promise<void> {
    const dir = this.podDir(uid);
    const made = await Promise.allSettled([
      ...['volumes', 'plugins', 'containers'].map((name) => makeFolder(join(dir, name), 0o750)),
      makeFolder(podLogDirectory(this.#o.podLogsDir, pod), 0o755),
    ]);
    // Told when all are over: a folder still being made would come back after whoever cleans up.
    for (const result of made) if (result.status === 'rejected') throw result.reason;
  }

  /** Writes the pod's /etc/hosts where it differs, and returns its path. */
  async writeHosts(uid: PodUid, pod: Pod, podIPs: readonly string[]): Promise<string> {
    const path = join(this.podDir(uid), 'etc-hosts');
    const hostNetwork = pod.spec.hostNetwork === true;
    const text = generateEtcHosts({
      hostNetwork,
      hostFile: hostNetwork ? ((await readIfExists('/etc/hosts')) ?? '') : '',
      podIPs,
      ...podNames(pod, this.#o.clusterDomain),
      hostAliases: pod.spec.hostAliases ?? [],
    });
    const before = await sizeIfExists(path);
    if (before === undefined) await atomicWrite(path, text, { mode: 0o644, durable: false });
    // Containers have this very file mounted: another one in its place would not be seen by them.
    // They may have written to it, and any amount: what is of another size is not read.
    else if (before !== Buffer.byteLength(text) || (await readIfExists(path)) !== text) await overwrite(path, text);
    return path;
  }

  /** A new, empty file for the last words of a container's `attempt`; those of long gone attempts are removed. */
  async createTerminationLog(uid: PodUid, container: Container, attempt: number): Promise<string> {
    const dir = join(this.podDir(uid), 'containers', container.name);
    await makeFolder(dir, 0o750);
    if (attempt > 1) {
      const kept = new Set([terminationLogName(attempt - 1), terminationLogName(attempt - 2)]);
      const old = (await readdir(dir)).filter((name) => !kept.has(name));
      await Promise.all(old.map((name) => rm(join(dir, name), { force: true })));
    }
    const path = join(dir, terminationLogName(attempt));
    const file = await open(path, 'w', 0o666).catch((cause: unknown) => {
      throw writeError(path, cause);
    });
    try {
      // The container's user, whoever that is, must be able to write it.
      await file.chmod(0o666);
    } finally {
      await file.close();
    }
    return path;
  }

  /** The attempt after those that the container has logs of; 0 without any. What was rotated away counts too. */
  async nextAttempt(pod: Pod, container: string): Promise<number> {
    const names = await readIfThere(join(podLogDirectory(this.#o.podLogsDir, pod), container));
    // Others may put files there; a number that is no attempt must not become one.
    const attempts = names
      .map((name) => /^(\d+)\.log(\..*)?/.exec(name)?.[1])
      .filter((digits) => digits !== undefined && digits.length <= maxAttemptDigits);
    return Math.max(-1, ...attempts.map(Number)) + 1;
  }

  /**
   * The flat symbolic link that log shippers look for beside the pods' log folder:
   * `containers/<pod>_<namespace>_<container>-<id>.log`.
   */
  async linkLog(pod: Pod, container: string, id: string, attempt: number): Promise<void> {
    const { name, namespace = 'default' } = pod.metadata;
    const target = join(podLogDirectory(this.#o.podLogsDir, pod), container, `${attempt}.log`);
    const link = join(this.#linksDir(), `${name}_${namespace}_${container}-${id}.log`);
    await mkdir(this.#linksDir(), { recursive: true, mode: 0o755 });
    await symlink(target, link).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
  }

  /** Removes one container's log with what was put aside of it, and its link. */
  async removeLog(pod: Pod, container: string, id: string, attempt: number): Promise<void> {
    const { name, namespace = 'default' } = pod.metadata;
    const folder = join(podLogDirectory(this.#o.podLogsDir, pod), container);
    const isOfLog = (file: string) => file === `${attempt}.log` || file.startsWith(`${attempt}.log.`);
    const files = (await readIfThere(folder)).filter(isOfLog);
    await Promise.all(files.map((file) => rm(join(folder, file), { force: true })));
    await this.unlinkLogs(name, namespace, new Map([[id, container]]));
  }

  async unlinkLogs(name: string, namespace: string, ids: ReadonlyMap<string, string>): Promise<void> {
    const links = [...ids].map(([id, container]) =>
      join(this.#linksDir(), `${name}_${namespace}_${container}-${id}.log`),
    );
    await Promise.all(links.map((link) => rm(link, { force: true })));
  }

  /** Removes the logs of a pod that is gone for good. */
  async removeLogs(uid: PodUid, name: string, namespace: string): Promise<void> {
    await rm(join(this.#o.podLogsDir, `${namespace}_${name}_${uid}`), { recursive: true, force: true });
  }

  #linksDir(): string {
    return join(dirname(this.#o.podLogsDir), 'containers');
  }
}

const sizeIfExists = (path: string): Promise<number | undefined> =>
  stat(path).then(
    ({ size }) => size,
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    },
  );

const readIfThere = (folder: string): Promise<string[]> =>
  readdir(folder).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });

/** A restart a second fills nine digits in thirty years, and the CRI has 32 bits for it. */
const maxAttemptDigits = 9;

/** Writes over the old content and cuts off what is left of it: nobody sees an empty file. */
async function overwrite(path: string, text: string): Promise<void> {
  try {
    const file = await open(path, 'r+');
    try {
      const data = Buffer.from(text);
      for (let at = 0; at < data.length; ) at += (await file.write(data, at, data.length - at, at)).bytesWritten;
      await file.truncate(data.length);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw writeError(path, error);
  }
}

async function makeFolder(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode });
  } catch (error) {
    throw writeError(path, error);
  }
}

const terminationLogName = (attempt: number): string => attempt.toString(16).padStart(8, '0');
