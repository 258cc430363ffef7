import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requestAttributes } from './request-attributes.ts';

test('what a request is in the words of authorization', () => {
  const table: Record<string, [string, ...string[]]> = {
    'GET /stats/summary': ['get', 'stats'],
    'GET /metrics': ['get', 'metrics'],
    'GET /metrics/cadvisor': ['get', 'metrics'],
    'GET /logs/*': ['get', 'log'],
    'POST /checkpoint/{namespace}/{pod}/{container}': ['create', 'checkpoint'],
    'GET /pods': ['get', 'pods', 'proxy'],
    'GET /runningpods/': ['get', 'pods', 'proxy'],
    'GET /healthz/syncloop': ['get', 'healthz', 'proxy'],
    'GET /configz': ['get', 'configz', 'proxy'],
    'GET /statusz': ['get', 'statusz', 'proxy'],
    'GET /flagz': ['get', 'flagz', 'proxy'],
    'POST /exec/{namespace}/{pod}/{container}': ['create', 'proxy'],
    'GET /exec/{namespace}/{pod}/{container}': ['get', 'proxy'],
    'GET /containerLogs/{namespace}/{pod}/{container}': ['get', 'proxy'],
    'PUT /debug/flags/v': ['update', 'proxy'],
    'PATCH /pods': ['patch', 'pods', 'proxy'],
    'DELETE /run/{pod}': ['delete', 'proxy'],
    'OPTIONS /metrics': ['', 'metrics'],
    'GET /podsecurity': ['get', 'proxy'],
    'GET /constructor': ['get', 'proxy'],
    'GET /': ['get', 'proxy'],
  };
  for (const [request, [verb, ...subresources]] of Object.entries(table)) {
    const [method = '', path = ''] = request.split(' ');
    assert.deepEqual(requestAttributes(method, path), { verb, subresources }, request);
  }
});
