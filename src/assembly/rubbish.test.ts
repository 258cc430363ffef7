import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConfigMap, Node, Pod, Secret, Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { podUid } from '../api/ids.ts';
import type { KubeObject } from '../api/meta-v1.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { Reflector } from '../kubeapi/reflector.ts';
import { configMaps, endpointSlices, nodes, pods, type Resource, secrets, services } from '../kubeapi/resources.ts';
import { generateEnv } from '../kuberuntime/generate-env.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { NodeStore } from '../node/node-store.ts';
import { apiPodSchema } from '../pod/api-pod-schema.ts';
import { decideAdmission } from '../pod/decide-admission.ts';
import { PodCache } from '../pod/pod-cache.ts';
import { PodManager } from '../pod/pod-manager.ts';
import { PodSources } from '../pod/sources.ts';
import { noProbes } from '../probes/probe-results.ts';
import { DualProxier } from '../proxy/dual-proxier.ts';
import { FakeNft } from '../proxy/nftables/fake-nft.ts';
import { Proxier } from '../proxy/proxier.ts';
import { ServiceFeed } from '../proxy/service-feed.ts';
import { StatusManager } from '../status/status-manager.ts';
import { randomOf } from '../testing/random.ts';
import { mutated, mutatedEvent } from '../testing/random-rubbish.ts';
import { ApiObjectSource } from '../volumes/api-object-source.ts';
import { computeVolumes } from '../volumes/compute-volumes.ts';
import { type PodSteps, PodWorkers } from '../workers/pod-workers.ts';

/*
 * Objects with anything in any field, by list and by watch, into what is made of them: nobody stumbles, a healthy
 * object beside them is served, and the server is not asked anew.
 */

const never = new AbortController().signal;
const seeds = Array.from({ length: 8 }, (_, i) => i + 1);
const perSeed = 60;

/** A fake server with healthy objects, and rubbish made of others in its lists. */
class Scene implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly api = new FakeKubeApi(this.clock);
  readonly lines: string[] = [];
  readonly log: Log;
  readonly random: (below: number) => number;
  readonly signal: AbortSignal;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>[] = [];

  constructor(seed: number) {
    this.random = randomOf(seed);
    this.signal = this.#stop.signal;
    this.api.streamingLists = seed % 2 === 0;
    const say = (fields: object, message: string) => void this.lines.push(`${message} ${JSON.stringify(fields)}`);
    this.log = { ...silentLog, warn: say, error: say };
  }

  async put<T extends KubeObject>(resource: Resource<T>, healthy: T, template: T): Promise<void> {
    await this.api.create(resource, healthy, never);
    const strays = Array.from({ length: perSeed }, () => this.#stray(template, healthy.metadata.name));
    this.api.strays.set(resource.plural, strays);
  }

  #stray(template: object, spared: string): unknown {
    for (;;) {
      const stray = mutated(template, this.random) as { metadata?: { name?: unknown } } | null | undefined;
      if (stray?.metadata?.name !== spared) return stray;
    }
  }

  start(running: Promise<unknown>): void {
    this.#running.push(running);
  }

  /** Sends rubbish made of `template`, then changes the healthy object. */
  async storm<T extends KubeObject>(resource: Resource<T>, healthy: T, template: T): Promise<void> {
    this.api.calls.length = 0;
    for (let i = 0; i < perSeed; i++) {
      this.api.sendRaw(resource, mutatedEvent(template, this.random, healthy.metadata.name));
      if (i % 10 === 0) await this.clock.advance(0);
    }
    const { namespace, name } = healthy.metadata;
    const ref = namespace === undefined ? { name } : { namespace, name };
    const body = { metadata: { labels: { last: 'word' } } };
    await this.api.patch(resource, ref, { type: 'merge', body }, never);
    await this.clock.advance(1_000);
    const asked = this.api.calls.filter((call) => /^(list|watch) /.test(call) && call.includes(resource.plural));
    assert.deepEqual(asked, [], 'nothing is asked for anew');
    assert.deepEqual(
      this.lines.filter((line) => /listener|cannot follow/.test(line)),
      [],
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }
}

const meta = (name: string, more: object = {}) => ({
  name,
  namespace: 'd',
  uid: `uid-${name}`,
  generation: 1,
  ...more,
});

const service = (name: string, ip: string): Service => ({
  metadata: meta(name, { labels: { app: name }, annotations: { a: 'b' }, creationTimestamp: '2026-01-01T00:00:00Z' }),
  spec: {
    ...{
      type: 'NodePort',
      clusterIP: ip,
      clusterIPs: [ip],
      externalIPs: ['198.51.100.1'],
      sessionAffinity: 'ClientIP',
    },
    ports: [{ name: 'web', port: 80, protocol: 'TCP', nodePort: name === 'good' ? 30_001 : 30_002 }],
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 10 } },
    loadBalancerSourceRanges: ['10.0.0.0/8'],
  },
  status: { loadBalancer: { ingress: [{ ip: '203.0.113.1' }] } },
});
const slice = (name: string, ip: string): EndpointSlice => ({
  metadata: meta(`${name}-1`, { labels: { 'kubernetes.io/service-name': name } }),
  addressType: 'IPv4',
  endpoints: [{ addresses: [ip], nodeName: 'here', conditions: { ready: true }, hints: { forZones: [{ name: 'z' }] } }],
  ports: [{ name: 'web', port: 8080, protocol: 'TCP' }],
});

