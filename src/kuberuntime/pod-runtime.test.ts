import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Container } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { NamespaceMode } from '../api/cri.ts';
import { CriError } from '../cri/services.ts';
import type { DesiredPod } from '../pod/pod-manager.ts';
import { noProbes } from '../probes/probe-results.ts';
import { desiredPod, podParts } from '../testing/pod-parts.ts';
import { testImage } from '../testing/runtime-pods.ts';
import { computePodActions } from './compute-pod-actions.ts';

const signal = new AbortController().signal;
const failure = (code: string) => new CriError('X', code, 'it broke');
type Parts = ReturnType<typeof podParts>;

const actionsFor = ({ cache, clock }: Parts, { pod, uid }: DesiredPod) =>
  computePodActions({
    ...{ pod, observed: cache.get(uid), probes: noProbes, backoffs: new Map() },
    ...{ maxBackoffMs: 300_000, now: clock.now() },
  });

const around = {
  ...{ cgroupParent: '/kubepods/pod', dns: {}, sandboxResources: {}, overhead: {} },
  containerResources: () => ({}),
  volumes: new Map(),
};

/** Resolves when the runtime was asked for this, and the answer has been taken in. */
async function untilCalled({ fake, clock }: Parts, method: string): Promise<void> {
  while (!fake.methods().includes(method) || clock.pending === 0) await clock.advance(0);
}

/** One start of what is missing, as a sync does it. */
async function start(parts: Parts, desired = desiredPod()) {
  await parts.dirs.create(desired.uid, desired.pod);
  const results = await parts.podRuntime.start(desired, actionsFor(parts, desired), around, signal);
  await parts.pleg.refresh(desired.uid, signal);
  return results.map((r) => (r.ok ? `${r.target} ok` : `${r.target} ${r.reason}: ${r.message}`));
}

const running = ({ cache }: Parts, { uid }: DesiredPod) =>
  cache
    .get(uid)
    ?.containers.filter((c) => c.state === 'running')
    .map((c) => c.name)
    .sort();

test('sandbox first, then each container in its order', async () => {
  using parts = podParts();
  assert.deepEqual(await start(parts), ['a ok', 'b ok']);
  assert.deepEqual(parts.fake.methods(), [
    ...['RunPodSandbox', 'CreateContainer', 'StartContainer', 'CreateContainer', 'StartContainer'],
  ]);
  const pulled = `Container image "${testImage}" already present on machine and can be accessed by the pod`;
  assert.deepEqual(parts.events.lines, [
    `Normal Pulled spec.containers{a}: ${pulled}`,
    'Normal Created spec.containers{a}: Container created',
    'Normal Started spec.containers{a}: Container started',
    `Normal Pulled spec.containers{b}: ${pulled}`,
    'Normal Created spec.containers{b}: Container created',
    'Normal Started spec.containers{b}: Container started',
  ]);
  assert.deepEqual(readdirSync(join(parts.root, 'log/containers')).length, 2);
});

test('a container started in a sandbox that is there gets its address into its hosts', async () => {
  using parts = podParts();
  const desired = desiredPod();
  await start(parts, desired);
  parts.fake.exitContainer(parts.cache.get(desired.uid)?.containers.find((c) => c.name === 'a')?.id ?? '', 1);
  await parts.pleg.refresh(desired.uid, signal);
  parts.fake.calls.length = 0;
  assert.deepEqual(await start(parts, desired), ['a ok']);
  assert.deepEqual(parts.fake.methods(), ['CreateContainer', 'StartContainer']);
  const config = parts.fake.calls.find((c) => c.method === 'CreateContainer')?.args[1] as cri.ContainerConfig;
  assert.equal(config.metadata?.attempt, 1);
  assert.ok(config.mounts?.some((m) => m.containerPath === '/etc/hosts'));
});

// --- One container's failure is its own ---

const withA = (over: Partial<Container>) =>
  desiredPod({
    containers: [
      { name: 'a', image: testImage, ...over },
      { name: 'b', image: testImage },
    ],
  });

