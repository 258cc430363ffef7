import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Node } from '../src/api/core-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { Backend } from '../src/proxy/backend.ts';
import { DualProxier } from '../src/proxy/dual-proxier.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import type { PacketCase, Sender, World } from './proxy-cases.ts';
import { nodeName, worldOf, zone } from './proxy-cases.ts';
import { worldsOfSettings } from './proxy-cases-settings.ts';
import type { Agent } from './proxy-lab.ts';
import { Lab } from './proxy-lab.ts';

/** One connection after the other may meet the same endpoint; so many hardly do. */
const enough = 40;
/** Long enough for any answer of a pod in the same kernel. */
const dropTimeoutMs = 700;

/** How a mode is run whose sockets have to be on the node too, and what it cannot do alike by its nature. */
export interface CaseOptions {
  /** Brings the worlds into effect in some other way than by proxiers of this process; disposed at the end. */
  readonly start?: (lab: Lab, worlds: readonly World[]) => Promise<AsyncDisposable>;
  /** Changes what is expected; say why where it is used. */
  readonly adjust?: (one: PacketCase, world: World) => PacketCase;
  /** For machines that are slower than most, milliseconds. */
  readonly patience?: { readonly dropTimeoutMs: number; readonly answerTimeoutMs: number };
}

/**
 * Every case of the table with real connections, over backends whose programs run on the node. `isKnown` leaves out
 * cases that a mode cannot serve by its nature; say why where it is used.
 */
export function describeCases(
  name: string,
  backendOf: (exec: Exec, family: IpFamily, lab: Lab) => Backend,
  isKnown: (sentence: string) => boolean = () => true,
  options: CaseOptions = {},
): void {
  const usual = { [name]: [worldOf('IPv4'), worldOf('IPv6')] };
  const others = Object.entries(worldsOfSettings()).map(([title, worlds]) => [`${name}: ${title}`, worlds] as const);
  for (const [title, worlds] of [...Object.entries(usual), ...others]) {
    describeWorlds(title, worlds, { ...options, backendOf, isKnown });
  }
}

interface Run extends CaseOptions {
  readonly backendOf: Parameters<typeof describeCases>[1];
  readonly isKnown: (sentence: string) => boolean;
}

/** All worlds that are in effect at once. */
function describeWorlds(
  name: string,
  worlds: readonly World[],
  { backendOf, isKnown, start, adjust = (one) => one, patience }: Run,
): void {
  const agents = new Map<string, Agent>();
  const stop = new AbortController();
  const running: Promise<void>[] = [];
  let elsewhere: AsyncDisposable | undefined;
  let lab: Lab;

  async function check({ from, to, port, protocol, expect, seen }: PacketCase): Promise<void> {
    const agent = agents.get(from satisfies Sender);
    assert.ok(agent);
    const ask = () => agent.ask(protocol, to, port, undefined, patience?.answerTimeoutMs);
    if (expect === 'DROP') {
      const waitMs = patience?.dropTimeoutMs ?? dropTimeoutMs;
      assert.deepEqual((await agent.ask(protocol, to, port, undefined, waitMs)).error, 'TIMEOUT');
      return;
    }
    if (expect === 'REJECT') {
      assert.deepEqual((await ask()).error, 'ECONNREFUSED');
      return;
    }
    const count = expect.length === 1 ? 3 : enough;
    const answers = await Promise.all(Array.from({ length: count }, ask));
    assert.deepEqual([...new Set(answers.map((one) => one.from ?? one.error))].sort(), [...expect].sort());
    if (seen !== undefined) assert.deepEqual([...new Set(answers.map((one) => one.seen))], [seen]);
  }

  async function startHere(): Promise<void> {
    const settings = {
      ...{ exec: lab.exec, clock: systemClock, log: silentLog, nodeName, masqueradeBit: 14 },
    };
    const proxiers = worlds.map(
      (world) =>
        new Proxier({
          ...settings,
          ...world.settings,
          family: world.family,
          backend: backendOf(lab.exec, world.family, lab),
        }),
    );
    const both = new DualProxier(...proxiers);
    const node: Node = { metadata: { name: nodeName, labels: { 'topology.kubernetes.io/zone': zone } } };
    both.onNodeChange(node);
    for (const { services, slices } of worlds) {
      for (const service of services) both.onServiceChange(`d/${service.metadata.name}`, service);
      for (const slice of slices) both.onSliceChange(`d/${slice.metadata.name}`, slice);
    }
    both.sourcesSynced();
    running.push(both.run(stop.signal));
    await Promise.all(proxiers.map((proxier) => proxier.synced));
  }

  // Most of the time goes by waiting for packets that do not come.
  describe(name, { concurrency: 8 }, () => {
    before(async () => {
      lab = await Lab.create();
      agents.set('host', await lab.host());
      agents.set('outside', await lab.outside());
      const [four, six] = worlds;
      for (const [pod, ip] of Object.entries(four?.pods ?? {})) {
        agents.set(pod, await lab.pod(pod, ip, six?.pods[pod]));
      }
      if (start) elsewhere = await start(lab, worlds);
      else await startHere();
    });
    after(async () => {
      stop.abort();
      await Promise.all(running);
      await elsewhere?.[Symbol.asyncDispose]();
      await lab?.[Symbol.asyncDispose]();
    });
    for (const world of worlds) {
      for (const [sentence, one] of Object.entries(world.cases)) {
        if (isKnown(sentence)) test(sentence, () => check(adjust(one, world)));
      }
    }
  });
}