for (const seed of seeds) {
  test(`Services and EndpointSlices, seed ${seed}`, async () => {
    await using scene = new Scene(seed);
    const [goodService, goodSlice] = [service('good', '10.96.0.1'), slice('good', '10.244.0.1')];
    const [badService, badSlice] = [service('bad', '10.96.0.2'), slice('bad', '10.244.0.2')];
    await scene.put(services, { ...goodService, spec: withoutClaims(goodService.spec) }, badService);
    await scene.put(endpointSlices, goodSlice, badSlice);
    const { clock, api, log } = scene;
    const nft = new FakeNft();
    const shared = { exec: nft, clock, log, nodeName: 'here', masqueradeAll: false, masqueradeBit: 14 };
    const proxier = new Proxier({ ...shared, clusterCidrs: ['10.244.0.0/16'] });
    const dual = new DualProxier(proxier);
    const feed = new ServiceFeed({ api, nodeName: 'here', proxier: dual, resyncMs: 900_000, clock, log });
    scene.start(feed.run(scene.signal));
    await clock.advance(0);
    await feed.servicesSynced;
    await scene.storm(services, goodService, badService);
    await scene.storm(endpointSlices, goodSlice, badSlice);
    await proxier.syncOnce('change', never);
    assert.equal(feed.services.get('d/good')?.metadata.labels?.['last'], undefined, 'labels that nobody reads');
    assert.match(nft.dump(), /10\.96\.0\.1 \. tcp \. 80/);
    assert.match(nft.dump(), /10\.244\.0\.1 \. 8080/);
    const env = generateEnv({
      ...{ pod: pod('good'), uid: podUid('u'), container: { name: 'c' }, services: feed.services.values() },
      ...{ objects: { configMaps: new Map(), secrets: new Map() }, files: new Map(), allocatable: {} },
      ...{ podIPs: [], hostIPs: [] },
    });
    assert.equal(env.get('GOOD_SERVICE_HOST'), '10.96.0.1');
    feed.slicesOf('d/good');
  });
}

/** What of two Services only one can have. */
const withoutClaims = ({ externalIPs: _, ...spec }: Service['spec']): Service['spec'] => spec;

const pod = (name: string): Pod => ({
  metadata: meta(name, { labels: { app: name }, deletionGracePeriodSeconds: 5, ownerReferences: [{ kind: 'Job' }] }),
  spec: {
    ...{ nodeName: 'here', terminationGracePeriodSeconds: 1, priority: 5, hostAliases: [{ ip: '10.0.0.1' }] },
    containers: [
      {
        ...{ name: 'c', image: 'i', command: ['a'], env: [{ name: 'A', value: 'b' }], ports: [{ containerPort: 80 }] },
        resources: { requests: { cpu: '100m', memory: '1Mi' }, limits: { cpu: '1' } },
        volumeMounts: [{ name: 'v', mountPath: '/v' }],
        readinessProbe: { httpGet: { port: 80 }, periodSeconds: 1 },
      },
    ],
    volumes: [{ name: 'v', configMap: { name: 'm', items: [{ key: 'a', path: 'b' }] } }],
    tolerations: [{ key: 'a', operator: 'Exists' }],
    securityContext: { sysctls: [{ name: 'a', value: 'b' }] },
  },
  status: {
    phase: 'Pending',
    conditions: [{ type: 'Ready', status: 'False', lastProbeTime: null }],
    podIPs: [{ ip: '10.244.0.9' }],
    containerStatuses: [{ name: 'c', ready: true, restartCount: 0, image: 'i', imageID: 'i' }],
  },
});

