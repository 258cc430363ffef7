import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import type { Pod, Service } from '../src/api/core-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import { containerId, podUid, sandboxId } from '../src/api/ids.ts';
import { localPodEndpoints } from '../src/assembly/local-pods.ts';
import { LocalWithdrawal } from '../src/assembly/local-withdrawal.ts';
import { FakeCri } from '../src/cri/fake-cri.ts';
import { hostExec } from '../src/host/exec.ts';
import { systemClock as clock } from '../src/lib/clock.ts';
import { silentLog as log } from '../src/lib/log.ts';
import type { ObservedPod } from '../src/pod/observed.ts';
import { PodCache } from '../src/pod/pod-cache.ts';
import { PodManager } from '../src/pod/pod-manager.ts';
import { PodNotes } from '../src/pod/pod-notes.ts';
import { ProbeManager } from '../src/probes/probe-manager.ts';
import { DualProxier } from '../src/proxy/dual-proxier.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import { nextWithdrawn, type Withdrawn } from '../src/proxy/withdraw.ts';
import { StatusManager } from '../src/status/status-manager.ts';
import type { WorkerView } from '../src/workers/pod-workers.ts';
import type { WithdrawReport, WithdrawScript, WithdrawTask } from './withdraw.ts';

/*
 * One process of the withdraw bench, in a network namespace that is its own. The subject is what keelson puts between
 * a probe and the kernel: probe manager, status, proxier, nft. The runtime is a fake, which the path does not touch.
 */

const pods = 110;
const podsPerService = 5;
/** Those whose probes fail and succeed in turn. */
const fickle = 10;
const nodeName = 'here';

const task = (await json(process.stdin)) as WithdrawTask;
const report = task.role === 'floor' ? floor(task.scripts) : await subject(task.services, task.withdrawals);
process.stdout.write(JSON.stringify(report), () => process.exit());

function floor(scripts: readonly WithdrawScript[]): WithdrawReport {
  const ms = scripts.flatMap(({ input, withdraws }) => {
    const began = performance.now();
    execFileSync('nft', ['-f', '-'], { input });
    return withdraws ? [performance.now() - began] : [];
  });
  return { ms, scripts: [] };
}