const failures: Record<string, { desired?: DesiredPod; inject?: string; result: RegExp; event: RegExp }> = {
  'cannot be created': {
    inject: 'CreateContainer',
    result: /^a CreateContainerError: it broke$/,
    event: /^Warning Failed spec.containers{a}: Error: it broke$/,
  },
  'cannot be run': {
    inject: 'StartContainer',
    result: /^a RunContainerError: it broke$/,
    event: /^Warning Failed spec.containers{a}: Error: it broke$/,
  },
  'must not run as root': {
    desired: withA({ securityContext: { runAsNonRoot: true, runAsUser: 0 } }),
    result: /^a CreateContainerConfigError: container's runAsUser breaks non-root policy/,
    event: /^Warning Failed spec.containers{a}: Error: container's runAsUser breaks non-root policy/,
  },
  'needs what this version has not': {
    desired: withA({ resources: { claims: [{ name: 'gpu' }] } }),
    result: /^a CreateContainerConfigError: spec.containers{a}.resources.claims is not supported/,
    event: /^Warning Failed spec.containers{a}: Error: spec.containers{a}.resources.claims is not supported/,
  },
  'has an environment that cannot be made': {
    desired: withA({ envFrom: [{ configMapRef: { name: 'none' } }] }),
    result: /^a CreateContainerConfigError: configmap "none" not found/,
    event: /^Warning Failed spec.containers{a}: Error: configmap "none" not found/,
  },
  'has no image': {
    desired: withA({ image: 'registry.test/missing:1' }),
    result: /^a ErrImagePull: .*failed to resolve reference/,
    event: /^Warning Failed spec.containers{a}: Error: ErrImagePull$/,
  },
};

for (const [sentence, { desired = desiredPod(), inject, result, event }] of Object.entries(failures)) {
  test(`a container that ${sentence} says so, and the next one starts`, async () => {
    using parts = podParts();
    if (inject) parts.fake.injectError(inject, failure('UNKNOWN'));
    const [first = '', second] = await start(parts, desired);
    assert.match(first, result);
    assert.equal(second, 'b ok');
    assert.deepEqual(running(parts, desired), ['b']);
    assert.ok(
      parts.events.lines.some((line) => event.test(line)),
      parts.events.lines.join('\n'),
    );
  });
}

for (const method of ['ImageStatus', 'CreateContainer', 'StartContainer']) {
  for (const code of ['UNAVAILABLE', 'DEADLINE_EXCEEDED']) {
    test(`a runtime that answers ${method} with ${code} fails the sync, and no container is blamed`, async () => {
      using parts = podParts();
      parts.fake.injectError(method, failure(code));
      await assert.rejects(start(parts), { code: `Cri${code}` });
      assert.equal(parts.events.reasons.includes('Failed'), false);
    });
  }
}

test('a sandbox that cannot be made fails the sync, with an event', async () => {
  using parts = podParts();
  parts.fake.injectError('RunPodSandbox', failure('UNKNOWN'));
  await assert.rejects(start(parts), { code: 'CriUNKNOWN' });
  assert.deepEqual(parts.events.lines, ['Warning FailedCreatePodSandBox: Failed to create pod sandbox: it broke']);
});

test('a log link that cannot be made keeps no container from starting', async () => {
  using parts = podParts();
  const desired = desiredPod();
  await parts.dirs.create(desired.uid, desired.pod);
  writeFileSync(join(parts.root, 'log/containers'), 'in the way');
  assert.deepEqual(await start(parts, desired), ['a ok', 'b ok']);
});

test('an init container is named as one', async () => {
  using parts = podParts();
  await start(parts, desiredPod({ initContainers: [{ name: 'i', image: testImage }] }));
  assert.match(parts.events.lines[1] ?? '', /^Normal Created spec.initContainers{i}:/);
});

test('a sandbox that is made again says so', async () => {
  using parts = podParts();
  const desired = desiredPod();
  await start(parts, desired);
  parts.fake.killSandbox(parts.cache.get(desired.uid)?.sandboxes[0]?.id ?? '');
  await parts.pleg.refresh(desired.uid, signal);
  parts.events.lines.length = 0;
  await start(parts, desired);
  assert.match(parts.events.lines[0] ?? '', /^Normal SandboxChanged: Pod sandbox changed/);
  assert.deepEqual(
    parts.cache.get(desired.uid)?.sandboxes.map((s) => s.attempt),
    [1, 0],
  );
});

