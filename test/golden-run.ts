import assert from 'node:assert/strict';
import type { Event, Pod, PodStatus } from '../src/api/core-v1.ts';
import { buildImage, type OciImage } from '../src/lib/oci-image.ts';
import { type GoldenPod, goldenPods } from '../src/testing/golden.ts';
import { EVENTS, PODS } from './apiserver/kinds.ts';
import type { DraftObject } from './apiserver/objects.ts';
import type { StandInApiServer } from './apiserver/server.ts';
import { BUSYBOX_IMAGE, busyboxFilesWith } from './images/images.ts';

/**
 * Runs the recorded pods on a real runtime and compares what comes of them with what kubelet 1.36 reported: status,
 * events, and what the runtime was told about cgroups. Used on the tests' own hosts (cgroup v1) and in the virtual
 * machine (cgroup v2, systemd).
 */

/** The machine on which keelson runs, seen from the test. */
export interface GoldenNode {
  readonly api: StandInApiServer;
  readonly name: string;
  /** Runs a command where containerd is. */
  exec(command: string, args: readonly string[]): Promise<string>;
  /** How long to wait for what must come. */
  readonly patienceMs: number;
}

export type Folder = 'pods' | 'pods-cgroup2';
export const NAMESPACE = 'golden';

/** The image of the recordings held next to nothing: `true` and `false` were not there, and hooks and probes failed. */
export const goldenImage = (): OciImage =>
  buildImage({
    name: BUSYBOX_IMAGE,
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    files: busyboxFilesWith(['sh', 'sleep', 'cat', 'echo', 'id', 'touch']),
    cmd: ['sh'],
  });

/** What the pods of the recordings found in their namespace. */
export function prepareNamespace(api: StandInApiServer): void {
  const create = (manifest: object) => api.create(manifest as unknown as DraftObject);
  const metadata = (name: string) => ({ name, namespace: NAMESPACE });
  create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } });
  create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('cm'), data: { color: 'blue', 'bad.key-x': 'v' } });
  const data = { password: base64('s3cret'), user: base64('bob') };
  create({ apiVersion: 'v1', kind: 'Secret', metadata: metadata('sec'), data });
  const spec = { clusterIP: '10.96.77.7', ports: [{ port: 80, targetPort: 8080 }] };
  create({ apiVersion: 'v1', kind: 'Service', metadata: metadata('websvc'), spec });
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/**
 * What is known to differ, by pod, with the reason; `status` changes the recorded status into what is expected,
 * events listed are not compared. Everything else is equal or the test fails.
 */
export interface Difference {
  readonly why: string;
  readonly status?: (recorded: PodStatus) => PodStatus;
  /** Another status that the recorded one turns into: which of the two is met depends on the moment of looking. */
  readonly soon?: (recorded: PodStatus) => PodStatus;
  readonly ignoredEvents?: RegExp;
}

/** What both machines differ in. */
export const differsEverywhere: Readonly<Record<string, readonly Difference[]>> = {
  nostart: [
    {
      why: 'a container that could not be started backs off with the next look at it',
      soon: (recorded) => ({
        ...recorded,
        containerStatuses: (recorded.containerStatuses ?? []).map((status) => {
          const wait = backOffOf(status.restartCount);
          const message = `back-off ${wait} restarting failed container=c pod=nostart_${NAMESPACE}(<uid>)`;
          return { ...status, state: { waiting: { message, reason: 'CrashLoopBackOff' } } };
        }),
      }),
    },
  ],
};

