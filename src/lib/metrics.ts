/**
 * Metrics in Prometheus' text format 0.0.4, and nothing else. What happens often is counted in plain arrays: an
 * update finds its slot by one look into a map and adds to a number. What is known anyway is not counted but read
 * when somebody asks (`collect`), and costs nothing until then.
 */

export type MetricType = 'counter' | 'gauge' | 'histogram';

export interface MetricDefinition {
  /** Complete, e.g. 'kubelet_started_pods_total'. */
  readonly name: string;
  readonly help: string;
  /** Names of the labels, in the order in which every call gives their values. */
  readonly labels?: readonly string[];
  /** How many combinations of label values are told apart; what comes later is counted as 'other'. Default 500. */
  readonly maxSeries?: number;
}

export interface HistogramDefinition extends MetricDefinition {
  /** Upper bounds, ascending, without +Inf. */
  readonly buckets: readonly number[];
}

export interface CollectedDefinition extends MetricDefinition {
  readonly type: Exclude<MetricType, 'histogram'>;
}

/** Says one value of a collected metric; undefined says nothing. */
export type Emit = (name: string, value: number | undefined, ...labels: readonly string[]) => void;
export type Collector = (emit: Emit) => void | Promise<void>;

/** What an HTTP answer with `Registry.text` is. */
export const metricsContentType = 'text/plain; version=0.0.4; charset=utf-8';

const usualMaxSeries = 500;
/** No Kubernetes name and no text of ours holds it. */
const separator = '\0';

/** Slots of numbers, one per combination of label values. A metric without labels has its only slot from the start. */
class Series {
  readonly definition: MetricDefinition;
  readonly names: readonly string[];
  readonly slots = new Map<string, number>();
  readonly values: number[] = [];
  readonly width: number;
  readonly #free: number[] = [];

  constructor(definition: MetricDefinition, width: number) {
    this.definition = definition;
    this.names = definition.labels ?? [];
    this.width = width;
    if (this.names.length === 0) this.slot([]);
  }

  /** Where the numbers of these labels begin in `values`; new ones are zero. */
  slot(labels: readonly string[]): number {
    if (labels.length !== this.names.length) throw new TypeError(`${this.definition.name}: ${this.names} expected`);
    const key = labels.length === 1 ? (labels[0] as string) : labels.join(separator);
    return this.slots.get(key) ?? this.#add(key);
  }

  remove(labels: readonly string[]): void {
    const key = labels.join(separator);
    const slot = this.slots.get(key);
    if (slot === undefined) return;
    this.slots.delete(key);
    this.values.fill(0, slot, slot + this.width);
    this.#free.push(slot);
  }

  #add(key: string): number {
    const { maxSeries = usualMaxSeries } = this.definition;
    if (this.slots.size >= maxSeries) {
      const other = this.names.map(() => 'other').join(separator);
      const known = this.slots.get(other);
      if (known !== undefined) return known;
      return this.#take(other);
    }
    return this.#take(key);
  }

  #take(key: string): number {
    const slot = this.#free.pop() ?? this.values.length;
    if (slot === this.values.length) for (let i = 0; i < this.width; i++) this.values.push(0);
    this.slots.set(key, slot);
    return slot;
  }
}

/** Only goes up. */
export class Counter {
  readonly #series: Series;

  constructor(series: Series) {
    this.#series = series;
  }

  inc(...labels: readonly string[]): void {
    this.add(1, ...labels);
  }

  /** `amount`: not below 0. */
  add(amount: number, ...labels: readonly string[]): void {
    const slot = this.#series.slot(labels);
    this.#series.values[slot] = (this.#series.values[slot] ?? 0) + amount;
  }

  /** Says that these labels exist, with nothing counted yet. */
  expect(...labels: readonly string[]): void {
    this.#series.slot(labels);
  }
}

export class Gauge {
  readonly #series: Series;

  constructor(series: Series) {
    this.#series = series;
  }

  set(value: number, ...labels: readonly string[]): void {
    this.#series.values[this.#series.slot(labels)] = value;
  }

  add(amount: number, ...labels: readonly string[]): void {
    const slot = this.#series.slot(labels);
    this.#series.values[slot] = (this.#series.values[slot] ?? 0) + amount;
  }
}

/** Counts values by size. A slot holds one number per bucket, one for what is above all, and the sum. */
export class Histogram {
  readonly #series: Series;
  readonly #buckets: readonly number[];

  constructor(series: Series, buckets: readonly number[]) {
    this.#series = series;
    this.#buckets = buckets;
  }

  observe(value: number, ...labels: readonly string[]): void {
    const buckets = this.#buckets;
    const { values } = this.#series;
    const slot = this.#series.slot(labels);
    let bucket = 0;
    while (bucket < buckets.length && value > (buckets[bucket] as number)) bucket++;
    values[slot + bucket] = (values[slot + bucket] ?? 0) + 1;
    const sum = slot + buckets.length + 1;
    values[sum] = (values[sum] ?? 0) + value;
  }

  remove(...labels: readonly string[]): void {
    this.#series.remove(labels);
  }
}

interface Family {
  readonly definition: MetricDefinition;
  readonly type: MetricType;
  /** The lines of its samples; undefined for what is collected. */
  readonly lines: (() => string) | undefined;
}