// --- Stop and remove ---

test('containers are stopped within the grace period before their sandbox', async () => {
  using parts = podParts();
  const desired = desiredPod();
  await start(parts, desired);
  parts.fake.calls.length = 0;
  parts.events.lines.length = 0;
  await parts.podRuntime.stop(desired.uid, desired, parts.cache.get(desired.uid), 7, signal);
  assert.deepEqual(parts.fake.methods(), ['StopContainer', 'StopContainer', 'StopPodSandbox']);
  assert.deepEqual(
    parts.fake.calls.filter((c) => c.method === 'StopContainer').map((c) => c.args[1]),
    [7, 7],
  );
  assert.deepEqual(parts.events.lines.toSorted(), [
    'Normal Killing spec.containers{a}: Stopping container a',
    'Normal Killing spec.containers{b}: Stopping container b',
  ]);
  assert.deepEqual(running(parts, desired), []);
});

test('the sandbox waits for a container that takes its time, and the other one is not kept by it', async () => {
  using parts = podParts();
  const desired = desiredPod();
  await start(parts, desired);
  const { containers = [] } = parts.cache.get(desired.uid) ?? {};
  parts.fake.ignoreTerm(containers.find((c) => c.name === 'a')?.id ?? '');
  const stopped = parts.podRuntime.stop(desired.uid, desired, parts.cache.get(desired.uid), 7, signal);
  await parts.clock.advance(6999);
  await parts.pleg.refresh(desired.uid, signal);
  assert.deepEqual(running(parts, desired), ['a']);
  assert.equal(parts.fake.methods().includes('StopPodSandbox'), false);
  await parts.clock.advance(1);
  await stopped;
  assert.equal(parts.cache.get(desired.uid)?.sandboxes[0]?.state, 'notready');
});

test('a pod that has stopped already costs no look', async () => {
  using parts = podParts();
  const desired = desiredPod();
  await start(parts, desired);
  for (let i = 0; i < 2; i++) {
    parts.fake.calls.length = 0;
    await parts.podRuntime.stop(desired.uid, desired, parts.cache.get(desired.uid), 7, signal);
  }
  assert.deepEqual(parts.fake.methods(true), ['StopPodSandbox']);
});

test('a pod known from the runtime alone is stopped without an event', async () => {
  using parts = podParts();
  const desired = desiredPod();
  await start(parts, desired);
  parts.events.lines.length = 0;
  await parts.podRuntime.stop(desired.uid, undefined, parts.cache.get(desired.uid), 7, signal);
  assert.deepEqual([parts.events.lines, running(parts, desired)], [[], []]);
});

test('what is removed is gone from runtime, cache and disk', async () => {
  using parts = podParts();
  const desired = desiredPod();
  await start(parts, desired);
  await parts.podRuntime.stop(desired.uid, desired, parts.cache.get(desired.uid), 7, signal);
  parts.fake.calls.length = 0;
  const name = { name: 'p', namespace: 'ns' };
  await parts.podRuntime.remove(desired.uid, name, parts.cache.get(desired.uid), signal);
  assert.deepEqual(parts.fake.methods(), ['RemoveContainer', 'RemoveContainer', 'RemovePodSandbox']);
  assert.equal(parts.cache.get(desired.uid), undefined);
  assert.deepEqual(readdirSync(join(parts.root, 'log/containers')), []);
  assert.equal(existsSync(join(parts.root, 'log/pods/ns_p_u1')), false);
});

// --- Hooks, sidecars and the like ---

const idOf = ({ cache }: Parts, { uid }: DesiredPod, name: string) =>
  cache.get(uid)?.containers.find((c) => c.name === name)?.id ?? '';

test('the next container waits until the postStart hook of the one before is over', async () => {
  using parts = podParts();
  const sleep = { postStart: { sleep: { seconds: 5 } } };
  const desired = desiredPod({
    containers: [
      { name: 'a', image: testImage, lifecycle: sleep },
      { name: 'b', image: testImage },
    ],
  });
  const started = start(parts, desired);
  await untilCalled(parts, 'StartContainer');
  await parts.clock.advance(4999);
  await parts.pleg.refresh(desired.uid, signal);
  assert.deepEqual(running(parts, desired), ['a']);
  assert.equal(parts.notes.get(desired.uid).postStartDone, undefined);
  await parts.clock.advance(1);
  assert.deepEqual(await started, ['a ok', 'b ok']);
  assert.deepEqual(parts.notes.get(desired.uid).postStartDone, [idOf(parts, desired, 'a')]);
});

