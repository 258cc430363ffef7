import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ConfigMap, Node, Pod, TokenRequest } from '../../src/api/core-v1.ts';
import { computeStrategicStatusPatch } from '../../src/kubeapi/compute-patch.ts';
import {
  isAlreadyExists,
  isConflict,
  isExpired,
  isNotFound,
  type KubeApi,
  type WatchEvent,
  type WatchQuery,
} from '../../src/kubeapi/kube-api.ts';
import { configMaps, nodes, pods, serviceAccounts } from '../../src/kubeapi/resources.ts';

/** An API server with the namespace `default` and its service account `default` in it. */
export interface KubeApiFixture extends AsyncDisposable {
  readonly api: KubeApi;
  /** Forgets the history of changes. */
  compact(): void;
  /** Makes a bookmark come soon to every watch that allows them. */
  bookmark(): void;
}

/** Only so that nothing hangs for ever. */
const signal = AbortSignal.timeout(300_000);
const namespace = 'default';

const configMap = (name: string, data: Record<string, string> = { k: 'v' }, labels = {}): ConfigMap => ({
  metadata: { namespace, name, labels },
  data,
});
const pod = (name: string, nodeName?: string): Pod => ({
  metadata: { namespace, name },
  spec: { containers: [{ name: 'c', image: 'i' }], ...(nodeName ? { nodeName } : {}) },
});
const node = (name: string): Node => ({ metadata: { name } });

/** Watches and takes the next events one by one; leaving the scope ends the watch. */
function watching<T extends Pod | ConfigMap>(
  api: KubeApi,
  resource: typeof configMaps | typeof pods,
  query: WatchQuery,
) {
  const stop = new AbortController();
  const events = api.watch(resource as typeof configMaps, query, stop.signal)[Symbol.asyncIterator]();
  return {
    async next(): Promise<WatchEvent<T>> {
      const { value, done } = await events.next();
      assert.ok(!done, 'the watch ended');
      return value as WatchEvent<T>;
    },
    /** The next `count` events, as 'ADDED name'. */
    async take(count: number): Promise<string[]> {
      const taken: string[] = [];
      while (taken.length < count) {
        const { type, object } = await this.next();
        if (type !== 'BOOKMARK') taken.push(`${type} ${object.metadata.name}`);
      }
      return taken;
    },
    stop,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await events.return?.();
    },
  };
}