/** The metrics of one endpoint. */
export class Registry {
  readonly #families = new Map<string, Family>();
  readonly #collectors: Collector[] = [];
  readonly #onError: (error: unknown) => void;

  /** `onError` is told of a collector that failed: what it would have said is left out then. */
  constructor(onError: (error: unknown) => void = () => {}) {
    this.#onError = onError;
  }

  counter(definition: MetricDefinition): Counter {
    const series = new Series(definition, 1);
    this.#add({ definition, type: 'counter', lines: () => plainLines(series) });
    return new Counter(series);
  }

  gauge(definition: MetricDefinition): Gauge {
    const series = new Series(definition, 1);
    this.#add({ definition, type: 'gauge', lines: () => plainLines(series) });
    return new Gauge(series);
  }

  histogram(definition: HistogramDefinition): Histogram {
    const { buckets } = definition;
    const series = new Series(definition, buckets.length + 2);
    this.#add({ definition, type: 'histogram', lines: () => histogramLines(series, buckets) });
    return new Histogram(series, buckets);
  }

  /** Metrics that `read` finds out at each scrape, all in one go. */
  collect(definitions: readonly CollectedDefinition[], read: Collector): void {
    for (const definition of definitions) this.#add({ definition, type: definition.type, lines: undefined });
    this.#collectors.push(read);
  }

  /** What there may be to see, sorted by name: a metric with labels is seen when something has happened. */
  definitions(): readonly { readonly name: string; readonly type: MetricType; readonly labels: readonly string[] }[] {
    const all = [...this.#families].map(([name, { type, definition }]) => ({
      name,
      type,
      labels: definition.labels ?? [],
    }));
    return all.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Everything, sorted by name. A metric of which there is no sample is left out. */
  async text(): Promise<string> {
    const collected = await this.#collect();
    const names = [...this.#families.keys()].sort();
    let text = '';
    for (const name of names) {
      const family = this.#families.get(name) as Family;
      const lines = family.lines?.() ?? collected.get(name) ?? '';
      if (lines === '') continue;
      text += `# HELP ${name} ${escapeHelp(family.definition.help)}\n# TYPE ${name} ${family.type}\n${lines}`;
    }
    return text;
  }

  #add(family: Family): void {
    const { name } = family.definition;
    if (this.#families.has(name)) throw new TypeError(`metric ${name} is there already`);
    this.#families.set(name, family);
  }

  async #collect(): Promise<ReadonlyMap<string, string>> {
    const lines = new Map<string, string>();
    const emit: Emit = (name, value, ...labels) => {
      if (value === undefined) return;
      const names = this.#families.get(name)?.definition.labels ?? [];
      lines.set(name, (lines.get(name) ?? '') + sampleLine(name, names, labels, value));
    };
    await Promise.all(
      this.#collectors.map(async (read) => {
        try {
          await read(emit);
        } catch (error) {
          this.#onError(error);
        }
      }),
    );
    return lines;
  }
}

/** One sample as a line. */
export function sampleLine(name: string, labels: readonly string[], values: readonly string[], value: number): string {
  return `${name}${labelText(labels, values)} ${numberText(value)}\n`;
}

/** `start`, then each `factor` times the one before. */
export function exponentialBuckets(start: number, factor: number, count: number): readonly number[] {
  const buckets: number[] = [];
  for (let bound = start; buckets.length < count; bound *= factor) buckets.push(bound);
  return buckets;
}

/** What Prometheus' own libraries use for seconds. */
export const defaultBuckets: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

function plainLines({ definition, names, slots, values }: Series): string {
  let lines = '';
  for (const [key, slot] of slots) lines += sampleLine(definition.name, names, labelsOf(key), values[slot] ?? 0);
  return lines;
}

function histogramLines({ definition, names, slots, values }: Series, buckets: readonly number[]): string {
  const { name } = definition;
  let lines = '';
  for (const [key, slot] of slots) {
    const labels = names.length === 0 ? [] : labelsOf(key);
    const open = names.map((label, i) => `${label}="${escapeLabel(labels[i] ?? '')}",`).join('');
    let count = 0;
    for (let i = 0; i <= buckets.length; i++) {
      count += values[slot + i] ?? 0;
      lines += `${name}_bucket{${open}le="${numberText(buckets[i] ?? Number.POSITIVE_INFINITY)}"} ${count}\n`;
    }
    const closed = labelText(names, labels);
    lines += `${name}_sum${closed} ${numberText(values[slot + buckets.length + 1] ?? 0)}\n`;
    lines += `${name}_count${closed} ${count}\n`;
  }
  return lines;
}

const labelsOf = (key: string): readonly string[] => key.split(separator);

function labelText(names: readonly string[], values: readonly string[]): string {
  if (names.length === 0) return '';
  return `{${names.map((name, i) => `${name}="${escapeLabel(values[i] ?? '')}"`).join(',')}}`;
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  if (Number.isNaN(value)) return 'NaN';
  return value > 0 ? '+Inf' : '-Inf';
}

const escapeHelp = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');

function escapeLabel(text: string): string {
  if (!/[\\\n"]/.test(text)) return text;
  return escapeHelp(text).replaceAll('"', '\\"');
}
