import { MetricFamily, milliseconds, nanoseconds, plain } from './metric-family.ts';
import type { CgroupSample, PodSample, Snapshot } from './snapshot.ts';
import { formatLabels, prepared, type TextWriter } from './text-writer.ts';

/** `/metrics/resource`: what metrics-server reads for `kubectl top` and autoscaling. */

interface Metric {
  readonly family: MetricFamily;
  /** undefined: no line. */
  readonly value: (sample: CgroupSample) => number | undefined;
  readonly decimals: number;
}

const usage = (of: 'node' | 'pod' | 'container'): readonly Metric[] => [
  metric(
    `${of}_cpu_usage_seconds_total`,
    'counter',
    `CPU time that the ${of} has used.`,
    (s) => s.stats.cpu.usage,
    nanoseconds,
  ),
  metric(`${of}_memory_working_set_bytes`, 'gauge', `Working set of the ${of}.`, (s) => s.stats.memory.workingSet),
  metric(`${of}_swap_usage_bytes`, 'gauge', `Swap that the ${of} uses.`, (s) => s.stats.memory.swap),
];

const nodeMetrics = usage('node');
const podMetrics = usage('pod');
const containerMetrics = [
  ...usage('container'),
  metric('container_swap_limit_bytes', 'gauge', 'Swap that the container may use.', ({ stats: { spec } }) =>
    Number.isFinite(spec.swapLimit) ? spec.swapLimit : undefined,
  ),
];
const startTime = new MetricFamily(
  'container_start_time_seconds',
  'gauge',
  'When the container began, in seconds since 1970.',
);
const scrapeError = new MetricFamily('resource_scrape_error', 'gauge', '1 if the cgroups could not be read.');

function metric(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  value: Metric['value'],
  decimals = plain,
): Metric {
  return { family: new MetricFamily(name, type, help), value, decimals };
}

interface Entry {
  readonly labels: Uint8Array;
  readonly sample: CgroupSample;
  readonly createdAt: number;
}

const noLabels = new Uint8Array();

export async function writeResourceMetrics(writer: TextWriter, { node, pods }: Snapshot): Promise<void> {
  const running = pods.filter((p) => p.containers.length > 0);
  const containers = running.flatMap(containerEntries);
  await writeAll(writer, containerMetrics, containers);
  startTime.head(writer);
  for (const { labels, createdAt } of containers) {
    startTime.start(writer, labels);
    writer.value(createdAt, milliseconds, undefined);
    if (writer.isFull) await writer.flush();
  }
  await writeAll(writer, nodeMetrics, [{ labels: noLabels, sample: node, createdAt: node.startedAt }]);
  await writeAll(writer, podMetrics, running.flatMap(podEntry));
  writeResourceScrapeError(writer, 0);
}

/** The last lines; alone, with 1, when there was nothing else to write. */
export function writeResourceScrapeError(writer: TextWriter, value: 0 | 1): void {
  scrapeError.head(writer);
  scrapeError.start(writer, noLabels);
  writer.value(value, 0, undefined);
}

async function writeAll(writer: TextWriter, metrics: readonly Metric[], entries: readonly Entry[]): Promise<void> {
  for (const { family, value: pick, decimals } of metrics) {
    let begun = false;
    for (const { labels, sample } of entries) {
      const value = pick(sample);
      if (value === undefined) continue;
      if (!begun) family.head(writer);
      begun = true;
      family.start(writer, labels);
      writer.value(value, decimals, sample.stats.at);
      if (writer.isFull) await writer.flush();
    }
  }
}

function containerEntries({ observed: { name: pod, namespace }, containers }: PodSample): Entry[] {
  return containers.map(({ observed, cgroup }) => ({
    labels: prepared(`{${formatLabels({ container: observed.name, namespace, pod })}}`),
    sample: cgroup,
    createdAt: observed.createdAt,
  }));
}

function podEntry({ observed: { name: pod, namespace, sandboxes }, cgroup }: PodSample): Entry[] {
  if (!cgroup) return [];
  const labels = prepared(`{${formatLabels({ namespace, pod })}}`);
  return [{ labels, sample: cgroup, createdAt: sandboxes[0]?.createdAt ?? 0 }];
}