/** How long a container that has been restarted so often waits for the next time, as kubelet writes it: 10 s, doubled each time. */
function backOffOf(restarts: number): string {
  const seconds = 10 * 2 ** (restarts - 1);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

export const golden = (folder: Folder): readonly GoldenPod[] => goldenPods(folder);

/** Creates the pod and waits until its status is the recorded one, its events have come, and its containers are as told. */
export async function runGolden(
  node: GoldenNode,
  recorded: GoldenPod,
  differs: readonly Difference[] = [],
): Promise<Pod> {
  const pod = start(node, recorded);
  const uid = pod.metadata.uid ?? '';
  const wanted = differs.reduce((status, d) => d.status?.(status) ?? status, withoutQuirk(recorded.status));
  const accepted = [wanted, ...differs.flatMap((d) => d.soon?.(wanted) ?? [])].map((s) => comparable(s, uid, []));
  let last: unknown;
  const holds = (object: unknown) => {
    const now = object as Pod | undefined;
    last = comparable(now?.status ?? {}, uid, now?.status?.podIPs ?? []);
    return accepted.some((status) => isSame(last, status));
  };
  await node.api
    .until(PODS, NAMESPACE, recorded.name, holds, AbortSignal.timeout(node.patienceMs))
    .catch(() => assert.deepEqual(last, accepted[0], 'the status did not become the recorded one'));
  const ignored = differs.flatMap((d) => (d.ignoredEvents ? [d.ignoredEvents] : []));
  await compareEvents(node, recorded, uid, ignored);
  await compareContainers(node, recorded, uid);
  return pod;
}

function start(node: GoldenNode, recorded: GoldenPod): Pod {
  const { manifest } = recorded;
  const bound = { ...manifest, spec: { ...manifest.spec, nodeName: node.name } };
  return node.api.create(bound as unknown as DraftObject) as unknown as Pod;
}

/**
 * Two quirks of the recordings are not copied. On cgroup v1 kubelet sometimes reports the kernel's "no limit" as if
 * it were a limit; on v2 it computes the pod's CPU request back from cpu.weight and loses some of it on the way.
 */
function withoutQuirk(status: PodStatus): PodStatus {
  if (status.resources?.limits?.['memory'] === '9007199254740988Ki') return { ...status, resources: {} };
  const cpu = status.allocatedResources?.['cpu'];
  if (cpu === undefined) return status;
  return { ...status, resources: { ...status.resources, requests: { ...status.resources?.requests, cpu } } };
}

/** Ids, times and addresses as the recordings spell them; the sentence that keelson adds to a message is not part of it. */
function comparable(status: PodStatus, uid: string, podIPs: readonly { readonly ip: string }[]): unknown {
  const own = podIPs.map((p) => p.ip);
  const text = JSON.stringify(status, (key, value) => {
    // The real server prints a time that is not set as null, where ours leaves it out.
    if (value === null) return undefined;
    if (/Time$|At$/.test(key) && !/^1970-/.test(value)) return '<time>';
    return key === 'message' && typeof value === 'string' ? value.replace(ownSentence, '') : value;
  });
  return JSON.parse(neutral(text, uid, own));
}

/** See explain-pod.ts: upstream's words first, then ours. */
const ownSentence = /; .* since \d{4}-.*$/s;

function neutral(text: string, uid: string, podIPs: readonly string[] = []): string {
  const named = podIPs.reduce((t, ip) => t.replaceAll(ip, '<podIP>'), text);
  return named
    .replaceAll(uid, '<uid>')
    .replaceAll(uid.replaceAll('-', '_'), '<uid_>')
    .replaceAll(/sha256:[0-9a-f]{64}/g, 'sha256:<digest>')
    .replaceAll(/\b[0-9a-f]{64}\b/g, '<id>')
    .replaceAll(/kube-api-access-\w{5}\b/g, 'kube-api-access-<rand>');
}

function isSame(a: unknown, b: unknown): boolean {
  try {
    assert.deepEqual(a, b);
    return true;
  } catch {
    return false;
  }
}

type EventLine = readonly [type: string, reason: string, message: string];
/** Long messages were cut when they were recorded. */
const recordedLength = 180;
const isEventSame = (a: EventLine, b: EventLine) =>
  a[0] === b[0] && a[1] === b[1] && a[2].slice(0, recordedLength) === b[2].slice(0, recordedLength);

/** Each recorded event comes, and no other does. How often is left alone: that depends on how long one looks. */
async function compareEvents(
  node: GoldenNode,
  recorded: GoldenPod,
  uid: string,
  ignored: readonly RegExp[],
): Promise<void> {
  const wanted = recorded.events.filter(([, , message]) => !/^\(combined from/.test(message));
  const come = () =>
    (node.api.store.list(EVENTS) as unknown as readonly Event[])
      .filter((e) => e.involvedObject.uid === uid)
      .map((e): EventLine => [e.type, e.reason, shortIds(neutral(e.message, uid))])
      .filter(([, , message]) => !ignored.some((i) => i.test(message)) && !/^\(combined from/.test(message));
  const missing = () =>
    wanted.filter(([, , m]) => !ignored.some((i) => i.test(m))).filter((w) => !come().some((c) => isEventSame(c, w)));
  const { promise, resolve } = Promise.withResolvers<void>();
  using _ = node.api.store.subscribe(() => missing().length === 0 && resolve());
  const patience = AbortSignal.timeout(node.patienceMs);
  patience.addEventListener('abort', () => resolve(), { once: true });
  if (missing().length > 0) await promise;
  assert.deepEqual(missing(), [], `events that did not come; these did: ${JSON.stringify(come())}`);
  const more = come().filter((c) => !wanted.some((w) => isEventSame(c, w)));
  assert.deepEqual(more, [], 'events that kubelet did not write');
}

/** containerd's messages hold ids of exec sessions and containers. */
const shortIds = (message: string): string => message.replaceAll(/"[0-9a-f]{64}"/g, '"<id>"');

interface ContainerInfo {
  readonly Labels?: Readonly<Record<string, string>>;
  readonly Spec?: {
    readonly process?: { readonly oomScoreAdj?: number };
    readonly linux?: { readonly cgroupsPath?: string; readonly resources?: Readonly<Record<string, unknown>> };
  };
}

/** The cgroup and its values in the OCI specification that containerd made of what keelson sent. */
async function compareContainers(node: GoldenNode, recorded: GoldenPod, uid: string): Promise<void> {
  const all = (await node.exec('ctr', ['-n', 'k8s.io', 'containers', 'ls', '-q'])).trim().split('\n').filter(Boolean);
  // Containers that crash are removed meanwhile.
  const info = (id: string) => node.exec('ctr', ['-n', 'k8s.io', 'containers', 'info', id]).catch(() => '{}');
  const ours = (await Promise.all(all.map(info)))
    .map((text) => JSON.parse(text) as ContainerInfo)
    .filter((i) => i.Labels?.['io.kubernetes.pod.uid'] === uid);
  for (const [name, { cgroupsPath, oomScoreAdj, resources }] of Object.entries(recorded.containers)) {
    const info = ours.find((i) => i.Labels?.['io.kubernetes.container.name'] === name);
    assert.ok(info, `container ${name} is there`);
    const { process, linux } = info.Spec ?? {};
    const told = {
      cgroupsPath: neutral(linux?.cgroupsPath ?? '', uid),
      oomScoreAdj: process?.oomScoreAdj ?? 0,
      resources: linux?.resources,
    };
    assert.deepEqual(told, { cgroupsPath, oomScoreAdj: oomScoreAdj ?? 0, resources }, `container ${name}`);
  }
}
