import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Container, ContainerStatus, Pod, PodSpec, PodStatus } from '../src/api/core-v1.ts';
import { PODS } from './apiserver/kinds.ts';
import type { DraftObject } from './apiserver/objects.ts';
import type { Change } from './apiserver/store.ts';
import { Cluster, containerOf, isReady } from './host/cluster.ts';
import { BUSYBOX_IMAGE, busyboxImage, HTTPD_IMAGE, httpdImage } from './images/images.ts';

/** What conformance asks of a pod over its time: which states it goes through, which never, and when. */

const OTHER_IMAGE = 'registry.test/other:1';
const signal = AbortSignal.timeout(600_000);
const idle = 'trap "exit 0" TERM; while :; do sleep 0.2; done';

const sh = (script: string, more: Partial<Container> = {}): Container => ({
  name: 'c',
  image: BUSYBOX_IMAGE,
  command: ['sh', '-c', script],
  ...more,
});
const exec = (script: string) => ({ exec: { command: ['sh', '-c', script] } });

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('lives', { images: [busyboxImage(), httpdImage(), busyboxImage(OTHER_IMAGE, ['ash'])] });
});
after(() => cluster[Symbol.asyncDispose]());

const isOver = ({ phase }: PodStatus): boolean => phase === 'Succeeded' || phase === 'Failed';
const stateOf = (status: ContainerStatus | undefined): string =>
  ['running', 'waiting', 'terminated'].find((s) => status?.state?.[s as 'running'] !== undefined) ?? 'none';
const conditionOf = (pod: Pod | undefined, type: string) => pod?.status?.conditions?.find((c) => c.type === type);

const remove = (name: string, ...args: readonly string[]): Promise<string> =>
  cluster.kubectl('delete', 'pod', name, '--wait=false', ...args);

/** Every version of a pod that the API server had from now on, and that it was deleted. */
function watch(name: string): { readonly changes: Change[]; readonly pods: () => Pod[] } & Disposable {
  const changes: Change[] = [];
  const subscription = cluster.api.store.subscribe((change) => {
    if (change.kind === PODS && change.object.metadata.name === name) changes.push(change);
  });
  const pods = () => changes.filter((c) => c.type !== 'DELETED').map((c) => c.object as unknown as Pod);
  return { changes, pods, [Symbol.dispose]: () => subscription[Symbol.dispose]() };
}

/** Waits on the host for a line in a container's log. */
async function whenPrinted(pod: string, line: string, { container = 'c', attempt = 0 } = {}): Promise<void> {
  const file = `/var/log/pods/default_${pod}_${cluster.pod(pod)?.metadata.uid}/${container}/${attempt}.log`;
  await cluster.host.exec('sh', ['-c', 'until grep -qF -- "$1" "$0"; do sleep 0.05; done', file, line], {
    timeoutMs: 60_000,
  });
}

const create = (kind: string, name: string, more: object) =>
  cluster.api.create({ apiVersion: 'v1', kind, metadata: { name, namespace: 'default' }, ...more } as DraftObject);