async function subject(services: number, withdrawals: number): Promise<WithdrawReport> {
  const root = mkdtempSync(join(tmpdir(), 'bench-withdraw-'));
  process.on('exit', () => rmSync(root, { recursive: true, force: true }));
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const ms: number[] = [];
  const scripts: WithdrawScript[] = [];
  /** When the probe of a pod, by number, was answered badly. */
  const failedAt = new Map<string, number>();
  const finished = Promise.withResolvers<void>();

  const answers = new Map<string, boolean>();
  const server = createServer(({ url = '' }, response) => {
    const ip = url.slice(1);
    const isGood = !answers.get(ip);
    answers.set(ip, isGood);
    response.writeHead(isGood ? 200 : 500).end(() => {
      if (!isGood) failedAt.set(ip, performance.now());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;

  const proxier = new DualProxier(
    new Proxier({
      ...{ clock, log, nodeName, masqueradeAll: false, clusterCidrs: ['10.244.0.0/16'], masqueradeBit: 14 },
      // As kube-proxy's default has it.
      minSyncPeriodMs: 1_000,
      exec: {
        run: async (file, args, options) => {
          const { input } = options;
          if (file === 'nft' && input)
            scripts.push({ input, withdraws: failedAt.size > 0 && input.includes('delete') });
          return hostExec.run(file, args, options);
        },
      },
    }),
  );
  let withdrawn: Withdrawn = new Map();
  const local = new LocalWithdrawal({
    tell: () => {
      const before = withdrawn;
      withdrawn = nextWithdrawn(before, localPodEndpoints(half), (key) => proxier.isLocalEndpoint(key));
      proxier.onWithdrawn(withdrawn);
      for (const ip of withdrawn.keys()) if (!before.has(ip)) void measure(ip);
    },
    ...{ proxier, addressesOf: () => [], clock, log },
  });
  const measure = async (ip: string) => {
    await proxier.whenWritten([ip], AbortSignal.timeout(10_000));
    ms.push(performance.now() - (failedAt.get(ip) ?? Number.NaN));
    failedAt.delete(ip);
    if (ms.length >= withdrawals) finished.resolve();
  };

  const cache = new PodCache();
  const notes = new PodNotes({ rootDir: root, log });
  const manager = new PodManager(clock.now, () => {});
  const views = new Map<string, WorkerView>();
  const workers = {
    uids: () => [...manager.all()].map(({ uid }) => uid),
    view: (uid: string) => views.get(uid),
  };
  const probes: ProbeManager = new ProbeManager({
    ...{ runtime: new FakeCri({ clock }).runtime, cache, notes, clock, log, hostIPs: () => ['127.0.0.1'] },
    events: { event: () => {} },
    pod: (uid) => {
      const pod = manager.get(uid)?.pod;
      return pod && { pod, mirror: undefined, terminating: false };
    },
    wake: (uid) => statuses.wake(uid),
  });
  const statuses: StatusManager = new StatusManager({
    ...{ manager, cache, worker: workers.view, probes: probes.view, api: undefined, clock, log },
    resizes: { granted: ({ pod }) => pod, view: () => ({}) },
    hostIPs: () => ['127.0.0.1'],
    runtimeName: () => 'fake',
    changed: () => local.podChanged(),
  });
  const half = { manager, cache, statuses, workers };

  for (let i = 0; i < services; i++) proxier.onServiceChange(`d/s${i}`, service(i));
  for (let i = 0; i < services; i++) proxier.onSliceChange(`d/s${i}-1`, slice(i));
  for (let i = 0; i < pods; i++) {
    const uid = podUid(`uid-${i}`);
    manager.setFromApi(`d/p${i}`, podObject(i, i < fickle ? port : undefined));
    const desired = manager.get(uid);
    views.set(uid, { state: { phase: 'syncing' }, problems: new Map(), desired });
    cache.commit(uid, observed(i), 0);
    statuses.wake(uid);
  }
  proxier.sourcesSynced();
  const stop = new AbortController();
  const running = proxier.run(stop.signal);
  await proxier.whenWritten([podIp(0)], AbortSignal.timeout(60_000));
  // Probes of pods that started at different times come at different times.
  for (let i = 0; i < fickle; i++) {
    probes.sync(podUid(`uid-${i}`));
    await clock.sleep(1_000 / fickle);
  }
  await finished.promise;
  stop.abort();
  await running;
  return { ms: ms.slice(0, withdrawals), scripts };
}

function podIp(i: number): string {
  return `10.244.0.${i + 1}`;
}

function service(i: number): Service {
  return {
    metadata: { name: `s${i}`, namespace: 'd' },
    spec: { clusterIP: `10.96.${i >> 8}.${i & 255}`, ports: [{ name: 'web', port: 80 }] },
  };
}

/** The first Services have pods of this node, each pod in one; the rest are served elsewhere. */
function slice(i: number) {
  const first = i * podsPerService;
  return {
    metadata: { name: `s${i}-1`, namespace: 'd', labels: { [serviceNameLabel]: `s${i}` } },
    addressType: 'IPv4' as const,
    endpoints: Array.from({ length: podsPerService }, (_, k) => {
      const n = first + k;
      return n < pods
        ? { addresses: [podIp(n)], nodeName }
        : { addresses: [`10.245.${(n >> 8) & 255}.${n & 255}`], nodeName: 'elsewhere' };
    }),
    ports: [{ name: 'web', port: 8080 }],
  };
}

function podObject(i: number, port: number | undefined): Pod {
  const httpGet = { host: '127.0.0.1', path: `/${podIp(i)}`, port: port ?? 0, scheme: 'HTTP' as const };
  const readinessProbe = { httpGet, periodSeconds: 1, timeoutSeconds: 1, successThreshold: 1, failureThreshold: 1 };
  return {
    metadata: { name: `p${i}`, namespace: 'd', uid: `uid-${i}` },
    spec: { containers: [{ name: 'c', ...(port === undefined ? {} : { readinessProbe }) }] },
  };
}

function observed(i: number): ObservedPod {
  const sandbox = { id: sandboxId(`s${i}`), state: 'ready', attempt: 0, createdAt: 0, hostNetwork: false } as const;
  const times = { attempt: 0, createdAt: 0, startedAt: Date.now(), finishedAt: 0, exitCode: 0 };
  const words = { reason: '', message: '', image: '', imageRef: '', hash: '', terminationMessage: '' };
  return {
    ...{ uid: podUid(`uid-${i}`), name: `p${i}`, namespace: 'd' },
    sandboxes: [{ ...sandbox, ips: [podIp(i)] }],
    containers: [{ id: containerId(`c${i}`), name: 'c', sandboxId: sandbox.id, state: 'running', ...times, ...words }],
  };
}
