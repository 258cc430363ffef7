import assert from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Service, ServiceSpec } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { RunCause } from '../lib/bounded-runner.ts';
import type { Proxier } from '../proxy/proxier.ts';
import type { IpFamily } from '../proxy/read-service.ts';
import type { Withdrawn } from '../proxy/withdraw.ts';
import { randomOf } from './random.ts';

type Random = (below: number) => number;

/** A kernel, or a fake of one, and the proxiers that run over it one after the other. */
export interface RandomRig {
  /** keelson as it starts over what the kernel holds, for the node `here`; nothing is told to it yet. */
  start(): Proxier;
  /** Makes a write fail soon, at some point of it. */
  failNext(random: Random): void;
  /** What the kernel holds, the same for states that mean the same. */
  dump(): readonly string[];
  /** Lets the time pass that a mode takes to end what drains, and forgets what the fake has noted for other tests. */
  pass?(): Promise<void>;
  /**
   * What another than keelson does to the host, or to keelson's configuration: a periodic sync repairs it. True: only
   * after a restart; keelson goes on until then, with what it is still let do.
   */
  disturb?(random: Random): Promise<boolean>;
  /** Another host like this one, with nothing of keelson's in its kernel; without it, a new rig is that. */
  twin?(): RandomRig;
}

/** Services and slices that have every field, and change at random. The node's own address is 192.0.2.1. */
export class RandomCluster {
  readonly services = new Map<string, Service>();
  readonly slices = new Map<string, EndpointSlice>();
  readonly #random: Random;
  readonly #family: IpFamily;
  #withdrawn: Withdrawn = new Map();
  #zone = 0;

  constructor(random: Random, family: IpFamily = 'IPv4') {
    this.#random = random;
    this.#family = family;
  }