test('a postStart hook that fails kills its container, and the next one starts', async () => {
  using parts = podParts();
  const exec = (command: string) => ({ exec: { command: [command] } });
  const desired = withA({ lifecycle: { postStart: exec('up'), preStop: exec('down') } });
  parts.fake.exec = (_, [command]) => ({ exitCode: command === 'up' ? 7 : 0 });
  const words = `Exec lifecycle hook ([up]) for Container "a" in Pod "p_ns(u1)" failed - error: command 'up' exited with 7: , message: ""`;
  assert.deepEqual(await start(parts, desired), [`a PostStartHookError: ${words}`, 'b ok']);
  assert.deepEqual(running(parts, desired), ['b']);
  const calls = parts.fake.calls.filter((c) => ['ExecSync', 'StopContainer'].includes(c.method));
  assert.deepEqual(
    calls.map(({ method, args }) => `${method} ${args[1]}`),
    ['ExecSync up', 'ExecSync down', 'StopContainer 20'],
  );
  assert.deepEqual(parts.events.lines.slice(2, 5), [
    'Normal Started spec.containers{a}: Container started',
    'Warning FailedPostStartHook spec.containers{a}: PostStartHook failed',
    'Normal Killing spec.containers{a}: FailedPostStartHook',
  ]);
  assert.equal(parts.notes.get(desired.uid).postStartDone, undefined);
});

test('an abort in the midst of a postStart hook leaves the container as it is', async () => {
  using parts = podParts();
  const desired = withA({ lifecycle: { postStart: { sleep: { seconds: 60 } } } });
  const abort = new AbortController();
  await parts.dirs.create(desired.uid, desired.pod);
  const started = parts.podRuntime.start(desired, actionsFor(parts, desired), around, abort.signal);
  await untilCalled(parts, 'StartContainer');
  abort.abort();
  await assert.rejects(started, { name: 'AbortError' });
  await parts.pleg.refresh(desired.uid, signal);
  assert.deepEqual(running(parts, desired), ['a']);
});

test('an abort in the midst of a start lets it come to its end, and starts nothing more', async () => {
  using parts = podParts();
  const desired = desiredPod();
  const abort = new AbortController();
  await parts.dirs.create(desired.uid, desired.pod);
  const open = parts.fake.block('StartContainer');
  const started = parts.podRuntime.start(desired, actionsFor(parts, desired), around, abort.signal);
  while (!parts.fake.methods().includes('StartContainer')) await parts.clock.advance(0);
  abort.abort();
  open();
  await assert.rejects(started, { name: 'AbortError' });
  await parts.pleg.refresh(desired.uid, signal);
  assert.deepEqual(running(parts, desired), ['a']);
  assert.equal(parts.events.lines.at(-1), 'Normal Started spec.containers{a}: Container started');
});

test('a start that does not come to its end is cut off at last', async () => {
  using parts = podParts();
  const desired = desiredPod();
  const abort = new AbortController();
  await parts.dirs.create(desired.uid, desired.pod);
  parts.fake.block('StartContainer');
  const started = parts.podRuntime.start(desired, actionsFor(parts, desired), around, abort.signal);
  while (!parts.fake.methods().includes('StartContainer')) await parts.clock.advance(0);
  abort.abort();
  const cutOff = assert.rejects(started, { name: 'AbortError' });
  await parts.clock.advance(10_000);
  await cutOff;
});

test('sidecars are stopped after the containers, the last one first', async () => {
  using parts = podParts();
  const sidecar = (name: string) => ({ name, image: testImage, restartPolicy: 'Always' as const });
  const desired = desiredPod({ initContainers: [sidecar('s1'), sidecar('s2')] });
  for (let i = 0; i < 3; i++) await start(parts, desired);
  assert.deepEqual(running(parts, desired), ['a', 'b', 's1', 's2']);
  const names = new Map(parts.cache.get(desired.uid)?.containers.map((c) => [c.id as string, c.name]));
  parts.fake.calls.length = 0;
  await parts.podRuntime.stop(desired.uid, desired, parts.cache.get(desired.uid), 20, signal);
  const stops = parts.fake.calls
    .filter((c) => c.method === 'StopContainer')
    .map(({ args: [id, seconds] }) => `${names.get(id as string)} ${seconds}`);
  assert.deepEqual(stops.slice(0, 2).toSorted(), ['a 20', 'b 20']);
  assert.deepEqual(stops.slice(2), ['s2 20', 's1 20']);
});

