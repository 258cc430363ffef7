import { dateLength, emptyLine, type LogLine, parseLogLine } from './parse-log-line.ts';

export type LogStream = 'All' | 'Stdout' | 'Stderr';

/** What of a container's log is wanted (PodLogOptions). */
export interface LogOptions {
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly stream: LogStream;
  /** Lines of the file, from its end; with `follow`, from where to begin. */
  readonly tailLines?: number;
  /** Bytes after which the answer ends. */
  readonly limitBytes?: number;
  /** Seconds since the epoch: lines before are left out. */
  readonly sinceSeconds?: number;
}

/** A log whose first line is none: nobody knows how to read the rest. The message is upstream's. */
export class UnknownLogFormat extends Error {
  constructor(line: string) {
    super(`failed to get parse function: unsupported log format: ${JSON.stringify(line)}`);
  }
}

const newline = 10;
const shownOfGarbage = 256;

/**
 * Turns bytes of a log file into what a reader sees, from buffer to buffer. It remembers what reaches from one
 * piece to the next: whether a container's line is in its middle, how much may still be written.
 */
export class LogRenderer {
  readonly #o: LogOptions;
  readonly #line: LogLine = emptyLine();
  readonly #since: number;
  #bytesLeft: number;
  #linesLeft: number;
  #known = false;
  /** Timestamps stand at the beginning of the container's lines, not of their parts. */
  #atLineStart = true;
  /** A line longer than any buffer is passed on in pieces: what to do with the rest of it. */
  #rest: 'none' | 'write' | 'skip' | 'garbage' = 'none';
  #written = 0;

  constructor(options: LogOptions) {
    this.#o = options;
    this.#since = options.sinceSeconds ?? Number.NEGATIVE_INFINITY;
    this.#bytesLeft = options.limitBytes ?? Number.POSITIVE_INFINITY;
    this.#linesLeft = options.follow ? Number.POSITIVE_INFINITY : (options.tailLines ?? Number.POSITIVE_INFINITY);
  }

  /** Whether all that was wanted has been written. */
  get done(): boolean {
    return this.#bytesLeft <= 0 || this.#linesLeft <= 0;
  }

  /** How long `out` has to be for `bytes` of a log: a timestamp without a fraction gets one. */
  static room(bytes: number): number {
    return 2 * bytes + 64;
  }

  /** The file is over: what follows begins with a line. */
  endFile(): void {
    this.#rest = 'none';
  }

  /**
   * Writes the whole lines of `input` to the beginning of `out`. Returns how much of the input is used up and how
   * much of `out` is written. An unfinished line at the end is left for the next time, unless `unfinished` says that
   * it is the log's last, or that the buffer has no room for more of it. Fails with UnknownLogFormat.
   */
  render(input: Buffer, out: Buffer, unfinished: 'leave' | 'last' | 'pass on'): { used: number; written: number } {
    let start = 0;
    this.#written = 0;
    while (start < input.length && !this.done) {
      const found = input.indexOf(newline, start);
      const whole = found >= 0;
      if (!whole && unfinished === 'leave' && this.#rest === 'none') break;
      const end = whole ? found + 1 : input.length;
      if (this.#rest !== 'none') this.#goOn(input, start, end, whole, out);
      else this.#begin(input, start, end, whole || unfinished === 'last', out);
      start = end;
    }
    return { used: start, written: this.#written };
  }

  #begin(input: Buffer, start: number, end: number, whole: boolean, out: Buffer): void {
    const line = this.#line;
    if (!parseLogLine(input, start, end, line)) {
      if (!this.#known)
        throw new UnknownLogFormat(input.toString('utf8', start, Math.min(end, start + shownOfGarbage)));
      if (!whole) this.#rest = 'garbage';
      return;
    }
    this.#known = true;
    const contentEnd = line.partial && input[end - 1] === newline ? end - 1 : end;
    const { stream, timestamps } = this.#o;
    const inTime = line.seconds + line.nanos * 1e-9 >= this.#since;
    const wanted = inTime && (stream === 'All' || (stream === 'Stderr') === line.stderr);
    if (wanted) {
      const stamped = timestamps && this.#atLineStart ? this.#stamp(input, start, out, this.#written) : this.#written;
      this.#take(stamped + input.copy(out, stamped, line.contentStart, contentEnd));
    }
    if (whole) this.#linesLeft--;
    else this.#rest = wanted ? 'write' : 'skip';
    this.#atLineStart = contentEnd <= line.contentStart || input[contentEnd - 1] === newline;
  }

  #goOn(input: Buffer, start: number, end: number, whole: boolean, out: Buffer): void {
    const rest = this.#rest;
    const contentEnd = whole && this.#line.partial ? end - 1 : end;
    if (rest === 'write') this.#take(this.#written + input.copy(out, this.#written, start, contentEnd));
    if (!whole) return;
    if (rest !== 'garbage') {
      this.#linesLeft--;
      this.#atLineStart = contentEnd === end;
    }
    this.#rest = 'none';
  }

  /** With nine digits behind the dot, whatever the runtime wrote. Returns where it ends. */
  #stamp(input: Buffer, start: number, out: Buffer, to: number): number {
    const { fractionStart, fractionEnd, zoneEnd } = this.#line;
    let at = to + input.copy(out, to, start, start + dateLength);
    out[at++] = 46;
    for (let i = 0; i < 9; i++) out[at++] = fractionStart + i < fractionEnd ? (input[fractionStart + i] as number) : 48;
    at += input.copy(out, at, fractionEnd, zoneEnd);
    out[at++] = 32;
    return at;
  }

  /** What has been put into `out` up to `end` is written, as far as the limit allows. */
  #take(end: number): void {
    const length = Math.min(end - this.#written, this.#bytesLeft);
    this.#bytesLeft -= length;
    this.#written += length;
  }
}
