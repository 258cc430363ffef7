import assert from 'node:assert/strict';
import { test } from 'node:test';
import { criContract } from '../../test/contract/cri-contract.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { FakeCri } from './fake-cri.ts';
import { CriError } from './services.ts';

const IMAGE = 'registry.test/app:1';
const signal = new AbortController().signal;

criContract('fake', () => {
  const fake = new FakeCri({
    clock: new FakeClock(),
    images: [IMAGE, 'docker.io/library/short:1'],
    handlers: ['other'],
  });
  return {
    runtime: fake.runtime,
    images: fake.images,
    image: IMAGE,
    sandboxConfig: (name) => ({
      metadata: { name, uid: name, namespace: 'default', attempt: 0 },
      labels: { 'io.kubernetes.pod.name': name },
      linux: { securityContext: { namespaceOptions: { network: 2 } } },
    }),
    exit: async (id, code) => fake.exitContainer(id, code),
  };
});

async function runningContainer(fake: FakeCri): Promise<string> {
  const sandboxId = await fake.runtime.runPodSandbox({ metadata: { name: 'p' } }, '', signal);
  const config = { metadata: { name: 'c' }, image: { image: IMAGE } };
  const id = await fake.runtime.createContainer(sandboxId, config, {}, signal);
  await fake.runtime.startContainer(id, signal);
  return id;
}

test('an injected error comes as often as told', async () => {
  const fake = new FakeCri({ clock: new FakeClock() });
  fake.injectError('Version', new CriError('Version', 'UNAVAILABLE', 'down'), 2);
  await assert.rejects(fake.runtime.version(signal), { code: 'CriUNAVAILABLE' });
  await assert.rejects(fake.runtime.version(signal), { code: 'CriUNAVAILABLE' });
  await fake.runtime.version(signal);
  assert.equal(fake.calls.length, 3);
});

test('a blocked call waits for its release, or for its caller to give up', async () => {
  const fake = new FakeCri({ clock: new FakeClock(), images: [IMAGE, 'docker.io/library/short:1'] });
  const release = fake.block('PullImage');
  const caller = new AbortController();
  const given = fake.images.pullImage({ image: IMAGE }, undefined, {}, caller.signal);
  const waiting = fake.images.pullImage({ image: IMAGE }, undefined, {}, signal);
  caller.abort();
  await assert.rejects(given, { name: 'AbortError' });
  release();
  assert.match(await waiting, /^sha256:/);
});

test('a container that ignores SIGTERM is killed when its time is over', async () => {
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images: [IMAGE, 'docker.io/library/short:1'] });
  const id = await runningContainer(fake);
  fake.ignoreTerm(id);
  const stopped = fake.runtime.stopContainer(id, 30, signal);
  await clock.advance(29_999);
  assert.equal((await fake.runtime.containerStatus(id, signal)).state, 1);
  await clock.advance(1);
  await stopped;
  assert.equal((await fake.runtime.containerStatus(id, signal)).exitCode, 137);
});

test('both event streams tell of starts and exits', async () => {
  const fake = new FakeCri({ clock: new FakeClock(), images: [IMAGE, 'docker.io/library/short:1'], events: true });
  const tasks = fake.taskEvents(signal)[Symbol.asyncIterator]();
  const events = fake.runtime.getContainerEvents(signal)[Symbol.asyncIterator]();
  const id = await runningContainer(fake);
  fake.exitContainer(id, 1);
  const topics = [await tasks.next(), await tasks.next(), await tasks.next()].map(({ value }) => value.topic);
  assert.deepEqual(topics, ['/tasks/start', '/tasks/start', '/tasks/exit']);
  const types = [await events.next(), await events.next(), await events.next()];
  assert.deepEqual(
    types.map(({ value }) => value.containerEventType),
    [1, 1, 2],
  );
});
