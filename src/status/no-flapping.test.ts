import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodStatus } from '../api/core-v1.ts';
import { containerId, podUid, sandboxId } from '../api/ids.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { pods } from '../kubeapi/resources.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import type { ObservedContainer, ObservedPod } from '../pod/observed.ts';
import { PodCache } from '../pod/pod-cache.ts';
import { PodManager } from '../pod/pod-manager.ts';
import type { ProbeView } from '../probes/probe-results.ts';
import type { WorkerView } from '../workers/pod-workers.ts';
import { StatusManager } from './status-manager.ts';

/*
 * Whatever happens around a pod whose containers run and whose probes succeed, in whatever order: once it
 * is Ready nobody sees it otherwise. Sequences are random, and the same in every run.
 */

const uid = podUid('u1');
const ref = { namespace: 'ns', name: 'p' };
const signal = new AbortController().signal;
const sequences = 60;
const stepsEach = 60;

const pod: Pod = {
  metadata: { name: 'p', namespace: 'ns', uid, generation: 1 },
  spec: {
    nodeName: 'n',
    restartPolicy: 'Always',
    initContainers: [{ name: 's', image: 'i', restartPolicy: 'Always', startupProbe: {} }],
    containers: [
      { name: 'a', image: 'i', readinessProbe: {} },
      { name: 'b', image: 'i', startupProbe: {}, readinessProbe: {} },
    ],
    readinessGates: [{ conditionType: 'lb/open' }],
  },
};

const run = (name: string): ObservedContainer => ({
  ...{ id: containerId(`${name}-id`), name, sandboxId: sandboxId('s1'), state: 'running', attempt: 0 },
  ...{ createdAt: 1, startedAt: 1, finishedAt: 0, exitCode: 0, reason: '', message: '' },
  ...{ image: 'i', imageRef: 'i', hash: '', terminationMessage: '' },
});
const observe = (...names: readonly string[]): ObservedPod => ({
  ...{ uid, name: 'p', namespace: 'ns', containers: names.map(run) },
  sandboxes: [{ id: sandboxId('s1'), state: 'ready', attempt: 0, createdAt: 1, ips: ['10.0.0.2'], hostNetwork: false }],
});
const allRun = observe('b', 'a', 's');

/** A small generator of numbers, so that a failure can be seen again. */
function randomness(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

const readyOf = (status: PodStatus | undefined) => status?.conditions?.find((c) => c.type === 'Ready')?.status;

/** One keelson process: what it knows is lost with it. */
function startKeelson(clock: FakeClock, api: FakeKubeApi) {
  const known = { probes: false, view: {} as Partial<WorkerView> };
  const cache = new PodCache();
  const manager: PodManager = new PodManager(
    () => clock.now(),
    (id) => statuses.wake(id),
  );
  const probes: ProbeView = () => (known.probes ? { verdict: 'success', message: '', since: 1 } : undefined);
  const statuses: StatusManager = new StatusManager({
    resizes: { granted: ({ pod }) => pod, view: () => ({}) },
    ...{ manager, cache, clock, api, probes, log: silentLog },
    worker: (id) => ({ state: { phase: 'syncing' }, problems: new Map(), desired: manager.get(id), ...known.view }),
    hostIPs: () => ['192.0.2.2'],
    runtimeName: () => 'containerd',
    changed: () => {},
  });
  return { known, cache, manager, statuses };
}

test('a pod that is Ready stays so while its containers and probes do', async () => {
  for (let seed = 0; seed < sequences; seed++) await playSequence(seed);
});

async function playSequence(seed: number): Promise<void> {
  const random = randomness(seed);
  const clock = new FakeClock();
  const api = new FakeKubeApi(clock);
  await api.create(pods, pod, signal);
  let keelson = startKeelson(clock, api);
  const echoes: Pod[] = [];
  const told: string[] = [];
  const stored = async () => api.get(pods, ref, signal);
  let listedAt = 0;
  const list = (found: ObservedPod) => {
    listedAt = clock.monotonic();
    keelson.cache.commit(uid, found, listedAt);
  };

  const happenings: Record<string, () => Promise<void>> = {
    'the watch delivers what the server has': async () => {
      echoes.push(await stored());
      keelson.manager.setFromApi('ns/p', echoes.at(-1));
    },
    'an older echo of our own report arrives late': async () => {
      const old = echoes[random(Math.max(1, echoes.length))];
      // A gate's own writer is not asked here: what it said last is in every echo.
      if (old && hasGate(old)) keelson.manager.setFromApi('ns/p', old);
    },
    'a listing finds what runs': async () => {
      list(allRun);
      keelson.statuses.wake(uid);
    },
    'a listing that began long ago ends now': async () => {
      keelson.cache.commit(uid, observe('s'), listedAt - 1);
      keelson.statuses.wake(uid);
    },
    'probes have answered': async () => {
      keelson.known.probes = true;
      keelson.statuses.wake(uid);
    },
    'the worker takes a step': async () => {
      const step = { kind: 'volumes' } as const;
      keelson.known.view = random(2) ? { progress: { step, since: clock.now() } } : {};
      keelson.statuses.wake(uid);
    },
    'the worker fails at something': async () => {
      const failure = { code: 'x', message: 'm', since: clock.now(), step: undefined };
      keelson.known.view = random(2) ? { failure } : {};
      keelson.statuses.wake(uid);
    },
    'the server is away for a while': async () => {
      api.injectError('patch', 'pods', new Error('away'));
      await clock.advance(400);
    },
    'time goes by': () => clock.advance(random(15_000)),
    'keelson is restarted': async () => {
      keelson.statuses.stop();
      keelson = startKeelson(clock, api);
      list(allRun);
      keelson.manager.setFromApi('ns/p', await stored());
      echoes.length = 0;
    },
  };

  // A readiness gate is opened by others, at some time.
  const condition = { type: 'lb/open', status: 'True' };
  const body = { status: { conditions: [condition] } };
  await api.patch(pods, ref, { type: 'strategic', body, subresource: 'status' }, signal);
  list(observe('s'));
  await happenings['the watch delivers what the server has']?.();
  const names = Object.keys(happenings);
  let seen = '';
  let derived: StatusManager | undefined;
  for (let step = 0; step < stepsEach; step++) {
    const name = names[random(names.length)] ?? '';
    told.push(name);
    const before = derived === keelson.statuses ? readyOf(keelson.statuses.get(uid)) : undefined;
    await happenings[name]?.();
    derived = keelson.statuses;
    await clock.advance(0);
    const history = `sequence ${seed}: ${told.join('; ')}`;
    const [own, others] = [readyOf(keelson.statuses.get(uid)), readyOf((await stored()).status) ?? ''];
    if (before === 'True' && derived === keelson.statuses && name !== 'keelson is restarted')
      assert.equal(own, 'True', history);
    if (seen === 'True') assert.equal(others, 'True', history);
    seen = others;
  }
  // The sequence has to have come to something, or it proves nothing.
  keelson.known.probes = true;
  await happenings['a listing finds what runs']?.();
  await clock.advance(60_000);
  assert.equal(readyOf((await stored()).status), 'True', `sequence ${seed}`);
}

const hasGate = ({ status }: Pod): boolean => status?.conditions?.some((c) => c.type === 'lb/open') === true;