/** What keelson relies on in the Kubernetes API. Runs against the fake, and through the client against the stand-in server. */
export function kubeApiContract(title: string, open: () => Promise<KubeApiFixture>): void {
  const it = (sentence: string, body: (fixture: KubeApiFixture) => Promise<void>) =>
    test(sentence, async () => {
      await using fixture = await open();
      await body(fixture);
    });

  describe(title, () => {
    it('what was created can be read, with identity and version from the server', async ({ api }) => {
      const made = await api.create(configMaps, configMap('a'), signal);
      assert.ok(made.metadata.uid && made.metadata.resourceVersion && made.metadata.creationTimestamp);
      const read = await api.get(configMaps, made.metadata, signal);
      assert.deepEqual(read, made);
      assert.deepEqual([read.kind, read.apiVersion, read.data], ['ConfigMap', 'v1', { k: 'v' }]);
    });

    it('a name is taken once, and a missing one is NotFound', async ({ api }) => {
      await api.create(configMaps, configMap('a'), signal);
      await assert.rejects(api.create(configMaps, configMap('a'), signal), isAlreadyExists);
      await assert.rejects(api.get(configMaps, { namespace, name: 'b' }, signal), isNotFound);
      const patch = { type: 'merge', body: {} } as const;
      await assert.rejects(api.patch(configMaps, { namespace, name: 'b' }, patch, signal), isNotFound);
      await assert.rejects(api.delete(configMaps, { namespace, name: 'b' }, {}, signal), isNotFound);
    });

    it('an update of an old version is a conflict, and changes nothing', async ({ api }) => {
      const first = await api.create(configMaps, configMap('a'), signal);
      const second = await api.update(configMaps, { ...first, data: { k: 'w' } }, signal);
      assert.notEqual(second.metadata.resourceVersion, first.metadata.resourceVersion);
      await assert.rejects(api.update(configMaps, { ...first, data: { k: 'x' } }, signal), isConflict);
      assert.deepEqual((await api.get(configMaps, first.metadata, signal)).data, { k: 'w' });
    });

    it('lists are chosen by labels and fields, and their items know their kind', async ({ api }) => {
      await api.create(configMaps, configMap('a', {}, { app: 'web', tier: 'x' }), signal);
      await api.create(configMaps, configMap('b', {}, { app: 'db' }), signal);
      const names = async (query: object) =>
        (await api.list(configMaps, { namespace, ...query }, signal)).items
          .filter((item) => 'app' in (item.metadata.labels ?? {}))
          .map((item) => `${item.kind} ${item.metadata.name}`);
      assert.deepEqual(await names({}), ['ConfigMap a', 'ConfigMap b']);
      assert.deepEqual(await names({ labelSelector: 'app=web' }), ['ConfigMap a']);
      assert.deepEqual(await names({ labelSelector: 'app in (web,db),!tier' }), ['ConfigMap b']);
      assert.deepEqual(await names({ fieldSelector: 'metadata.name=b' }), ['ConfigMap b']);
    });

    it('a list comes in pages when a limit is given', async ({ api }) => {
      for (const name of ['a', 'b', 'c']) await api.create(configMaps, configMap(name, {}, { page: 'y' }), signal);
      const query = { namespace, labelSelector: 'page=y', limit: 2 };
      const first = await api.list(configMaps, query, signal);
      const second = await api.list(configMaps, { ...query, continue: first.continue ?? '' }, signal);
      assert.deepEqual([first.items.length, second.items.length, second.continue], [2, 1, undefined]);
      assert.equal(first.resourceVersion, second.resourceVersion);
    });

    it('a merge patch merges, a JSON patch edits', async ({ api }) => {
      const { metadata } = await api.create(configMaps, configMap('a', { k: 'v', l: 'm' }), signal);
      const merged = await api.patch(
        configMaps,
        metadata,
        { type: 'merge', body: { data: { l: null, n: 'o' } } },
        signal,
      );
      assert.deepEqual(merged.data, { k: 'v', n: 'o' });
      const body = [{ op: 'replace', path: '/data/k', value: 'w' }];
      assert.deepEqual((await api.patch(configMaps, metadata, { type: 'json', body }, signal)).data, {
        k: 'w',
        n: 'o',
      });
    });

    it('a patch with an old version or another UID is a conflict', async ({ api }) => {
      const { metadata } = await api.create(pods, pod('a'), signal);
      const patched = (extra: object) =>
        api.patch(
          pods,
          metadata,
          { type: 'strategic', subresource: 'status', body: { metadata: extra, status: { phase: 'Running' } } },
          signal,
        );
      await assert.rejects(patched({ uid: 'another' }), isConflict);
      await assert.rejects(patched({ resourceVersion: '1' }), isConflict);
      assert.equal((await patched({ uid: metadata.uid })).status?.phase, 'Running');
    });

    it('a computed status patch brings a pod to exactly that status, and leaves the spec alone', async ({ api }) => {
      const made = await api.create(pods, pod('a', 'n1'), signal);
      const condition = (type: string, status: 'True' | 'False') => ({ type, status });
      const statuses = [
        { phase: 'Pending', conditions: [condition('PodScheduled', 'True'), condition('Ready', 'False')] },
        {
          phase: 'Running',
          podIP: '10.0.0.1',
          podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }],
          conditions: [condition('Ready', 'True'), condition('PodScheduled', 'True')],
        },
        { phase: 'Running', podIP: '10.0.0.2', podIPs: [{ ip: '10.0.0.2' }], conditions: [condition('Ready', 'True')] },
      ] as const;
      let current: Pod = made;
      for (const status of statuses) {
        const after = { ...status, ...(current.status?.qosClass ? { qosClass: current.status.qosClass } : {}) };
        const body = computeStrategicStatusPatch('Pod', current.status, after, { uid: made.metadata.uid ?? '' });
        current = await api.patch(pods, made.metadata, { type: 'strategic', subresource: 'status', body }, signal);
        assert.deepEqual(current.status, after);
      }
      const body = { spec: { nodeName: 'n2' }, status: { phase: 'Failed' } };
      const last = await api.patch(pods, made.metadata, { type: 'strategic', subresource: 'status', body }, signal);
      assert.deepEqual([last.spec.nodeName, last.status?.phase], ['n1', 'Failed']);
    });

    it('a status is not written through the object itself', async ({ api }) => {
      const { metadata } = await api.create(nodes, node('n1'), signal);
      const body = { metadata: { labels: { x: 'y' } }, status: { capacity: { cpu: '64' } } };
      const patched = await api.patch(nodes, metadata, { type: 'strategic', body }, signal);
      assert.deepEqual([patched.metadata.labels?.['x'], patched.status?.capacity?.['cpu']], ['y', undefined]);
    });

    it('a node may have two addresses of one type, and loses none of them', async ({ api }) => {
      const { metadata, status } = await api.create(nodes, node('n1'), signal);
      const addresses = [
        { type: 'InternalIP', address: '192.0.2.1' },
        { type: 'InternalIP', address: '2001:db8::1' },
        { type: 'Hostname', address: 'n1' },
      ];
      let before = status;
      for (const wanted of [addresses, addresses.slice(1)]) {
        const body = computeStrategicStatusPatch('Node', before, { ...before, addresses: wanted });
        const patched = await api.patch(nodes, metadata, { type: 'strategic', subresource: 'status', body }, signal);
        assert.deepEqual(patched.status?.addresses, wanted);
        before = patched.status;
      }
    });

    it('a pod on a node is marked first, and gone with grace 0', async ({ api }) => {
      const { metadata } = await api.create(pods, pod('a', 'n1'), signal);
      await api.delete(pods, metadata, { gracePeriodSeconds: 20 }, signal);
      const marked = await api.get(pods, metadata, signal);
      assert.equal(marked.metadata.deletionGracePeriodSeconds, 20);
      assert.ok(marked.metadata.deletionTimestamp);
      await api.delete(pods, metadata, { gracePeriodSeconds: 5 }, signal);
      assert.equal((await api.get(pods, metadata, signal)).metadata.deletionGracePeriodSeconds, 5, 'grace shrinks');
      await api.delete(pods, metadata, { gracePeriodSeconds: 15 }, signal);
      assert.equal((await api.get(pods, metadata, signal)).metadata.deletionGracePeriodSeconds, 5, 'and never grows');
      const other = api.delete(pods, metadata, { gracePeriodSeconds: 0, uid: 'another' }, signal);
      await assert.rejects(other, isConflict);
      await api.delete(pods, metadata, { gracePeriodSeconds: 0, uid: metadata.uid ?? '' }, signal);
      await assert.rejects(api.get(pods, metadata, signal), isNotFound);
    });

    it('a service account gets a token that expires', async ({ api }) => {
      const request = {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { expirationSeconds: 3600 },
      };
      const ref = { namespace, name: 'default' };
      const answer: TokenRequest = await api.createSubresource(serviceAccounts, ref, 'token', request, signal);
      assert.equal(answer.kind, 'TokenRequest');
      assert.ok((answer.status?.token.length ?? 0) > 10);
      assert.ok(Date.parse(answer.status?.expirationTimestamp ?? '') > 0);
    });

    it('a watch tells what happened since a version, in order', async ({ api }) => {
      const { metadata } = await api.create(configMaps, configMap('a'), signal);
      const { resourceVersion } = await api.list(configMaps, { namespace }, signal);
      await api.patch(configMaps, metadata, { type: 'merge', body: { data: { k: 'w' } } }, signal);
      await using watch = watching<ConfigMap>(api, configMaps, { namespace, resourceVersion });
      assert.deepEqual(await watch.take(1), ['MODIFIED a']);
      await api.create(configMaps, configMap('b'), signal);
      await api.delete(configMaps, metadata, {}, signal);
      assert.deepEqual(await watch.take(2), ['ADDED b', 'DELETED a']);
    });

    it('a watch with a selector sees an object come and go through it', async ({ api }) => {
      const { resourceVersion } = await api.list(pods, { namespace }, signal);
      await using watch = watching<Pod>(api, pods, { resourceVersion, fieldSelector: 'status.phase=Running' });
      const { metadata } = await api.create(pods, pod('a', 'n1'), signal);
      for (const phase of ['Running', 'Failed']) {
        await api.patch(
          pods,
          metadata,
          { type: 'strategic', subresource: 'status', body: { status: { phase } } },
          signal,
        );
      }
      assert.deepEqual(await watch.take(2), ['ADDED a', 'DELETED a']);
    });

    it('a watch from a forgotten version is expired, one from now is not', async ({ api, compact }) => {
      const { metadata } = await api.create(configMaps, configMap('a'), signal);
      const old = metadata.resourceVersion ?? '';
      await api.create(configMaps, configMap('b'), signal);
      await api.create(configMaps, configMap('c'), signal);
      compact();
      const { resourceVersion } = await api.list(configMaps, { namespace }, signal);
      await using stale = watching<ConfigMap>(api, configMaps, { namespace, resourceVersion: old });
      await assert.rejects(stale.next(), isExpired);
      await using fresh = watching<ConfigMap>(api, configMaps, { namespace, resourceVersion });
      await api.create(configMaps, configMap('d'), signal);
      assert.deepEqual(await fresh.take(1), ['ADDED d']);
    });

    it('a bookmark carries a version to go on from', async ({ api, bookmark }) => {
      const { resourceVersion } = await api.list(configMaps, { namespace }, signal);
      const query = { namespace, resourceVersion, allowWatchBookmarks: true };
      await using watch = watching<ConfigMap>(api, configMaps, query);
      await api.create(configMaps, configMap('a'), signal);
      const added = await watch.next();
      bookmark();
      const mark = await watch.next();
      assert.equal(mark.type, 'BOOKMARK');
      assert.ok(Number(mark.object.metadata.resourceVersion) >= Number(added.object.metadata.resourceVersion));
    });

    it('a streamed list ends with a marked bookmark and goes on as a watch', async ({ api }) => {
      for (const name of ['a', 'b']) await api.create(configMaps, configMap(name, {}, { streamed: 'y' }), signal);
      const query = { namespace, labelSelector: 'streamed=y', sendInitialEvents: true, allowWatchBookmarks: true };
      await using watch = watching<ConfigMap>(api, configMaps, query);
      assert.deepEqual((await watch.take(2)).sort(), ['ADDED a', 'ADDED b']);
      const { type, object } = await watch.next();
      assert.equal(type, 'BOOKMARK');
      assert.equal(object.metadata.annotations?.['k8s.io/initial-events-end'], 'true');
      await api.create(configMaps, configMap('c', {}, { streamed: 'y' }), signal);
      assert.deepEqual(await watch.take(1), ['ADDED c']);
    });

    it('an aborted watch ends with the reason of its signal', async ({ api }) => {
      const { resourceVersion } = await api.list(configMaps, { namespace }, signal);
      await using watch = watching<ConfigMap>(api, configMaps, { namespace, resourceVersion });
      await api.create(configMaps, configMap('a'), signal);
      await watch.take(1);
      const next = assert.rejects(watch.next(), { name: 'AbortError' });
      watch.stop.abort();
      await next;
    });

    it('a watch with a timeout is ended by the server', async ({ api }) => {
      const { resourceVersion } = await api.list(configMaps, { namespace }, signal);
      const query = { namespace, resourceVersion, timeoutSeconds: 1 };
      for await (const event of api.watch(configMaps, query, signal)) assert.equal(event.type, 'BOOKMARK');
    });
  });
}
