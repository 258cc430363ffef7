/**
 * One line of a container's log as the runtime writes it (CRI): `2016-10-06T00:17:09.669794202Z stdout F words`.
 * A tag that begins with P says that the container's line goes on in the next one. Offsets are into the buffer it
 * was read from; the object is made once and filled for every line, since there are a million of them a second.
 */
export interface LogLine {
  /** Seconds since the epoch, and the nanoseconds after them. */
  seconds: number;
  nanos: number;
  /** Where the digits behind the second's dot are; empty when there is none. The date stands before, the zone after. */
  fractionStart: number;
  fractionEnd: number;
  zoneEnd: number;
  stderr: boolean;
  partial: boolean;
  contentStart: number;
}

export const emptyLine = (): LogLine => ({
  seconds: 0,
  nanos: 0,
  fractionStart: 0,
  fractionEnd: 0,
  zoneEnd: 0,
  stderr: false,
  partial: false,
  contentStart: 0,
});

/** Length of `2016-10-06T00:17:09`. */
export const dateLength = 19;

const [space, dot, plus, minus, colon, letterT, letterZ, letterP] = [32, 46, 43, 45, 58, 84, 90, 80];
const stdout = Buffer.from('stdout ');
const stderr = Buffer.from('stderr ');

/**
 * Reads the head of the line that begins at `start`; false when it is none, and `into` is then of no use. `end` is
 * where the line ends, behind its newline.
 */
export function parseLogLine(buffer: Buffer, start: number, end: number, into: LogLine): boolean {
  if (!parseTimestamp(buffer, start, end, into)) return false;
  let at = into.zoneEnd;
  if (buffer[at] !== space) return false;
  at++;
  if (matches(buffer, at, end, stdout)) into.stderr = false;
  else if (matches(buffer, at, end, stderr)) into.stderr = true;
  else return false;
  at += stdout.length;
  const tag = at;
  while (at < end && buffer[at] !== space) at++;
  if (at === end) return false;
  // More tags may follow the first one behind a colon.
  into.partial = buffer[tag] === letterP && (at === tag + 1 || buffer[tag + 1] === colon);
  into.contentStart = at + 1;
  return true;
}

/** RFC 3339 with a fraction of up to nine digits, or without; UTC or any zone. */
export function parseTimestamp(buffer: Buffer, start: number, end: number, into: LogLine): boolean {
  if (end - start <= dateLength) return false;
  if (
    buffer[start + 4] !== minus ||
    buffer[start + 7] !== minus ||
    buffer[start + 10] !== letterT ||
    buffer[start + 13] !== colon ||
    buffer[start + 16] !== colon
  )
    return false;
  const year = digits(buffer, start, 4);
  const month = digits(buffer, start + 5, 2);
  const day = digits(buffer, start + 8, 2);
  const hour = digits(buffer, start + 11, 2);
  const minute = digits(buffer, start + 14, 2);
  const second = digits(buffer, start + 17, 2);
  if (!(year >= 0 && month >= 1 && month <= 12 && day >= 1 && day <= daysIn(year, month))) return false;
  if (!(hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second < 60)) return false;
  let at = start + dateLength;
  into.fractionStart = at;
  into.nanos = 0;
  if (buffer[at] === dot) {
    into.fractionStart = ++at;
    let unit = 100_000_000;
    for (; at < end && isDigit(buffer[at]); at++) {
      into.nanos += ((buffer[at] as number) - 48) * unit;
      unit /= 10;
    }
    const length = at - into.fractionStart;
    if (length === 0 || length > 9) return false;
  }
  into.fractionEnd = at;
  let offset = 0;
  if (at < end && buffer[at] === letterZ) at++;
  else if (end - at >= 6 && (buffer[at] === plus || buffer[at] === minus) && buffer[at + 3] === colon) {
    const hours = digits(buffer, at + 1, 2);
    const minutes = digits(buffer, at + 4, 2);
    if (!(hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60)) return false;
    offset = (hours * 3600 + minutes * 60) * (buffer[at] === minus ? -1 : 1);
    at += 6;
  } else return false;
  into.zoneEnd = at;
  into.seconds = daysSinceEpoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
  return true;
}

/** The number, or NaN where another character stands. */
function digits(buffer: Buffer, at: number, count: number): number {
  let value = 0;
  for (let i = at; i < at + count; i++) {
    const byte = buffer[i];
    if (!isDigit(byte)) return Number.NaN;
    value = value * 10 + (byte as number) - 48;
  }
  return value;
}

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 48 && byte <= 57;

function matches(buffer: Buffer, at: number, end: number, word: Buffer): boolean {
  if (end - at < word.length) return false;
  for (let i = 0; i < word.length; i++) if (buffer[at + i] !== word[i]) return false;
  return true;
}

const monthLengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

function daysIn(year: number, month: number): number {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return month === 2 && leap ? 29 : (monthLengths[month - 1] ?? 0);
}

/** Lines of one day follow each other: the calendar is asked once a day. */
let known = { year: 0, month: 0, day: 0, days: 0 };

function daysSinceEpoch(year: number, month: number, day: number): number {
  if (known.day !== day || known.month !== month || known.year !== year) {
    const date = new Date(0);
    known = { year, month, day, days: date.setUTCFullYear(year, month - 1, day) / 86_400_000 };
  }
  return known.days;
}
