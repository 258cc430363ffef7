import { metricsContentType, type Registry } from '../lib/metrics.ts';
import { answerText } from './answer.ts';
import type { Endpoint } from './endpoint.ts';

/** One endpoint per registry, by its path. */
export function metricsEndpoints(registries: Readonly<Record<string, Registry>>): Endpoint[] {
  return Object.entries(registries).map(([path, registry]) => ({
    path,
    methods: ['GET'],
    handle: async (_request, response) =>
      answerText(response, 200, await registry.text(), { 'content-type': metricsContentType }),
  }));
}
