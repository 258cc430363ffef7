import type { MachineFacts } from '../host/machine.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { CadvisorMetrics, writeScrapeErrors } from '../stats/cadvisor-metrics.ts';
import type { DiskMeter } from '../stats/filesystems.ts';
import { generateCpuAndMemorySummary, generateSummary } from '../stats/generate-summary.ts';
import type { CpuTopology } from '../stats/parse-proc.ts';
import { writeResourceMetrics, writeResourceScrapeError } from '../stats/resource-metrics.ts';
import type { StatsProvider } from '../stats/stats-provider.ts';
import { answerJson } from './answer.ts';
import { answerMetrics } from './answer-metrics.ts';
import type { Endpoint } from './endpoint.ts';

export interface StatsEndpointsInput {
  readonly provider: Pick<StatsProvider, 'snapshot' | 'storage'>;
  readonly disks: Pick<DiskMeter, 'read'>;
  readonly nodeName: string;
  readonly facts: MachineFacts;
  readonly topology: CpuTopology;
  readonly log: Log;
}

/** `/stats/summary`, `/metrics/resource` and `/metrics/cadvisor`. A scrape that fails says so in the metric made for it. */
export function statsEndpoints(input: StatsEndpointsInput): Endpoint[] {
  const { provider, disks, nodeName, facts, topology, log } = input;
  const cadvisor = new CadvisorMetrics();
  const failed = (error: unknown) => log.warn(errorFields(error), 'cannot read what the node uses');
  return [
    {
      path: '/stats/summary',
      methods: ['GET'],
      handle: async ({ url }, response) => {
        if (url.searchParams.get('only_cpu_and_memory') === 'true') {
          return answerJson(response, JSON.stringify(generateCpuAndMemorySummary(await provider.snapshot(), nodeName)));
        }
        const [snapshot, storage] = await Promise.all([provider.snapshot(), provider.storage()]);
        answerJson(response, JSON.stringify(generateSummary(snapshot, storage, { nodeName, maxPids: facts.maxPids })));
      },
    },
    {
      path: '/metrics/resource',
      methods: ['GET'],
      handle: async (request, response) => {
        const snapshot = await provider.snapshot().catch(failed);
        await answerMetrics(request, response, async (writer) => {
          if (snapshot) await writeResourceMetrics(writer, snapshot);
          else writeResourceScrapeError(writer, 1);
        });
      },
    },
    {
      path: '/metrics/cadvisor',
      methods: ['GET'],
      handle: async (request, response) => {
        const read = await Promise.all([provider.snapshot(), disks.read()]).catch(failed);
        await answerMetrics(request, response, async (writer) => {
          if (read) await cadvisor.write(writer, { snapshot: read[0], disks: read[1], facts, topology });
          else writeScrapeErrors(writer, 1);
        });
      },
    },
  ];
}