  /** Everything, as a proxier hears it that has just started. */
  tell(proxier: Proxier): void {
    proxier.onNodeChange(nodeIn(this.#zone));
    proxier.onWithdrawn(this.#withdrawn);
    for (const [key, service] of this.services) proxier.onServiceChange(key, service);
    for (const [key, slice] of this.slices) proxier.onSliceChange(key, slice);
    proxier.sourcesSynced();
  }

  /** One change of something, told to the proxier. */
  change(proxier: Proxier, name = `s${this.#random(6)}`): void {
    const random = this.#random;
    const what = random(10);
    if (what < 4)
      this.#setService(proxier, `d/${name}`, random(4) > 0 ? this.#by(randomService(name, random)) : undefined);
    else if (what < 8) this.#setSlice(proxier, `d/${name}-1`, this.#by(randomSlice(name, random)));
    else if (what < 9) {
      this.#withdrawn = new Map([[this.#by(`10.244.0.${random(8)}`), random(2) === 0 ? 'unready' : 'terminating']]);
      proxier.onWithdrawn(this.#withdrawn);
    } else {
      this.#zone = random(2);
      proxier.onNodeChange(nodeIn(this.#zone));
    }
  }

  /** Takes the oldest objects away until so many are left of each kind. */
  shrink(proxier: Proxier, count: number): void {
    const oldest = (keys: Iterable<string>) => [...keys].slice(0, -count);
    for (const key of oldest(this.services.keys())) this.#setService(proxier, key, undefined);
    for (const key of oldest(this.slices.keys())) this.#setSlice(proxier, key, undefined);
  }

  #by<T>(objects: T): T {
    return this.#family === 'IPv4' ? objects : byIpv6(objects);
  }

  #setService(proxier: Proxier, key: string, service: Service | undefined): void {
    if (service) this.services.set(key, service);
    else this.services.delete(key);
    proxier.onServiceChange(key, service);
  }

  #setSlice(proxier: Proxier, key: string, slice: EndpointSlice | undefined): void {
    if (slice) this.slices.set(key, slice);
    else this.slices.delete(key);
    proxier.onSliceChange(key, slice);
  }
}

/**
 * Changes, failures and restarts in any order end in what a fresh start makes, and another start writes nothing.
 * Returns what was reached, for a closer look.
 */
export async function checkSequence<R extends RandomRig>(
  seed: number,
  newRig: () => R,
  family?: IpFamily,
): Promise<{ readonly rig: R; readonly cluster: RandomCluster }> {
  const random = randomOf(seed);
  const cluster = new RandomCluster(random, family);
  const rig = newRig();
  // Half of the sequences have nothing but what keelson itself does, so that nothing is repaired by looking again.
  const disturb = seed % 2 === 0 ? rig.disturb : undefined;
  const cause = disturb ? 'periodic' : 'change';
  let proxier = rig.start();
  cluster.tell(proxier);
  let isDying = false;
  const restart = () => {
    isDying = false;
    proxier = rig.start();
    cluster.tell(proxier);
  };
  for (let step = 0; step < 60; step++) {
    cluster.change(proxier);
    if (random(10) === 0) rig.failNext(random);
    if (random(3) > 0) await sync(proxier, random(4) === 0 ? cause : 'change').catch(() => {});
    if (random(5) === 0) await rig.pass?.();
    // Killed, and started again with what is there.
    if (isDying || random(15) === 0) restart();
    if (random(5) === 0) isDying = (await disturb?.(random)) ?? false;
  }
  if (isDying) restart();
  await settle(rig, proxier, cause);
  assert.deepEqual(difference(rig, await freshRig(() => rig.twin?.() ?? newRig(), cluster)), same, `seed ${seed}`);
  return { rig, cluster };
}

/** Thousands of changes, with names that come and go, leave nothing behind: neither in the kernel nor in memory. */
export async function checkLeaks(newRig: () => RandomRig, changes: number): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const heap = () => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const random = randomOf(4_711);
  const cluster = new RandomCluster(random);
  const rig = newRig();
  const proxier = rig.start();
  cluster.tell(proxier);
  let early = 0;
  for (let step = 1; step <= changes; step++) {
    cluster.change(proxier, random(7) === 0 ? `new-${step}` : undefined);
    if (random(5) === 0) await sync(proxier);
    if (cluster.services.size > 8 || cluster.slices.size > 8) cluster.shrink(proxier, 4);
    if (random(50) === 0) await rig.pass?.();
    if (step === changes / 5) early = heap();
  }
  await settle(rig, proxier);
  const grown = heap() - early;
  assert.deepEqual(difference(rig, await freshRig(newRig, cluster)), same);
  assert.ok(grown < 1_000_000, `the heap has grown by ${grown} bytes in ${(changes * 4) / 5} changes`);
}

const same = { tooMuch: [], missing: [] };

function difference(rig: RandomRig, other: RandomRig): object {
  const [has, wants] = [rig.dump(), other.dump()];
  const [had, wanted] = [new Set(has), new Set(wants)];
  return { tooMuch: has.filter((line) => !wanted.has(line)), missing: wants.filter((line) => !had.has(line)) };
}

async function freshRig(newRig: () => RandomRig, cluster: RandomCluster): Promise<RandomRig> {
  const rig = newRig();
  const proxier = rig.start();
  cluster.tell(proxier);
  await sync(proxier);
  return rig;
}

/** Failures that were asked for may still be due. */
async function settle(rig: RandomRig, proxier: Proxier, cause: RunCause = 'change'): Promise<void> {
  for (let round = 0; round < 2; round++) {
    for (let due = 10; due > 0; due--) await sync(proxier, cause).catch(() => {});
    await sync(proxier, cause);
    await rig.pass?.();
  }
}

const sync = (proxier: Proxier, cause: RunCause = 'change'): Promise<void> =>
  proxier.syncOnce(cause, new AbortController().signal);

/** The same with addresses of IPv6: `fd00::af4:5` for 10.244.0.5. */
function byIpv6<T>(objects: T): T {
  const text = JSON.stringify(objects).replaceAll(
    /\b(\d+)\.(\d+)\.(\d+)\.(\d+)(?:\/(\d+))?\b/g,
    (_, a: string, b: string, c: string, d: string, bits?: string) => {
      if (bits === '0') return '::/0';
      const group = (high: string, low: string) => (Number(high) * 256 + Number(low)).toString(16);
      return `fd00::${group(a, b)}:${group(c, d)}${bits === undefined ? '' : `/${96 + Number(bits)}`}`;
    },
  );
  return JSON.parse(text.replaceAll('"IPv4"', '"IPv6"')) as T;
}

const nodeIn = (zone: number) => ({
  metadata: { name: 'here', labels: { 'topology.kubernetes.io/zone': `zone-${zone}` } },
});

function randomService(name: string, random: Random): Service {
  const maybe = <K extends keyof ServiceSpec>(key: K, value: ServiceSpec[K]) =>
    random(3) === 0 ? { [key]: value } : {};
  const nodePort = random(2) === 0 ? { nodePort: 30_000 + random(4) } : {};
  // With its port 30000 the node's own address is asked for as a node port too.
  const external = ['192.0.2.1', '198.51.100.1', '198.51.100.2', '198.51.100.3'][random(4)] ?? '';
  const ranges = [`192.0.2.${random(2)}/32`, '10.0.0.0/8', '0.0.0.0/0'].slice(random(3), 1 + random(3));
  const creationTimestamp = `2026-01-01T00:00:0${random(9)}Z`;
  const host = random(6);
  return {
    metadata: { name, namespace: 'd', creationTimestamp },
    spec: {
      ...{ type: 'LoadBalancer', healthCheckNodePort: 31_000 + (host % 3) },
      clusterIP: `10.96.0.${host}`,
      ports: [
        { name: 'web', port: random(3) === 0 ? 30_000 : 80, ...nodePort },
        { name: '', port: 53, protocol: 'UDP', ...nodePort },
      ],
      ...maybe('externalIPs', [external]),
      ...maybe('externalTrafficPolicy', 'Local'),
      ...maybe('internalTrafficPolicy', 'Local'),
      ...maybe('sessionAffinity', 'ClientIP'),
      ...maybe('sessionAffinityConfig', { clientIP: { timeoutSeconds: 1 + random(3) } }),
      ...maybe('loadBalancerSourceRanges', ranges),
      ...maybe('publishNotReadyAddresses', true),
    },
    status: { loadBalancer: { ingress: Array.from({ length: random(3) }, () => ({ ip: `203.0.113.${random(4)}` })) } },
  };
}

function randomSlice(name: string, random: Random): EndpointSlice {
  const states = [{}, {}, { ready: false }, { ready: false, serving: true, terminating: true }];
  const endpoints = Array.from({ length: 8 }, (_, i) => i).filter(() => random(3) === 0);
  return {
    metadata: { name: `${name}-1`, namespace: 'd', labels: { [serviceNameLabel]: name } },
    addressType: 'IPv4',
    endpoints: endpoints.map((i) => ({
      addresses: [`10.244.0.${i}`],
      nodeName: i % 2 === 0 ? 'here' : 'there',
      conditions: states[random(states.length)] ?? {},
      ...(random(2) === 0 ? { hints: { forZones: [{ name: `zone-${random(2)}` }] } } : {}),
    })),
    ports: [
      { name: 'web', port: 8080, protocol: 'TCP' },
      { name: '', port: 5353, protocol: 'UDP' },
    ],
  };
}