describe('containers that end', { concurrency: 6 }, () => {
  // Fails first, succeeds then, and goes on for ever after that; it counts its runs in memory.
  const counting = `echo run >> /v/runs; case $(wc -l < /v/runs) in 1) exit 1;; 2) exit 0;; *) ${idle};; esac`;
  const policies = {
    Always: { restarts: 2, phase: 'Running', state: 'running', ready: true },
    OnFailure: { restarts: 1, phase: 'Succeeded', state: 'terminated', ready: false },
    Never: { restarts: 0, phase: 'Failed', state: 'terminated', ready: false },
  } as const;
  for (const [restartPolicy, wanted] of Object.entries(policies)) {
    test(`under the policy ${restartPolicy} they are restarted as it says`, async () => {
      const name = `policy-${restartPolicy.toLowerCase()}`;
      cluster.createPod(name, {
        restartPolicy: restartPolicy as keyof typeof policies,
        containers: [sh(counting, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
        volumes: [{ name: 'v', emptyDir: { medium: 'Memory' } }],
      });
      const pod = await cluster.whenPod(name, (status, p) => {
        const c = containerOf(p, 'c');
        return c?.restartCount === wanted.restarts && status.phase === wanted.phase && stateOf(c) === wanted.state;
      });
      assert.equal(isReady(pod.status ?? {}), wanted.ready);
      await remove(name);
      await cluster.whenPodGone(name);
    });
  }

  test('an end that a policy is content with is the end', async () => {
    cluster.createPod('content', { restartPolicy: 'OnFailure', containers: [sh('exit 0')] });
    const pod = await cluster.whenPod('content', isOver);
    assert.deepEqual([pod.status?.phase, containerOf(pod, 'c')?.restartCount], ['Succeeded', 0]);
    assert.equal(containerOf(pod, 'c')?.state?.terminated?.reason, 'Completed');
  });

  const words: Record<string, { container: Partial<Container> & { script: string }; says: string | undefined }> = {
    'root, in the file': { container: { script: 'echo -n DONE > /dev/termination-log' }, says: 'DONE' },
    'another user, in another file': {
      container: {
        script: 'echo -n DONE > /dev/last-words',
        terminationMessagePath: '/dev/last-words',
        securityContext: { runAsUser: 10_000 },
      },
      says: 'DONE',
    },
    'failed, in the log': {
      container: { script: 'echo -n DONE; exit 1', terminationMessagePolicy: 'FallbackToLogsOnError' },
      says: 'DONE',
    },
    'done, in the log': {
      container: { script: 'echo -n DONE', terminationMessagePolicy: 'FallbackToLogsOnError' },
      says: undefined,
    },
    'done, in file and log': {
      container: {
        script: 'echo -n OK > /dev/termination-log; echo DONE',
        terminationMessagePolicy: 'FallbackToLogsOnError',
      },
      says: 'OK',
    },
  };
  for (const [index, [who, { container, says }]] of Object.entries(words).entries()) {
    test(`last words of one that is ${who}`, async () => {
      const { script, ...more } = container;
      cluster.createPod(`words-${index}`, { restartPolicy: 'Never', containers: [sh(script, more)] });
      const pod = await cluster.whenPod(`words-${index}`, isOver);
      assert.equal(containerOf(pod, 'c')?.state?.terminated?.message, says);
    });
  }

  test('a new image starts a container anew, and says so', async () => {
    cluster.createPod('image', { containers: [sh(idle)] });
    await cluster.whenPodReady('image');
    await cluster.kubectl('set', 'image', 'pod/image', `c=${OTHER_IMAGE}`);
    const pod = await cluster.whenPod('image', (_, p) => {
      const c = containerOf(p, 'c');
      return c?.restartCount === 1 && c.state?.running !== undefined && p.status?.observedGeneration === 2;
    });
    assert.equal(containerOf(pod, 'c')?.image, OTHER_IMAGE);
    assert.equal(
      (await cluster.whenEvent('image', 'Killing')).message,
      'Container c definition changed, will be restarted',
    );
  });

  test('a container that never starts up comes back at once, at once, and then after ten seconds', async () => {
    const startupProbe = { ...exec('exit 1'), periodSeconds: 1, failureThreshold: 1 };
    cluster.createPod('rhythm', { containers: [sh(`${idle}`, { startupProbe })] });
    using seen = watch('rhythm');
    await cluster.whenPod('rhythm', (_, p) => containerOf(p, 'c')?.restartCount === 3);
    const counts = seen.pods().map((p) => containerOf(p, 'c')?.restartCount ?? 0);
    assert.deepEqual(counts, counts.toSorted(), 'the count of restarts only grows');
    const waits = seen.pods().map((p) => containerOf(p, 'c')?.state?.waiting?.message ?? '');
    assert.ok(
      waits.some((text) => text.startsWith('back-off 10s restarting failed container=c')),
      waits.join('\n'),
    );
    assert.ok(!waits.some((text) => text.includes('back-off 20s')), waits.join('\n'));
    await remove('rhythm');
  });
});

describe('init containers', { concurrency: 6 }, () => {
  const init = (...scripts: readonly string[]): Partial<PodSpec> => ({
    initContainers: scripts.map((script, index) => sh(script, { name: `init${index + 1}` })),
  });

  /** What must hold of every version of a pod with init containers. */
  function checkInit(pods: readonly Pod[]): void {
    let wasInitialized = false;
    for (const pod of pods.filter((p) => p.status?.initContainerStatuses)) {
      const all = pod.status?.initContainerStatuses ?? [];
      const done = all.filter((s) => s.state?.terminated?.exitCode === 0).length;
      for (const later of all.slice(done + 1)) assert.equal(stateOf(later), 'waiting', later.name);
      for (const early of all.slice(0, done)) assert.equal(early.ready, true, early.name);
      if (done < all.length) {
        for (const status of pod.status?.containerStatuses ?? []) {
          assert.deepEqual(status.state, { waiting: { reason: 'PodInitializing' } });
          assert.equal(status.restartCount, 0);
        }
      }
      const condition = conditionOf(pod, 'Initialized');
      assert.equal(condition?.status, done === all.length ? 'True' : 'False');
      assert.ok(condition?.lastTransitionTime);
      assert.ok(!wasInitialized || condition?.status === 'True', 'initialized for good');
      wasInitialized = condition?.status === 'True';
    }
  }

  test('run before the containers of a pod that ends', async () => {
    using seen = watch('init-never');
    cluster.createPod('init-never', { restartPolicy: 'Never', ...init('true', 'true'), containers: [sh('true')] });
    const pod = await cluster.whenPod('init-never', isOver);
    assert.equal(pod.status?.phase, 'Succeeded');
    assert.equal(conditionOf(pod, 'Initialized')?.status, 'True');
    assert.deepEqual(
      pod.status?.initContainerStatuses?.map((s) => [s.ready, s.state?.terminated?.exitCode]),
      [
        [true, 0],
        [true, 0],
      ],
    );
    checkInit(seen.pods());
  });

  test('run before the containers of a pod that goes on', async () => {
    using seen = watch('init-always');
    cluster.createPod('init-always', { ...init('true', 'true'), containers: [sh(idle)] });
    await cluster.whenPod('init-always', ({ phase }) => phase === 'Running');
    checkInit(seen.pods());
  });

  test('that fail are tried again and keep the containers waiting', async () => {
    using seen = watch('init-fails');
    cluster.createPod('init-fails', { ...init('false', 'true'), containers: [sh(idle)] });
    const pod = await cluster.whenPod('init-fails', (s) => (s.initContainerStatuses?.[0]?.restartCount ?? 0) >= 2);
    checkInit(seen.pods());
    assert.equal(pod.status?.phase, 'Pending');
    const { status, reason, message } = conditionOf(pod, 'Initialized') ?? {};
    assert.deepEqual(
      [status, reason, message],
      ['False', 'ContainersNotInitialized', 'containers with incomplete status: [init1 init2]'],
    );
    assert.ok(seen.pods().some((p) => p.status?.initContainerStatuses?.[0]?.lastState?.terminated));
    await remove('init-fails');
  });

  test('that fail for good fail the pod, whose containers have never been anything but waiting', async () => {
    using seen = watch('init-ends');
    cluster.createPod('init-ends', { restartPolicy: 'Never', ...init('true', 'false'), containers: [sh('true')] });
    const pod = await cluster.whenPod('init-ends', isOver);
    checkInit(seen.pods());
    assert.equal(pod.status?.phase, 'Failed');
    const { status, reason, message } = conditionOf(pod, 'Initialized') ?? {};
    assert.deepEqual(
      [status, reason, message],
      ['False', 'ContainersNotInitialized', 'containers with incomplete status: [init2]'],
    );
  });
});

describe('pods that are deleted', { concurrency: 8 }, () => {
  test('a watcher sees it come, go and gone', async () => {
    using seen = watch('seen');
    cluster.createPod('seen', { containers: [sh(idle)] });
    await cluster.whenPodReady('seen');
    await remove('seen', '--grace-period=30');
    await cluster.whenPodGone('seen');
    const last = seen.changes.at(-1);
    assert.deepEqual([seen.changes[0]?.type, last?.type], ['ADDED', 'DELETED']);
    assert.ok(last?.object.metadata.deletionTimestamp);
  });

  /** Pods of one container that always fails, deleted at every moment of their short lives. */
  for (const behindInit of [false, true]) {
    const [what, prefix] = behindInit ? ['an init container', 'init-fast'] : ['a container', 'fast'];
    for (const afterMs of [0, 50, 150, 300, 500, 800, 1200, 2000]) {
      test(`${what} that fails, deleted after ${afterMs} ms: no step back, and no success`, async () => {
        const name = `${prefix}-${afterMs}`;
        using seen = watch(name);
        const failing = sh('exit 1', { name: 'fail' });
        cluster.createPod(name, {
          restartPolicy: 'Never',
          ...(behindInit
            ? { initContainers: [failing], containers: [sh('true', { name: 'blocked' })] }
            : { containers: [failing] }),
        });
        await new Promise((resolve) => setTimeout(resolve, afterMs));
        await remove(name);
        await cluster.whenPodGone(name);
        checkFailing(seen.pods(), behindInit);
      });
    }
  }

  function checkFailing(pods: readonly Pod[], behindInit: boolean): void {
    const [wasOver, wasTerminated] = [new Set<string>(), new Set<string>()];
    for (const { status } of pods) {
      const all = behindInit ? status?.initContainerStatuses : status?.containerStatuses;
      assert.notEqual(status?.phase, 'Succeeded');
      if (wasOver.size > 0) assert.ok(wasOver.has(status?.phase ?? ''), 'a last phase stays');
      if (status?.phase === 'Failed') wasOver.add('Failed');
      const failed = all?.find((s) => s.name === 'fail');
      const ended = failed?.state?.terminated;
      if (wasTerminated.size > 0) assert.ok(ended, 'an end stays');
      if (ended) {
        wasTerminated.add('fail');
        const known = ended.exitCode === 1 || (ended.exitCode === 137 && ended.reason !== 'Completed');
        assert.ok(known, JSON.stringify(ended));
        assert.ok(!ended.finishedAt || ended.startedAt, 'what has ended had begun');
      }
      const blocked = status?.containerStatuses?.find((s) => s.name === 'blocked');
      if (blocked) assert.deepEqual([stateOf(blocked), blocked.started, blocked.lastState], ['waiting', false, {}]);
    }
    const last = pods.at(-1);
    assert.ok(!last?.status?.containerStatuses?.some((s) => s.state?.running), 'nothing runs at the end');
    assert.ok(last?.status?.phase === 'Failed' || last?.status?.phase === 'Pending', last?.status?.phase);
  }

  test('at once: a second without a preStop hook, and no more', async () => {
    cluster.createPod('at-once', {
      terminationGracePeriodSeconds: 300,
      containers: [sh('trap "" TERM; while :; do sleep 0.2; done')],
    });
    await cluster.whenPodReady('at-once');
    const began = performance.now();
    await remove('at-once', '--grace-period=1');
    await cluster.whenPodGone('at-once');
    assert.ok(performance.now() - began < 60_000);
  });

  test('while a volume is missing', async () => {
    cluster.createPod('no-volume', {
      containers: [sh(idle, { volumeMounts: [{ name: 'v', mountPath: '/v' }] })],
      volumes: [{ name: 'v', configMap: { name: 'never-there' } }],
    });
    await cluster.whenEvent('no-volume', 'FailedMount');
    await remove('no-volume');
    await cluster.whenPodGone('no-volume');
  });

  test('while its image is not to be had', async () => {
    cluster.createPod('no-image', { containers: [sh(idle, { image: 'registry.test/nothing:1' })] });
    await cluster.whenPod('no-image', (_, p) =>
      ['ErrImagePull', 'ImagePullBackOff'].includes(containerOf(p, 'c')?.state?.waiting?.reason ?? ''),
    );
    await remove('no-image');
    await cluster.whenPodGone('no-image');
  });

  const until = 'while [ ! -e /tmp/end ]; do sleep 0.1; done';
  const outcomes: Record<string, { readonly container: Container; readonly phase: string; readonly pending?: true }> = {
    'that succeeds': { container: sh(`trap "exit 0" TERM; ${until}`), phase: 'Succeeded' },
    'that fails': { container: sh(`trap "exit 1" TERM; ${until}`), phase: 'Failed' },
    'that never ran': { container: sh(idle, { image: 'registry.test/nothing:1' }), phase: 'Failed', pending: true },
  };
  for (const restartPolicy of ['Always', 'Never'] as const) {
    for (const [index, [what, { container, phase, pending }]] of Object.entries(outcomes).entries()) {
      test(`a container ${what} decides the phase that stays, under ${restartPolicy}`, async () => {
        const name = `phase-${restartPolicy.toLowerCase()}-${index}`;
        cluster.createPod(name, { restartPolicy, containers: [container] }, { finalizers: ['example.com/hold'] });
        await cluster.whenPod(name, (s, p) =>
          pending ? containerOf(p, 'c')?.state?.waiting?.message !== undefined : isReady(s),
        );
        await remove(name);
        const pod = await cluster.whenPod(name, isOver);
        assert.equal(pod.status?.phase, phase);
        assert.equal(stateOf(containerOf(pod, 'c')), 'terminated');
        await cluster.kubectl('patch', 'pod', name, '--type=merge', '-p', '{"metadata":{"finalizers":null}}');
        await cluster.whenPodGone(name);
      });
    }
  }

  test('during initialisation: what has begun ends, and nothing more begins', async () => {
    using seen = watch('unborn');
    cluster.createPod('unborn', {
      terminationGracePeriodSeconds: 30,
      initContainers: [
        sh(idle, { name: 'side', restartPolicy: 'Always' }),
        sh(idle, { name: 'first' }),
        sh('true', { name: 'second' }),
      ],
      containers: [sh(idle)],
    });
    await cluster.whenPod('unborn', (s) => stateOf(s.initContainerStatuses?.[1]) === 'running');
    await remove('unborn');
    await cluster.whenPodGone('unborn');
    const last = seen.pods().at(-1)?.status;
    assert.deepEqual(last?.initContainerStatuses?.map(stateOf), ['terminated', 'terminated', 'waiting']);
    assert.deepEqual(last?.containerStatuses?.map(stateOf), ['waiting']);
    assert.equal(last?.phase, 'Failed');
  });

  test('and created anew under the same name at once', async () => {
    const spec = {
      terminationGracePeriodSeconds: 10,
      containers: [sh('trap "sleep 2; exit 0" TERM; while :; do sleep 0.1; done')],
    };
    cluster.createPod('again', spec);
    const first = await cluster.whenPodReady('again');
    await remove('again', '--force', '--grace-period=0');
    cluster.createPod('again', spec);
    const second = await cluster.whenPodReady('again');
    assert.notEqual(second.metadata.uid, first.metadata.uid);
    assert.equal(containerOf(second, 'c')?.restartCount, 0);
  });

  test('one with a finalizer has ended, and stays until that is taken away', async () => {
    cluster.createPod('held', { containers: [sh(idle)] }, { finalizers: ['example.com/hold'] });
    await cluster.whenPodReady('held');
    await remove('held');
    const pod = await cluster.whenPod('held', (s, p) => isOver(s) && p.metadata.deletionGracePeriodSeconds === 0);
    assert.equal(stateOf(containerOf(pod, 'c')), 'terminated');
    await cluster.kubectl('patch', 'pod', 'held', '--type=merge', '-p', '{"metadata":{"finalizers":null}}');
    await cluster.whenPodGone('held');
  });

  test('readiness follows its probe to the end, and nobody asks whether it lives', async () => {
    const dying = 'rm -f /tmp/ready /tmp/alive; while [ ! -e /tmp/end ]; do sleep 0.1; done; exit 0';
    cluster.createPod('dying', {
      terminationGracePeriodSeconds: 30,
      containers: [
        sh(`trap '${dying}' TERM; touch /tmp/ready /tmp/alive; while :; do sleep 0.1; done`, {
          readinessProbe: { ...exec('cat /tmp/ready'), failureThreshold: 1, periodSeconds: 1 },
          livenessProbe: { ...exec('cat /tmp/alive'), failureThreshold: 1, periodSeconds: 1, initialDelaySeconds: 1 },
        }),
      ],
    });
    await cluster.whenPodReady('dying');
    await remove('dying');
    const pod = await cluster.whenPod('dying', (s) => !isReady(s));
    assert.equal(stateOf(containerOf(pod, 'c')), 'running');
    const id = containerOf(pod, 'c')?.containerID?.split('//')[1] ?? '';
    // Three readiness failures later a liveness probe would have had its turn.
    await cluster.host.exec('sleep', ['3']);
    await cluster.host.cri().runtime.execSync(id, ['touch', '/tmp/end'], 10, signal);
    await cluster.whenPodGone('dying');
    const said = cluster.events('dying').map((e) => e.message);
    assert.ok(!said.some((text) => text.startsWith('Liveness probe failed')), said.join('\n'));
  });
});

describe('hooks', { concurrency: 6 }, () => {
  let server: Pod;
  before(async () => {
    cluster.createPod('server', {
      containers: [{ name: 'c', image: HTTPD_IMAGE, command: ['httpd', '-f', '-vv', '-p', '8080', '-h', '/www'] }],
    });
    server = await cluster.whenPodReady('server');
  });
  const asks = (path: string) => ({ httpGet: { host: server.status?.podIP ?? '', port: 8080, path } });
  const asked = (path: string) => whenPrinted('server', path);

  for (const kind of ['containers', 'initContainers'] as const) {
    const name = `hooked-${kind.toLowerCase()}`;
    test(`reach another pod, over HTTP and from inside, of ${kind}`, async () => {
      const wget = (path: string) => exec(`wget -qO- http://${server.status?.podIP}:8080/${path} || true`);
      const policy = kind === 'initContainers' ? { restartPolicy: 'Always' as const } : {};
      const hooked = [
        sh(idle, {
          name: 'h',
          ...policy,
          lifecycle: { postStart: asks(`/${name}-up`), preStop: asks(`/${name}-off`) },
        }),
        sh(idle, { name: 'e', ...policy, lifecycle: { postStart: wget(`${name}-in`), preStop: wget(`${name}-out`) } }),
      ];
      const spec = kind === 'containers' ? { containers: hooked } : { initContainers: hooked, containers: [sh(idle)] };
      cluster.createPod(name, { terminationGracePeriodSeconds: 30, ...spec });
      await cluster.whenPodReady(name);
      await Promise.all([asked(`/${name}-up`), asked(`/${name}-in`)]);
      await remove(name);
      await cluster.whenPodGone(name);
      await Promise.all([asked(`/${name}-off`), asked(`/${name}-out`)]);
    });
  }

  const naps: Record<string, { sleep: number; grace?: number; script?: string; atLeast: number; atMost: number }> = {
    'sleeps as long as it says': { sleep: 4, atLeast: 4, atMost: 30 },
    'but no longer than its pod has': { sleep: 40, grace: 2, atLeast: 2, atMost: 30 },
    'and not for a container that has ended': { sleep: 40, script: 'exit 0', atLeast: 0, atMost: 30 },
  };
  for (const [index, [sentence, nap]] of Object.entries(naps).entries()) {
    test(`a preStop hook ${sentence}`, async () => {
      const name = `nap-${index}`;
      const preStop = { sleep: { seconds: nap.sleep } };
      cluster.createPod(name, {
        restartPolicy: 'Never',
        terminationGracePeriodSeconds: 60,
        containers: [sh(nap.script ?? idle, { lifecycle: { preStop } })],
      });
      await cluster.whenPod(name, (s) => isReady(s) || isOver(s));
      const began = performance.now();
      await remove(name, ...(nap.grace ? [`--grace-period=${nap.grace}`] : []));
      await cluster.whenPodGone(name);
      const seconds = (performance.now() - began) / 1000;
      assert.ok(seconds >= nap.atLeast && seconds <= nap.atMost, `${seconds} s`);
    });
  }
});

describe('pods that are changed', { concurrency: 6 }, () => {
  test('a deadline that comes later ends what runs', async () => {
    cluster.createPod('deadline', { containers: [sh(idle)] });
    await cluster.whenPodReady('deadline');
    await cluster.kubectl('patch', 'pod', 'deadline', '-p', '{"spec":{"activeDeadlineSeconds":1}}');
    const pod = await cluster.whenPod('deadline', (s) => s.phase === 'Failed');
    assert.equal(pod.status?.reason, 'DeadlineExceeded');
    assert.equal(pod.status?.observedGeneration, pod.metadata.generation);
    for (const { type, observedGeneration } of pod.status?.conditions ?? [])
      assert.equal(observedGeneration, pod.metadata.generation, type);
  });

  test('labels that change change nothing that runs', async () => {
    cluster.createPod('labelled', { containers: [sh(idle)] }, { labels: { time: '1' } });
    const first = await cluster.whenPodReady('labelled');
    await cluster.kubectl('label', 'pod', 'labelled', 'time=2', '--overwrite');
    await cluster.kubectl('annotate', 'pod', 'labelled', 'note=x');
    await cluster.kubectl('patch', 'pod', 'labelled', '-p', '{"spec":{"activeDeadlineSeconds":3600}}');
    const later = await cluster.whenPod('labelled', (s) => s.observedGeneration === 2);
    assert.equal(containerOf(later, 'c')?.containerID, containerOf(first, 'c')?.containerID);
  });

  test('readiness gates open and close', async () => {
    const gates = ['k8s.io/one', 'k8s.io/two'];
    const patch = (type: string, status: string) =>
      cluster.kubectl(
        ...['patch', 'pod', 'gated', '--subresource=status', '-p'],
        JSON.stringify({ status: { conditions: [{ type, status }] } }),
      );
    const says = (text: string) => (s: PodStatus) =>
      s.conditions?.some((c) => c.type === 'Ready' && c.status === 'False' && c.message?.includes(text)) === true;
    cluster.createPod('gated', {
      readinessGates: gates.map((conditionType) => ({ conditionType })),
      containers: [sh(idle)],
    });
    await cluster.whenPod('gated', says('"k8s.io/one" does not exist., corresponding condition of pod readiness gate'));
    await patch('k8s.io/one', 'True');
    await cluster.whenPod('gated', says('corresponding condition of pod readiness gate "k8s.io/two" does not exist.'));
    await patch('k8s.io/two', 'True');
    await cluster.whenPodReady('gated');
    await patch('k8s.io/one', 'False');
    await cluster.whenPod('gated', says('the status of pod readiness gate "k8s.io/one" is not "True", but False'));
  });

  const badParts: Record<string, { readonly part?: string; readonly expression: string }> = {
    'up and out': { part: '..', expression: '$(PART)' },
    'from the root': { part: '/tmp', expression: '$(PART)' },
    'nowhere, for want of a note': { expression: '$(PART)/$(POD)' },
  };
  for (const [index, [where, { part, expression }]] of Object.entries(badParts).entries()) {
    test(`a part of a volume may not lead ${where}, until a note says better`, async () => {
      const name = `part-${index}`;
      const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
      cluster.createPod(
        name,
        {
          containers: [
            sh(`touch /part/made; find /v; ${idle}`, {
              env: [field('PART', "metadata.annotations['part']"), field('POD', 'metadata.name')],
              volumeMounts: [
                { name: 'v', mountPath: '/part', subPathExpr: expression },
                { name: 'v', mountPath: '/v' },
              ],
            }),
          ],
          volumes: [{ name: 'v', emptyDir: {} }],
        },
        { annotations: part ? { part } : { another: 'x' } },
      );
      const waiting = (pod: Pod) => containerOf(pod, 'c')?.state?.waiting?.reason;
      await cluster.whenPod(name, (_, pod) => waiting(pod) === 'CreateContainerConfigError');
      await cluster.kubectl('annotate', 'pod', name, 'part=good', '--overwrite');
      const running = await cluster.whenPodReady(name);
      await whenPrinted(name, part ? '/v/good/made' : `/v/good/${name}/made`);
      await cluster.kubectl('annotate', 'pod', name, 'part=other', '--overwrite');
      await remove(name);
      await cluster.whenPodGone(name);
      assert.equal(containerOf(running, 'c')?.restartCount, 0);
    });
  }
});

describe('volumes that change', { concurrency: 4 }, () => {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const kinds = {
    configMap: {
      kind: 'ConfigMap',
      data: (text: string) => ({ data: { 'data-1': text } }),
      volume: (name: string) => ({ configMap: { name, optional: true } }),
      source: (name: string) => ({ configMap: { name, optional: true } }),
    },
    secret: {
      kind: 'Secret',
      data: (text: string) => ({ data: { 'data-1': base64(text) } }),
      volume: (secretName: string) => ({ secret: { secretName, optional: true } }),
      source: (name: string) => ({ secret: { name, optional: true } }),
    },
  } as const;
  for (const [what, kind] of Object.entries(kinds)) {
    for (const projected of [false, true]) {
      const name = `follow-${what.toLowerCase()}${projected ? '-projected' : ''}`;
      test(`what is optional comes, changes and goes: ${name}`, async () => {
        const objects = ['del', 'upd', 'new'].map((part) => `${name}-${part}`);
        const [del = '', upd = '', made = ''] = objects;
        create(kind.kind, del, kind.data('value-1'));
        create(kind.kind, upd, kind.data('value-1'));
        const volume = (object: string) =>
          projected ? { projected: { sources: [kind.source(object)] } } : kind.volume(object);
        const look = ['del', 'upd', 'new'].map((v) => `echo ${v}=$(cat /${v}/data-1 2>/dev/null)`).join('; ');
        cluster.createPod(name, {
          containers: [
            sh(`trap "exit 0" TERM; while :; do ${look}; sleep 0.3; done`, {
              volumeMounts: ['del', 'upd', 'new'].map((v) => ({ name: v, mountPath: `/${v}` })),
            }),
          ],
          volumes: ['del', 'upd', 'new'].map((v, index) => ({ name: v, ...volume(objects[index] ?? '') })),
        });
        await whenStarted(name);
        await whenPrinted(name, 'F del=value-1');
        await cluster.kubectl('delete', kind.kind, del);
        await cluster.kubectl('patch', kind.kind, upd, '--type=merge', '-p', JSON.stringify(kind.data('value-2')));
        create(kind.kind, made, kind.data('value-3'));
        await whenPrinted(name, 'upd=value-2');
        await whenPrinted(name, 'new=value-3');
        const log = `/var/log/pods/default_${name}_${cluster.pod(name)?.metadata.uid}/c/0.log`;
        await cluster.host.exec('sh', ['-c', 'until tail -3 "$0" | grep -q "F del=$"; do sleep 0.1; done', log], {
          timeoutMs: 90_000,
        });
      });
    }
  }

  test('labels and annotations of the pod itself', async () => {
    cluster.createPod(
      'itself',
      {
        containers: [
          sh('trap "exit 0" TERM; while :; do cat /v/labels /v/notes; echo; sleep 0.3; done', {
            volumeMounts: [{ name: 'v', mountPath: '/v' }],
          }),
        ],
        volumes: [
          {
            name: 'v',
            downwardAPI: {
              items: [
                { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
                { path: 'notes', fieldRef: { fieldPath: 'metadata.annotations' } },
              ],
            },
          },
        ],
      },
      { labels: { key: 'one' }, annotations: { note: 'one' } },
    );
    await whenStarted('itself');
    await whenPrinted('itself', 'key="one"');
    await cluster.kubectl('label', 'pod', 'itself', 'key=two', 'more=x', '--overwrite');
    await cluster.kubectl('annotate', 'pod', 'itself', 'note=two', '--overwrite');
    await whenPrinted('itself', 'key="two"');
    await whenPrinted('itself', 'note="two"');
  });

  const whenStarted = (name: string) => cluster.whenPod(name, (s) => s.phase === 'Running');
});

describe('probes', { concurrency: 6 }, () => {
  test('a pod is ready as soon as it has started, however seldom it is asked', async () => {
    cluster.createPod('eager', {
      containers: [
        sh(`sleep 3; touch /tmp/started; ${idle}`, {
          startupProbe: { ...exec('cat /tmp/started'), periodSeconds: 1, failureThreshold: 120 },
          readinessProbe: { ...exec('true'), periodSeconds: 300 },
        }),
      ],
    });
    const pod = await cluster.whenPodReady('eager', 60_000);
    assert.equal(containerOf(pod, 'c')?.started, true);
  });

  test('no pod is ready before its initial delay', async () => {
    cluster.createPod('patient', {
      containers: [sh(idle, { readinessProbe: { ...exec('true'), periodSeconds: 1, initialDelaySeconds: 4 } })],
    });
    const pod = await cluster.whenPodReady('patient');
    const startedAt = Date.parse(containerOf(pod, 'c')?.state?.running?.startedAt ?? '');
    const readyAt = Date.parse(conditionOf(pod, 'Ready')?.lastTransitionTime ?? '');
    assert.ok(readyAt - startedAt >= 4000, `${readyAt - startedAt} ms`);
    assert.equal(containerOf(pod, 'c')?.restartCount, 0);
  });

  test('a container that never becomes ready is never restarted', async () => {
    cluster.createPod('unready', {
      containers: [sh(idle, { readinessProbe: { ...exec('false'), periodSeconds: 1, failureThreshold: 1 } })],
    });
    await cluster.whenEvent('unready', 'Unhealthy');
    const pod = cluster.pod('unready');
    assert.deepEqual([isReady(pod?.status ?? {}), pod?.status?.containerStatuses?.[0]?.restartCount], [false, 0]);
  });

  test("a probe's own grace period ends a container that ignores its signal", async () => {
    cluster.createPod('stubborn', {
      terminationGracePeriodSeconds: 500,
      containers: [
        sh('trap "" TERM; while :; do sleep 0.2; done', {
          livenessProbe: {
            httpGet: { port: 8080 },
            failureThreshold: 1,
            periodSeconds: 1,
            terminationGracePeriodSeconds: 3,
          },
        }),
      ],
    });
    const pod = await cluster.whenPod('stubborn', (_, p) => containerOf(p, 'c')?.restartCount === 1);
    assert.equal(containerOf(pod, 'c')?.lastState?.terminated?.exitCode, 137);
    await remove('stubborn', '--grace-period=0', '--force');
  });
});

describe('pods that may not run here', () => {
  test('another operating system', async () => {
    cluster.createPod('windows', { os: { name: 'windows' }, containers: [sh(idle)] });
    const pod = await cluster.whenPod('windows', (s) => s.phase === 'Failed');
    assert.equal(pod.status?.reason, 'PodOSNotSupported');
    assert.equal(pod.status?.containerStatuses, undefined);
    assert.ok(pod.status?.startTime);
  });
});

test("the node's lease is renewed by its holder", async () => {
  const lease = async () =>
    JSON.parse(await cluster.kubectl('get', 'lease', '-n', 'kube-node-lease', 'node-a', '-o', 'json'));
  const first = await lease();
  assert.equal(first.spec.holderIdentity, 'node-a');
  assert.equal(first.spec.leaseDurationSeconds, 40);
  assert.deepEqual(
    first.metadata.ownerReferences.map((o: { kind: string; name: string }) => `${o.kind} ${o.name}`),
    ['Node node-a'],
  );
  let later = first;
  while (later.spec.renewTime === first.spec.renewTime) later = await lease();
  assert.ok(Date.parse(later.spec.renewTime) - Date.parse(first.spec.renewTime) <= 15_000);
});
