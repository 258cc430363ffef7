import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CatchUp } from './catch-up.ts';

const { signal } = new AbortController();

test('with nothing asked nobody waits', async () => {
  await new CatchUp().whenWritten(signal);
});

test('a wait ends with the write that began after what was asked, not with one under way', async () => {
  const catchUp = new CatchUp();
  const seen: string[] = [];
  catchUp.ask();
  const underWay = catchUp.mark;
  const first = catchUp.whenWritten(signal).then(() => seen.push('first'));
  catchUp.ask();
  const second = catchUp.whenWritten(signal).then(() => seen.push('second'));
  catchUp.wrote(underWay);
  await first;
  assert.deepEqual(seen, ['first']);
  catchUp.wrote(catchUp.mark);
  await second;
  assert.deepEqual(seen, ['first', 'second']);
});

test('whoever gives up hears his own reason, and the others wait on', async () => {
  const catchUp = new CatchUp();
  catchUp.ask();
  const impatient = new AbortController();
  const refused = assert.rejects(catchUp.whenWritten(impatient.signal), /enough/);
  const patient = catchUp.whenWritten(signal);
  impatient.abort(new Error('enough'));
  await refused;
  catchUp.wrote(catchUp.mark);
  await patient;
});