for (const seed of seeds) {
  test(`Pods, seed ${seed}`, async () => {
    await using scene = new Scene(seed);
    await scene.put(pods, pod('good'), pod('bad'));
    const { clock, api, log } = scene;
    const query = { fieldSelector: 'spec.nodeName=here' };
    const feed = new Reflector({ api, resource: pods, shape: apiPodSchema, query, clock, log });
    const cache = new PodCache();
    const manager: PodManager = new PodManager(clock.now.bind(clock), (uid) => {
      workers.wake(uid);
      statuses.wake(uid);
    });
    const synced = new Set<string>();
    const done = async () => {};
    /** What a look at a pod begins with, against all others. */
    const steps: PodSteps = {
      sync: async (desired) => {
        const others = [...manager.all()].map((other) => other.pod);
        computeVolumes(desired.pod, desired.uid, { pods: '/p', memory: '/m', allocatableMemory: undefined });
        const decision = decideAdmission({ pod: desired.pod, node: node('here'), others, leaving: new Set() });
        if (decision.type === 'admit') synced.add(desired.pod.metadata.name);
        return { problems: new Map(), backoffs: new Map() };
      },
      ...{ stop: done, clean: done, purge: done },
    };
    const common = { manager, cache, clock, log };
    const workers: PodWorkers = new PodWorkers({
      ...{ ...common, steps, syncFrequencyMs: 60_000 },
      sourcesReady: () => sources.ready(),
      changed: (uid) => statuses.wake(uid),
    });
    const statuses: StatusManager = new StatusManager({
      ...{ ...common, probes: noProbes, api, runtimeName: () => 'fake', hostIPs: () => ['192.0.2.2'] },
      worker: (uid) => workers.view(uid),
      resizes: { granted: (desired) => desired.pod, view: () => ({}) },
      changed: () => {},
    });
    const sources = new PodSources(manager, { api: feed });
    scene.start(feed.run(scene.signal));
    await clock.advance(0);
    await feed.synced;
    workers.start();
    await scene.storm(pods, pod('good'), pod('bad'));
    assert.ok(synced.has('good'));
    assert.equal(manager.get(podUid('uid-good'))?.pod.metadata.labels?.['last'], 'word');
    assert.equal(statuses.get(podUid('uid-good'))?.phase, 'Pending');
    // And a good one at last.
    api.sendRaw(pods, {
      type: 'MODIFIED',
      object: { ...pod('bad'), metadata: meta('bad', { resourceVersion: '999' }) },
    });
    await clock.advance(1_000);
    assert.ok(synced.has('bad'), 'the later good version is taken');
    await workers.stop();
    statuses.stop();
  });
}

const node = (name: string): Node => ({
  metadata: { name, uid: `uid-${name}`, labels: { 'topology.kubernetes.io/zone': 'z' }, annotations: {} },
  spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24'], taints: [{ key: 'a', effect: 'PreferNoSchedule' }] },
  status: {
    allocatable: { cpu: '4', memory: '8Gi', pods: '110' },
    conditions: [{ type: 'Ready', status: 'True' }],
    addresses: [{ type: 'InternalIP', address: '192.0.2.2' }],
  },
});

for (const seed of seeds) {
  test(`the Node, seed ${seed}`, async () => {
    await using scene = new Scene(seed);
    const { clock, api, log, random } = scene;
    await api.create(nodes, node('here'), never);
    const store = new NodeStore('here', log);
    const seen: (Node | undefined)[] = [];
    store.onChange((heard) => seen.push(heard));
    scene.start(store.run(api, clock, log, scene.signal));
    await clock.advance(0);
    assert.equal(store.current()?.status?.allocatable?.['cpu'], '4');
    api.calls.length = 0;
    for (let i = 0; i < perSeed; i++) {
      const object = mutated(node('here'), random);
      api.sendRaw(nodes, { type: ['ADDED', 'MODIFIED', 'BOOKMARK', 'WEIRD', null][random(5)], object });
    }
    await api.patch(nodes, { name: 'here' }, { type: 'merge', body: { spec: { podCIDR: '10.244.7.0/24' } } }, never);
    await clock.advance(1_000);
    assert.equal(store.current()?.spec?.podCIDR, '10.244.7.0/24');
    for (const { metadata, spec, status } of seen.filter((one) => one !== undefined)) {
      assert.equal(typeof metadata.name, 'string');
      Object.entries({ ...metadata.labels, ...status?.allocatable });
      for (const taint of spec?.taints ?? []) assert.equal(typeof taint, 'object');
    }
    assert.deepEqual(
      api.calls.filter((call) => /^(list|watch)/.test(call)),
      [],
    );
  });
}

const configMap = (name: string): ConfigMap => ({
  metadata: meta(name),
  data: { key: 'value' },
  binaryData: { b: 'Yg==' },
});
const secret = (name: string): Secret => ({ metadata: meta(name), data: { key: 'dmFsdWU=' }, type: 'Opaque' });
const kinds = [
  { kind: 'ConfigMap', resource: configMaps, make: configMap },
  { kind: 'Secret', resource: secrets, make: secret },
] as const;

for (const { kind, resource, make } of kinds) {
  for (const seed of seeds) {
    test(`${kind}s, seed ${seed}`, async () => {
      await using scene = new Scene(seed);
      const { clock, api, log } = scene;
      await scene.put(resource as Resource<ConfigMap & Secret>, make('good') as never, make('bad') as never);
      const source = new ApiObjectSource({ api, clock, log });
      const refs = ['good', 'bad'].map((name) => ({ kind, namespace: 'd', name }));
      source.acquire('u', refs);
      await clock.advance(0);
      const good = () => source.get(kind, { namespace: 'd', name: 'good' }, never);
      assert.equal((await good())?.metadata.name, 'good');
      await scene.storm(resource as Resource<ConfigMap & Secret>, make('good') as never, make('bad') as never);
      assert.equal((await good())?.metadata.labels?.['last'], 'word');
      const bad = await source.get(kind, { namespace: 'd', name: 'bad' }, never).catch(() => undefined);
      for (const value of Object.values(bad?.data ?? {})) assert.equal(typeof value, 'string');
      const secretText = kind === 'Secret' ? /dmFsdWU/ : /"value"/;
      assert.ok(!scene.lines.some((line) => secretText.test(line)), 'no value is in the log');
      source.release('u');
    });
  }
}
