import { readdirSync, readlinkSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseOpenFilesLimit } from './parse-proc.ts';
import { readText } from './read-text.ts';

/** What the processes of one cgroup hold. */
export interface ProcessStats {
  readonly processes: number;
  readonly fileDescriptors: number;
  readonly sockets: number;
  /** Of the first process; undefined when not known. */
  readonly openFilesLimit: number | undefined;
}

/** Descriptors looked at before others have their turn: about a millisecond. */
const descriptorsPerTurn = 256;

/** Counts from /proc; a process that ends meanwhile counts with what was seen of it. */
export async function readProcesses(pids: readonly number[]): Promise<ProcessStats> {
  const [first] = pids;
  let fileDescriptors = 0;
  let sockets = 0;
  let sinceTurn = 0;
  for (const pid of pids) {
    const folder = `/proc/${pid}/fd`;
    for (const descriptor of namesIn(folder)) {
      fileDescriptors++;
      if (linkTarget(`${folder}/${descriptor}`).startsWith('socket:')) sockets++;
      if (++sinceTurn % descriptorsPerTurn === 0) await nextTurn();
    }
  }
  const limits = first === undefined ? '' : readText(`/proc/${first}/limits`);
  return { processes: pids.length, fileDescriptors, sockets, openFilesLimit: parseOpenFilesLimit(limits) };
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkTarget(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
