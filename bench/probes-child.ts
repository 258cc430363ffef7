import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Pod } from '../src/api/core-v1.ts';
import { containerId, podUid, sandboxId } from '../src/api/ids.ts';
import { FakeCri } from '../src/cri/fake-cri.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { ObservedPod } from '../src/pod/observed.ts';
import { PodCache } from '../src/pod/pod-cache.ts';
import { PodNotes } from '../src/pod/pod-notes.ts';
import { ProbeManager } from '../src/probes/probe-manager.ts';

/*
 * One process of the probes bench: `server` answers, `manager` and `floor` ask it so many times a second
 * and report what that cost them. All end with the connection to their parent.
 */

const [role = '', portText = '', perSecondText = '', secondsText = ''] = process.argv.slice(2);
const [port, perSecond, seconds] = [Number(portText), Number(perSecondText), Number(secondsText)];
const warmUpMs = 5_000;
process.on('disconnect', () => process.exit());

if (role === 'server') {
  const server = createServer((_, response) => response.end('ok'));
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
} else await report(role === 'manager' ? startManager() : startFloor());

/** What the warmed-up process uses. */
async function report(answered: () => number): Promise<void> {
  await delay(warmUpMs);
  const before = answered();
  const usedBefore = process.cpuUsage();
  const begin = performance.now();
  await delay(seconds * 1000);
  const elapsedMs = performance.now() - begin;
  const { user, system } = process.cpuUsage(usedBefore);
  process.send?.({ cpuPercent: (user + system) / 10 / elapsedMs, answered: answered() - before });
}

/** As many pods as probes a second, each with one container that is probed every second. */
function startManager(): () => number {
  const root = mkdtempSync(join(tmpdir(), 'bench-probes-'));
  process.on('exit', () => rmSync(root, { recursive: true, force: true }));
  const cache = new PodCache();
  const pods = new Map<string, Pod>();
  const { runtime } = new FakeCri({ clock: systemClock });
  const manager = new ProbeManager({
    ...{ runtime, cache, clock: systemClock, log: silentLog, hostIPs: () => ['127.0.0.1'], wake: () => {} },
    notes: new PodNotes({ rootDir: root, log: silentLog }),
    pod: (uid) => {
      const pod = pods.get(uid);
      return pod && { pod, mirror: undefined, terminating: false };
    },
    events: { event: (_, __, reason, message) => console.error(reason, message) },
  });
  for (let i = 0; i < perSecond; i++) {
    const uid = podUid(`uid-${i}`);
    const httpGet = { path: '/healthz', port, scheme: 'HTTP' as const };
    const livenessProbe = { httpGet, periodSeconds: 1, timeoutSeconds: 1, successThreshold: 1, failureThreshold: 3 };
    pods.set(uid, {
      metadata: { name: `p${i}`, namespace: 'ns', uid },
      spec: { containers: [{ name: 'c', livenessProbe }] },
    });
    cache.commit(uid, observedPod(i), 0);
    manager.sync(uid);
  }
  return () => manager.counts().reduce((sum, { counts }) => sum + counts.successful, 0);
}

function observedPod(i: number): ObservedPod {
  const sandbox = { id: sandboxId(`s${i}`), state: 'ready', attempt: 0, createdAt: 0, ips: ['127.0.0.1'] } as const;
  const times = { attempt: 0, createdAt: 0, startedAt: Date.now(), finishedAt: 0, exitCode: 0 };
  const words = { reason: '', message: '', image: '', imageRef: '', hash: '', terminationMessage: '' };
  const container = {
    id: containerId(`c${i}`),
    name: 'c',
    sandboxId: sandbox.id,
    state: 'running',
    ...times,
    ...words,
  };
  return {
    ...{ uid: podUid(`uid-${i}`), name: `p${i}`, namespace: 'ns' },
    sandboxes: [{ ...sandbox, hostNetwork: false }],
    containers: [container] as unknown as ObservedPod['containers'],
  };
}

function startFloor(): () => number {
  const agent = new Agent({ keepAlive: false });
  let answered = 0;
  const ask = () =>
    get({ host: '127.0.0.1', port, path: '/healthz', agent }, (response) => {
      response.resume();
      response.on('end', () => answered++);
    });
  for (let i = 0; i < perSecond; i++) setTimeout(() => setInterval(ask, 1000), Math.random() * 1000);
  return () => answered;
}
