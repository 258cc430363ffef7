import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../lib/log.ts';
import { BadObjects } from './bad-objects.ts';

function scene() {
  const said: { about?: string; details?: string; hint?: string }[] = [];
  return { said, bad: new BadObjects({ ...silentLog, warn: (fields) => void said.push(fields) }) };
}

test('is said once, and anew with another fault or when it was right in between', () => {
  const { said, bad } = scene();
  for (const fault of ['a', 'a', 'b', 'b']) bad.found('Pod d/x', [fault]);
  bad.mended('Pod d/x');
  bad.found('Pod d/x', ['b', 'c']);
  assert.deepEqual(
    said.map(({ details }) => details),
    ['a', 'b', 'b; c'],
  );
});

test('the remedy names the object where it has a name', () => {
  const { said, bad } = scene();
  for (const about of ['Pod d/x', 'Node n', 'Pod', 'Pod "d" "../x"']) bad.found(about, ['a']);
  assert.match(said[0]?.hint ?? '', /kubectl get pod -n d x -o yaml/);
  assert.match(said[1]?.hint ?? '', /kubectl get node n -o yaml/);
  for (const { hint } of said.slice(2)) assert.match(hint ?? '', /^look at what stands between/);
});

test('of very many objects not all are named', () => {
  const { said, bad } = scene();
  for (let round = 0; round < 2; round++) for (let i = 0; i < 1_000; i++) bad.found(`Pod d/p${i}`, ['a']);
  assert.equal(said.length, 101);
  bad.mended('Pod d/p0');
  bad.found('Pod d/p999', ['a']);
  assert.equal(said.at(-1)?.about, 'Pod d/p999');
});
