/** Where filled buffers go; resolves when the bytes are out and the buffer may be written over. */
export type Sink = (chunk: Uint8Array) => Promise<void>;

const bufferBytes = 256 * 1024;
/** No line is longer: names and labels of Kubernetes are bounded, and `bytes` checks the rest. */
const reserveBytes = 16 * 1024;
const smallDigits = 9;
const smallBound = 10 ** smallDigits;
const [zero, minus, point, newline, space] = [48, 45, 46, 10, 32];

/** A few buffers are kept for the next scrape. */
const spare: Buffer[] = [];
const mostSpare = 2;

/**
 * Writes the text that Prometheus reads into one buffer that is sent whenever it is full. A full node's answer is some six
 * megabytes: as strings it would be garbage with every scrape.
 */
export class TextWriter {
  readonly #sink: Sink;
  #buffer: Buffer;
  #at = 0;
  readonly #moments = new Map<number, Uint8Array>();

  constructor(sink: Sink) {
    this.#sink = sink;
    this.#buffer = spare.pop() ?? Buffer.allocUnsafeSlow(bufferBytes);
  }

  /** Whether `flush` is due: to be asked after every line. */
  get isFull(): boolean {
    return this.#at > bufferBytes - reserveBytes;
  }

  async flush(): Promise<void> {
    if (this.#at === 0) return;
    await this.#sink(this.#buffer.subarray(0, this.#at));
    this.#at = 0;
  }

  /** Sends the rest and gives the buffer back: the writer is done. */
  async end(): Promise<void> {
    await this.flush();
    if (spare.length < mostSpare) spare.push(this.#buffer);
    this.#buffer = Buffer.alloc(0);
  }

  bytes(bytes: Uint8Array): void {
    if (bytes.length > bufferBytes - this.#at) throw new RangeError(`a line of ${bytes.length} bytes`);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** Short texts that are not worth preparing. */
  text(text: string): void {
    this.#at += this.#buffer.write(text, this.#at);
  }

  /** The end of a line: the value, divided by ten to the power of `decimals`, and the time of it in milliseconds, if any. */
  value(value: number, decimals: number, at: number | undefined): void {
    this.#buffer[this.#at++] = space;
    this.#number(value, decimals);
    if (at === undefined) this.#buffer[this.#at++] = newline;
    else this.bytes(this.#moment(at));
  }

  /** The same few moments end all lines of a scrape. */
  #moment(at: number): Uint8Array {
    let bytes = this.#moments.get(at);
    if (!bytes) {
      bytes = prepared(` ${at}\n`);
      this.#moments.set(at, bytes);
    }
    return bytes;
  }

  #number(value: number, decimals: number): void {
    if (!Number.isSafeInteger(value)) {
      this.text(formatFloat(value / 10 ** decimals));
      return;
    }
    let rest = value;
    if (rest < 0) {
      this.#buffer[this.#at++] = minus;
      rest = -rest;
    }
    if (decimals === 0) {
      this.#digits(rest, 1);
      return;
    }
    const unit = 10 ** decimals;
    const whole = Math.floor(rest / unit);
    this.#digits(whole, 1);
    let fraction = rest - whole * unit;
    if (fraction === 0) return;
    let digits = decimals;
    while (fraction % 10 === 0) {
      fraction /= 10;
      digits--;
    }
    this.#buffer[this.#at++] = point;
    this.#digits(fraction, digits);
  }

  /** A whole number with at least so many digits. */
  #digits(value: number, least: number): void {
    if (value < smallBound) {
      this.#smallDigits(value | 0, least);
      return;
    }
    // In two halves of small integers, which the engine counts with without leaving anything behind.
    const high = Math.floor(value / smallBound);
    this.#digits(high, 1);
    this.#smallDigits((value - high * smallBound) | 0, smallDigits);
  }

  #smallDigits(value: number, least: number): void {
    let digits = 1;
    for (let bound = 10; bound <= value; bound *= 10) digits++;
    if (digits < least) digits = least;
    let rest = value;
    for (let index = this.#at + digits - 1; index >= this.#at; index--) {
      const next = (rest / 10) | 0;
      this.#buffer[index] = zero + (rest - next * 10);
      rest = next;
    }
    this.#at += digits;
  }
}

function formatFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value);
}

const encoder = new TextEncoder();
export const prepared = (text: string): Uint8Array => encoder.encode(text);

/** Labels as they stand between braces; the values may be anything. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    .join(',');
}

/** A label's value as it stands between quotes. */
export function escapeLabel(value: string): string {
  if (!/[\\"\n]/.test(value)) return value;
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