test('what is killed gets the grace period of its kill, and is started in the same pass', async () => {
  using parts = podParts();
  const desired = withA({ livenessProbe: { terminationGracePeriodSeconds: 3 } });
  await start(parts, desired);
  parts.fake.calls.length = 0;
  const failed = { verdict: 'failure' as const, message: '', since: 0 };
  const actions = computePodActions({
    ...{ pod: desired.pod, observed: parts.cache.get(desired.uid), backoffs: new Map() },
    probes: (id) => (id === idOf(parts, desired, 'a') ? failed : undefined),
    ...{ maxBackoffMs: 300_000, now: parts.clock.now() },
  });
  await parts.podRuntime.clear(desired, actions, signal);
  await parts.podRuntime.start(desired, actions, around, signal);
  await parts.pleg.refresh(desired.uid, signal);
  assert.equal(parts.fake.calls.find((c) => c.method === 'StopContainer')?.args[1], 3);
  assert.deepEqual(running(parts, desired), ['a', 'b']);
});

test('a pod that begins anew keeps its sandbox and counts on', async () => {
  using parts = podParts();
  const exitCodes = { operator: 'In' as const, values: [42] };
  const desired = withA({
    restartPolicy: 'Never',
    restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes }],
  });
  await start(parts, desired);
  for (const name of ['a', 'b']) {
    mkdirSync(join(parts.root, 'log/pods/ns_p_u1', name), { recursive: true });
    writeFileSync(join(parts.root, 'log/pods/ns_p_u1', name, '0.log'), '');
  }
  parts.fake.exitContainer(idOf(parts, desired, 'a'), 42);
  await parts.pleg.refresh(desired.uid, signal);
  const ids = ['b', 'a'].map((name) => idOf(parts, desired, name));
  parts.fake.calls.length = 0;
  await parts.podRuntime.clear(desired, actionsFor(parts, desired), signal);
  assert.deepEqual(
    parts.fake.calls.map(({ method, args }) => `${method} ${args.join(' ')}`),
    [`StopContainer ${ids[0]} 2`, `RemoveContainer ${ids[0]}`, `RemoveContainer ${ids[1]}`],
  );
  await parts.pleg.refresh(desired.uid, signal);
  assert.deepEqual(await start(parts, desired), ['a ok', 'b ok']);
  const { containers = [], sandboxes = [] } = parts.cache.get(desired.uid) ?? {};
  assert.deepEqual([sandboxes.length, containers.map((c) => c.attempt)], [1, [1, 1]]);
});

test('an ephemeral container sees the processes of its target', async () => {
  using parts = podParts();
  const debug = { name: 'debug', image: testImage, targetContainerName: 'a' };
  await start(parts, desiredPod());
  const desired = desiredPod({ ephemeralContainers: [debug] });
  parts.fake.calls.length = 0;
  assert.deepEqual(await start(parts, desired), ['debug ok']);
  const config = parts.fake.calls.find((c) => c.method === 'CreateContainer')?.args[1] as cri.ContainerConfig;
  const { pid, targetId } = config.linux?.securityContext?.namespaceOptions ?? {};
  assert.deepEqual([pid, targetId], [NamespaceMode.TARGET, idOf(parts, desired, 'a')]);
  assert.equal(parts.events.lines.at(-1), 'Normal Started spec.ephemeralContainers{debug}: Container started');
});

test('one whose target is not there says so', async () => {
  using parts = podParts();
  await start(parts, desiredPod());
  const debug = { name: 'debug', image: testImage, targetContainerName: 'none' };
  const results = await start(parts, desiredPod({ ephemeralContainers: [debug] }));
  assert.deepEqual(results, ['debug CreateContainerConfigError: unable to find target container none']);
});
