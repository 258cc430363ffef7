import type { StatsFs } from 'node:fs';
import { statfs } from 'node:fs/promises';
import type { MountInfo } from '../host/mount-table.ts';
import { readMountInfo } from '../host/mount-table.ts';
import type { Clock } from '../lib/clock.ts';
import { type DiskStats, parseDiskStats } from './parse-proc.ts';
import { readText } from './read-text.ts';

/** A file system as a whole, bytes and inodes. */
export interface FilesystemStats {
  readonly at: number;
  readonly capacity: number;
  /** What those who are not root may still take. */
  readonly available: number;
  readonly used: number;
  readonly inodes: number;
  readonly inodesFree: number;
}

/** Fails with the system's error when there is no such path. */
export async function readFilesystemStats(path: string, now: number): Promise<FilesystemStats> {
  return computeFilesystemStats(await statfs(path), now);
}

/** A little less than 2^63, the next number that there is: readers in Go refuse a whole summary for one figure above. */
const most = 2 ** 63 - 1024;

/** File systems that are not on disks may tell anything, such as more that is free than there is: nothing is negative. */
export function computeFilesystemStats(
  fs: Pick<StatsFs, 'bsize' | 'blocks' | 'bfree' | 'bavail' | 'files' | 'ffree'>,
  now: number,
): FilesystemStats {
  const blocks = Math.min(fs.blocks, most / Math.max(fs.bsize, 1));
  const free = Math.min(fs.bfree, blocks);
  const inodes = Math.min(fs.files, most);
  return {
    at: now,
    capacity: blocks * fs.bsize,
    available: Math.min(fs.bavail, free) * fs.bsize,
    used: (blocks - free) * fs.bsize,
    inodes,
    inodesFree: Math.min(fs.ffree, inodes),
  };
}

/** A file system of the host with what its disk has done. */
export interface HostFilesystem extends FilesystemStats {
  /** '/dev/vda1', or where it is mounted for one in memory. */
  readonly device: string;
  readonly disk: DiskStats | undefined;
}

const diskTypes = new Set(['btrfs', 'ext2', 'ext3', 'ext4', 'xfs', 'zfs']);

/** What is mounted changes rarely, and with every pod the table grows. */
const freshMs = 10_000;

export interface HostDisks {
  readonly filesystems: readonly HostFilesystem[];
  /** '/dev/sda' of '8:0'. */
  readonly deviceName: (number: string) => string;
}

/**
 * The host's file systems: each disk once, and what is in memory by its mount point. Those below `without` are pods' and
 * containers' own: they are told of with their pods. File systems of the network are left out, since one that does not
 * answer would hold up the scrape.
 */
export class DiskMeter {
  readonly #without: readonly string[];
  readonly #clock: Clock;
  #known: { readonly disks: HostDisks; readonly at: number } | undefined;

  constructor(without: readonly string[], clock: Clock) {
    this.#without = without;
    this.#clock = clock;
  }

  /** At most ten seconds old. */
  async read(): Promise<HostDisks> {
    const at = this.#clock.monotonic();
    if (this.#known && at - this.#known.at < freshMs) return this.#known.disks;
    const disks = await readHostDisks(this.#without, this.#clock.now());
    this.#known = { disks, at };
    return disks;
  }
}

async function readHostDisks(without: readonly string[], now: number): Promise<HostDisks> {
  const mounts = chooseFilesystems(await readMountInfo(), without);
  const disks = parseDiskStats(readText('/proc/diskstats'));
  const all = await Promise.all(
    mounts.map(async ({ device, number, target }) => {
      // One that was unmounted since the table was read has nothing to tell.
      const stats = await readFilesystemStats(target, now).catch(() => undefined);
      return stats && { device, disk: disks.get(number), ...stats };
    }),
  );
  return {
    filesystems: all.filter((fs) => fs !== undefined),
    deviceName: (number) => {
      const name = disks.get(number)?.name;
      return name === undefined ? number : `/dev/${name}`;
    },
  };
}

export interface ChosenFilesystem {
  readonly device: string;
  /** The kernel's number of it, '8:1'. */
  readonly number: string;
  readonly target: string;
}

/** Which of the mounts stand for file systems of the host. */
export function chooseFilesystems(
  mounts: readonly MountInfo[],
  without: readonly string[],
): readonly ChosenFilesystem[] {
  const chosen = new Map<string, ChosenFilesystem>();
  const isOthers = (target: string) => without.some((path) => target.startsWith(`${path}/`));
  for (const { type, source, target, device: number } of mounts) {
    if (isOthers(target)) continue;
    if (diskTypes.has(type)) {
      const known = [...chosen.values()].some((c) => c.number === number);
      if (!known) chosen.set(source, { device: source, number, target });
    } else if (type === 'tmpfs') chosen.set(target, { device: target, number, target });
  }
  return [...chosen.values()];
}
