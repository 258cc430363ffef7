import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sampleOf } from '../testing/sample-of.ts';
import { exponentialBuckets, Registry, sampleLine } from './metrics.ts';

test('the text of every type of metric, sorted by name', async () => {
  const registry = new Registry();
  const served = registry.counter({ name: 'served_total', help: 'Requests.', labels: ['method', 'code'] });
  const depth = registry.gauge({ name: 'depth', help: 'How deep.' });
  const took = registry.histogram({ name: 'took_seconds', help: 'How long.', buckets: [0.5, 2], labels: ['kind'] });
  registry.collect([{ name: 'age_seconds', type: 'gauge', help: 'How old.', labels: ['of'] }], (emit) => {
    emit('age_seconds', 1.5, 'cheese');
    emit('age_seconds', undefined, 'nobody knows');
  });
  served.inc('GET', '200');
  served.inc('GET', '200');
  served.inc('PUT', '409');
  depth.set(4);
  depth.add(-1.25);
  for (const seconds of [0.5, 0.6, 7]) took.observe(seconds, 'slow');
  assert.equal(
    await registry.text(),
    [
      '# HELP age_seconds How old.',
      '# TYPE age_seconds gauge',
      'age_seconds{of="cheese"} 1.5',
      '# HELP depth How deep.',
      '# TYPE depth gauge',
      'depth 2.75',
      '# HELP served_total Requests.',
      '# TYPE served_total counter',
      'served_total{method="GET",code="200"} 2',
      'served_total{method="PUT",code="409"} 1',
      '# HELP took_seconds How long.',
      '# TYPE took_seconds histogram',
      'took_seconds_bucket{kind="slow",le="0.5"} 1',
      'took_seconds_bucket{kind="slow",le="2"} 2',
      'took_seconds_bucket{kind="slow",le="+Inf"} 3',
      'took_seconds_sum{kind="slow"} 8.1',
      'took_seconds_count{kind="slow"} 3',
      '',
    ].join('\n'),
  );
});

test('what has no labels is there before anything happened, what has labels is not', async () => {
  const registry = new Registry();
  registry.counter({ name: 'a_total', help: '' });
  registry.counter({ name: 'b_total', help: '', labels: ['l'] });
  registry.histogram({ name: 'c', help: '', buckets: [1] });
  registry.histogram({ name: 'd', help: '', buckets: [1], labels: ['l'] });
  const text = await registry.text();
  assert.equal(sampleOf(text, 'a_total'), 0);
  assert.equal(sampleOf(text, 'c_count'), 0);
  assert.equal(sampleOf(text, 'c_bucket{le="+Inf"}'), 0);
  assert.doesNotMatch(text, /b_total|\bd\b/);
});

test('numbers and escapes', () => {
  const table: Record<string, [string, number, string]> = {
    'a quote': ['say "x"', 1, 'm{l="say \\"x\\""} 1\n'],
    'a backslash before an n is not a new line': ['\\n', 1, 'm{l="\\\\n"} 1\n'],
    'a new line': ['a\nb', 1, 'm{l="a\\nb"} 1\n'],
    'other letters': ['ä', 1, 'm{l="ä"} 1\n'],
    infinity: ['', Number.POSITIVE_INFINITY, 'm{l=""} +Inf\n'],
    'minus infinity': ['', Number.NEGATIVE_INFINITY, 'm{l=""} -Inf\n'],
    'no number': ['', Number.NaN, 'm{l=""} NaN\n'],
    'a large number': ['', 1_800_000_000.25, 'm{l=""} 1800000000.25\n'],
    'a huge number': ['', 1e30, 'm{l=""} 1e+30\n'],
  };
  for (const [sentence, [label, value, line]] of Object.entries(table))
    assert.equal(sampleLine('m', ['l'], [label], value), line, sentence);
});

test('help is one line', async () => {
  const registry = new Registry();
  registry.gauge({ name: 'g', help: 'two\nlines and a \\' });
  assert.match(await registry.text(), /^# HELP g two\\nlines and a \\\\\n# TYPE/);
});

test('more label values than there is room for are counted together, and none is lost', async () => {
  const registry = new Registry();
  const counter = registry.counter({ name: 'c_total', help: '', labels: ['user', 'path'], maxSeries: 2 });
  for (const user of ['a', 'b', 'c', 'd', 'a', 'c']) counter.inc(user, '/');
  const text = await registry.text();
  assert.equal(sampleOf(text, 'c_total{user="a",path="/"}'), 2);
  assert.equal(sampleOf(text, 'c_total{user="other",path="other"}'), 3);
  assert.doesNotMatch(text, /user="[cd]"/);
});

test('a series that was removed begins anew, in the same place', async () => {
  const registry = new Registry();
  const histogram = registry.histogram({ name: 'h', help: '', buckets: [1], labels: ['pod'], maxSeries: 1 });
  histogram.observe(3, 'a');
  histogram.remove('a');
  histogram.remove('never there');
  histogram.observe(0.5, 'b');
  const text = await registry.text();
  assert.equal(sampleOf(text, 'h_sum{pod="b"}'), 0.5);
  assert.equal(sampleOf(text, 'h_bucket{pod="b",le="+Inf"}'), 1);
  assert.doesNotMatch(text, /"a"/);
});

test('a collector that fails keeps no other from being read, and is told of', async () => {
  const errors: unknown[] = [];
  const registry = new Registry((error) => errors.push(error));
  const failure = new Error('no such file');
  registry.collect([{ name: 'a', type: 'gauge', help: '' }], () => Promise.reject(failure));
  registry.collect([{ name: 'b', type: 'gauge', help: '' }], async (emit) => emit('b', 1));
  const text = await registry.text();
  assert.equal(sampleOf(text, 'b'), 1);
  assert.doesNotMatch(text, /TYPE a /);
  assert.deepEqual(errors, [failure]);
});

test('mistakes of programmers show at once', () => {
  const registry = new Registry();
  const counter = registry.counter({ name: 'c_total', help: '', labels: ['l'] });
  assert.throws(() => counter.inc(), /c_total: l expected/);
  assert.throws(() => registry.gauge({ name: 'c_total', help: '' }), /there already/);
});

test('exponential buckets', () => {
  assert.deepEqual(exponentialBuckets(0.25, 2, 4), [0.25, 0.5, 1, 2]);
});
