import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { Registry } from '../lib/metrics.ts';
import { sampleOf } from '../testing/sample-of.ts';
import { HttpMetrics } from './http-metrics.ts';

const paths = [
  '/metrics',
  '/metrics/cadvisor',
  '/exec/{namespace}/{pod}/{container}',
  '/portForward/{namespace}/{pod}',
];

function setUp() {
  const clock = new FakeClock();
  const registry = new Registry();
  const metrics = new HttpMetrics(registry, paths, clock);
  const begin = (method: string, url: string, headers: Record<string, string> = {}) =>
    metrics.begin({ method, url, headers } as unknown as IncomingMessage);
  return { clock, registry, begin };
}

test('requests are told apart by what they are for, and by nothing that a stranger can make up', async () => {
  const table: Record<string, [string, string, string]> = {
    'a scrape': ['GET', '/metrics?x=y', 'method="GET",path="metrics",server_type="readwrite",long_running="false"'],
    'another one': [
      ...(['GET', '/metrics/cadvisor'] as const),
      'method="GET",path="metrics/cadvisor",server_type="readwrite",long_running="false"',
    ],
    'a session, whose pod is not told': [
      ...(['POST', '/exec/ns/pod/c?command=ls'] as const),
      'method="POST",path="exec",server_type="readwrite",long_running="true"',
    ],
    'a path that is not served': [
      ...(['GET', '/wp-login.php'] as const),
      'method="GET",path="other",server_type="readwrite",long_running="false"',
    ],
    'a method that nobody has': [
      ...(['BREW', '/metrics/coffee'] as const),
      'method="other",path="other",server_type="readwrite",long_running="false"',
    ],
  };
  for (const [sentence, [method, url, labels]] of Object.entries(table)) {
    const { registry, begin } = setUp();
    begin(method, url);
    assert.equal(sampleOf(await registry.text(), `kubelet_http_requests_total{${labels}}`), 1, sentence);
  }
});

test('a request is under way until it is over', async () => {
  const { clock, registry, begin } = setUp();
  const labels = '{method="GET",path="metrics",server_type="readwrite",long_running="false"}';
  const counted = begin('GET', '/metrics');
  await clock.advance(250);
  assert.equal(sampleOf(await registry.text(), `kubelet_http_inflight_requests${labels}`), 1);
  counted[Symbol.dispose]();
  const text = await registry.text();
  assert.equal(sampleOf(text, `kubelet_http_inflight_requests${labels}`), 0);
  assert.equal(sampleOf(text, `kubelet_http_requests_duration_seconds_sum${labels}`), 0.25);
});

test('sessions over WebSocket', async () => {
  const { registry, begin } = setUp();
  begin('GET', '/exec/ns/pod/c', { upgrade: 'websocket' });
  begin('GET', '/portForward/ns/pod', { upgrade: 'WebSocket' });
  begin('POST', '/exec/ns/pod/c', { upgrade: 'SPDY/3.1' });
  begin('GET', '/metrics', { upgrade: 'websocket' });
  const text = await registry.text();
  const count = (name: string) => sampleOf(text, `kubelet_websocket_streaming_requests_total{subresource="${name}"}`);
  assert.deepEqual([count('exec'), count('portforward'), count('metrics')], [1, 1, undefined]);
});
