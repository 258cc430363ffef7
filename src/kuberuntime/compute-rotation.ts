/** What stands in a container's log folder beside the file the runtime writes, for one of its runs. */
export interface RotatedFile {
  readonly name: string;
  readonly bytes: number;
}

export interface RotationLimits {
  /** Bytes at which a file is put aside. */
  readonly maxSize: number;
  /** Files of one run, the one that is written included. */
  readonly maxFiles: number;
}

/** What to do with the files that were put aside, oldest first. */
export interface RotationPlan {
  readonly remove: readonly string[];
  readonly compress: readonly string[];
}

const compressed = '.gz';
const unfinished = '.tmp';

/**
 * What remains of `rotated` once a new file is being written beside them: at most `maxFiles` in all, and no more
 * bytes than so many full ones, so that a container which writes faster than anybody looks cannot have more of the
 * disk. The latest stays as it is: log shippers have yet to finish it.
 */
export function computeRotation(rotated: readonly RotatedFile[], limits: RotationLimits): RotationPlan {
  const names = new Set(rotated.map((f) => f.name));
  const isLeftover = ({ name }: RotatedFile) => name.endsWith(unfinished) || names.has(name + compressed);
  const kept = rotated.filter((f) => !isLeftover(f)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const room = limits.maxSize * (limits.maxFiles - 1);
  const excess: RotatedFile[] = [];
  let bytes = kept.reduce((sum, f) => sum + f.bytes, 0);
  while (kept.length > limits.maxFiles - 1 || (bytes > room && kept.length > 0)) {
    const oldest = kept.shift() as RotatedFile;
    bytes -= oldest.bytes;
    excess.push(oldest);
  }
  return {
    remove: [...rotated.filter(isLeftover), ...excess].map((f) => f.name),
    compress: kept
      .slice(0, -1)
      .map((f) => f.name)
      .filter((name) => !name.endsWith(compressed)),
  };
}

/**
 * What a file is called that is put aside at `now` (milliseconds since the epoch; local time): `0.log.20060102-150405`.
 * A second that is taken is passed over: names tell the order, and nothing is written over.
 */
export function rotatedName(log: string, now: number, taken: ReadonlySet<string>): string {
  for (let at = now; ; at += 1000) {
    const d = new Date(at);
    const two = (value: number) => String(value).padStart(2, '0');
    const day = `${d.getFullYear()}${two(d.getMonth() + 1)}${two(d.getDate())}`;
    const name = `${log}.${day}-${two(d.getHours())}${two(d.getMinutes())}${two(d.getSeconds())}`;
    if (!taken.has(name) && !taken.has(name + compressed)) return name;
  }
}

export interface Growth {
  readonly bytes: number;
  /** Milliseconds between the two looks. */
  readonly elapsedMs: number;
}

/** A log that grows is looked at again after at least this long, and for the first time after the second. */
const soonestMs = 200;
export const firstLookMs = 250;

/**
 * When to look at a log again that has `size` bytes: in half the time in which it would be full if it went on so,
 * within `intervalMs` in any case. Undefined when it did not grow: its next growth tells itself.
 */
export function nextLookMs(size: number, growth: Growth, maxSize: number, intervalMs: number): number | undefined {
  if (growth.bytes <= 0) return undefined;
  const perMs = growth.bytes / Math.max(growth.elapsedMs, 1);
  const untilFull = (maxSize - size) / perMs;
  return Math.min(Math.max(untilFull / 2, soonestMs), Math.max(intervalMs, soonestMs));
}
