import { createInterface } from 'node:readline';
import type { Node, Service } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { hostExec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { Backend } from '../src/proxy/backend.ts';
import { DualProxier } from '../src/proxy/dual-proxier.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import { UserspaceBackend } from '../src/proxy/userspace/userspace-backend.ts';
import type { WorldSettings } from './proxy-cases.ts';

/**
 * The userspace mode as a process of its own, so that its sockets are in the network namespace that it is started in.
 * Takes a ChildOrder a line, answers each with a line once it is in effect, and ends with its input.
 */
export interface ChildOrder {
  /** With the first order only. */
  readonly settings?: { readonly node: Node } & Partial<WorldSettings>;
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
}

const families: readonly IpFamily[] = ['IPv4', 'IPv6'];
const stop = new AbortController();
const keyOf = ({ metadata }: Service | EndpointSlice) => `${metadata.namespace}/${metadata.name}`;

/** A backend that tells when a sync ends that began after the question. */
class TellingBackend extends UserspaceBackend {
  #waiting: (() => void)[] = [];

  override async sync(...args: Parameters<Backend['sync']>) {
    const waiting = this.#waiting;
    this.#waiting = [];
    try {
      const outcome = await super.sync(...args);
      for (const tell of waiting) tell();
      return outcome;
    } catch (error) {
      this.#waiting.push(...waiting);
      process.stderr.write(`${error}\n`);
      throw error;
    }
  }

  next(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

let all: { readonly proxier: Proxier; readonly backend: TellingBackend }[] = [];
let both = new DualProxier();

function begin({ node, ...settings }: NonNullable<ChildOrder['settings']>): void {
  const common = { exec: hostExec, clock: systemClock, log: silentLog };
  all = families.map((family) => {
    const backend = new TellingBackend({ ...common, family });
    const proxier = new Proxier({
      ...{ ...common, family, backend, masqueradeBit: 14, nodeName: node.metadata.name },
      ...{ masqueradeAll: false, clusterCidrs: [], ...settings },
    });
    return { proxier, backend };
  });
  both = new DualProxier(...all.map(({ proxier }) => proxier));
  both.onNodeChange(node);
  void both.run(stop.signal).then(() => process.exit(0));
}

for await (const line of createInterface({ input: process.stdin })) {
  const { settings, services, slices } = JSON.parse(line) as ChildOrder;
  if (settings) begin(settings);
  const inEffect = Promise.all(all.map(({ backend }) => backend.next()));
  for (const service of services) both.onServiceChange(keyOf(service), service);
  for (const slice of slices) both.onSliceChange(keyOf(slice), slice);
  both.sourcesSynced();
  await inEffect;
  process.stdout.write('done\n');
}
stop.abort();
