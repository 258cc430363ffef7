import { readdirSync, readFileSync } from 'node:fs';

/** The first process found whose parent is `parent`. The kernel's list of children is not in every kernel. */
export function childOf(parent: number): number | undefined {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent) return Number(entry);
    } catch {
      // It has ended while we were looking.
    }
  }
  return undefined;
}
