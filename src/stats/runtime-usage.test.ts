import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { RuntimeMeter } from './runtime-usage.ts';

test('a runtime that does not answer holds up nobody who asks what the node uses', { timeout: 10_000 }, async () => {
  const never = () => new Promise<never>(() => {});
  const clock = new FakeClock();
  const runtime = { status: never, listContainerStats: never };
  const meter = new RuntimeMeter({ runtime, images: { imageFsInfo: never }, clock, log: silentLog });
  const asked = [meter.sandboxImage(), meter.usage()] as const;
  await clock.advance(2_000);
  const [image, usage] = await Promise.all(asked);
  assert.equal(image, '');
  assert.equal(usage.images, undefined);
});
