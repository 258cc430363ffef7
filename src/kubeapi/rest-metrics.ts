import type { Counter, Histogram, Registry } from '../lib/metrics.ts';

/** What the requests to the API server are counted by. */
export interface RestMetrics {
  readonly requests: Counter;
  readonly duration: Histogram;
  readonly requestBytes: Histogram;
  readonly responseBytes: Histogram;
  readonly limiterDuration: Histogram;
}

const secondBuckets = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];
const byteBuckets = [64, 256, 512, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];
const labels = ['verb', 'host'];

export function restMetrics(registry: Registry): RestMetrics {
  const histogram = (name: string, help: string, buckets: readonly number[]) =>
    registry.histogram({ name: `rest_client_${name}`, help, buckets, labels });
  return {
    requests: registry.counter({
      name: 'rest_client_requests_total',
      help: 'Requests to the API server by what became of them.',
      labels: ['code', 'method', 'host'],
    }),
    duration: histogram('request_duration_seconds', 'How long the API server took to answer.', secondBuckets),
    requestBytes: histogram('request_size_bytes', 'Size of requests to the API server.', byteBuckets),
    responseBytes: histogram('response_size_bytes', "Size of the API server's answers.", byteBuckets),
    limiterDuration: histogram(
      'rate_limiter_duration_seconds',
      'How long requests waited for their turn, by kubeAPIQPS.',
      secondBuckets,
    ),
  };
}

/** A request without an answer has this for a code, as in client-go. */
export const noAnswer = '<error>';
