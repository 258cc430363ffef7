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
 * bytes than so many full ones, however fast the container writes. The latest stays as it is, whatever its size: log
 * shippers and readers of the tail have yet to finish it.
 */
export function computeRotation(rotated: readonly RotatedFile[], limits: RotationLimits): RotationPlan {
  const names = new Set(rotated.map((f) => f.name));
  const isLeftover = ({ name }: RotatedFile) => name.endsWith(unfinished) || names.has(name + compressed);
  const kept = rotated.filter((f) => !isLeftover(f)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const room = limits.maxSize * (limits.maxFiles - 1);
  const excess: RotatedFile[] = [];
  let bytes = kept.reduce((sum, f) => sum + f.bytes, 0);
  while (kept.length > limits.maxFiles - 1 || (bytes > room && kept.length > 1)) {
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
 * Names tell the order, and nothing is written over: a second that is over for the names that are `taken` is passed over,
 * also where the clock was set back.
 */
export function rotatedName(log: string, now: number, taken: readonly string[]): string {
  const stamps = taken.map((name) => stampOf(name, log)).filter((stamp) => stamp !== undefined);
  const latest = stamps.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  let at = Math.floor(now / 1000) * 1000;
  if (at <= latest) at = latest + 1000;
  // In autumn an hour has its names twice.
  while (taken.some((name) => name === nameAt(log, at) || name === nameAt(log, at) + compressed)) at += 1000;
  return nameAt(log, at);
}

function nameAt(log: string, ms: number): string {
  const d = new Date(ms);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${d.getFullYear()}${two(d.getMonth() + 1)}${two(d.getDate())}`;
  return `${log}.${day}-${two(d.getHours())}${two(d.getMinutes())}${two(d.getSeconds())}`;
}

/** When a file was put aside according to its name, milliseconds since the epoch. */
function stampOf(name: string, log: string): number | undefined {
  if (!name.startsWith(`${log}.`)) return undefined;
  const parts = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)/
    .exec(name.slice(log.length + 1))
    ?.slice(1)
    .map(Number);
  if (!parts) return undefined;
  const [year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0] = parts;
  return new Date(year, month - 1, day, hour, minute, second).getTime();
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
