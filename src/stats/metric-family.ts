import { prepared, type TextWriter } from './text-writer.ts';

/** How a value is written: divided by ten to the power of `decimals`. */
export const nanoseconds = 9;
export const microseconds = 6;
export const milliseconds = 3;
export const plain = 0;

/** A metric with its name and words, ready to be written: `# HELP`, `# TYPE`, then lines. */
export class MetricFamily {
  readonly name: string;
  readonly #head: Uint8Array;
  readonly #start: Uint8Array;

  constructor(name: string, type: 'counter' | 'gauge', help: string) {
    this.name = name;
    this.#head = prepared(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`);
    this.#start = prepared(name);
  }

  head(writer: TextWriter): void {
    writer.bytes(this.#head);
  }

  /** Starts a line; `labels` as they stand between braces, braces included, or empty. `writer.value` ends it. */
  start(writer: TextWriter, labels: Uint8Array): void {
    writer.bytes(this.#start);
    writer.bytes(labels);
  }
}
