import { readFileSync } from 'node:fs';
import { errnoOf } from '../lib/errors.ts';

/** One for all: given as a string, it would be made anew for each of thousands of files. */
const asText = { encoding: 'utf8', flag: 'r' } as const;

/**
 * A file of the kernel as text; '' when there is none, or what it tells of is gone. Synchronous, because the kernel
 * answers from memory in a few microseconds: a thread of the pool would take longer to ask than it has to wait.
 */
export function readText(path: string): string {
  try {
    return readFileSync(path, asText);
  } catch (error) {
    // ENODEV, ESRCH, EOPNOTSUPP, …: a process or a cgroup may end between any two reads.
    if (errnoOf(error) === undefined) throw error;
    return '';
  }
}
