import type { ContainerResources } from '../api/cri.ts';
import type { ContainerId, PodUid, SandboxId } from '../api/ids.ts';

/** What the runtime says of one pod, as of one relist. Newest first in both lists. */
export interface ObservedPod {
  readonly uid: PodUid;
  readonly name: string;
  readonly namespace: string;
  readonly sandboxes: readonly ObservedSandbox[];
  readonly containers: readonly ObservedContainer[];
}

export interface ObservedSandbox {
  readonly id: SandboxId;
  readonly state: 'ready' | 'notready';
  readonly attempt: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  /** Empty for a host-network pod, and for a sandbox that is not ready. */
  readonly ips: readonly string[];
  readonly hostNetwork: boolean;
}

/**
 *   created ──start──► running ──exit──► exited
 *      └───start failed──────────────────►┘        unknown: the shim does not answer
 */
export type ObservedContainerState = 'created' | 'running' | 'exited' | 'unknown';

export interface ObservedContainer {
  readonly id: ContainerId;
  readonly name: string;
  readonly sandboxId: SandboxId;
  readonly state: ObservedContainerState;
  /** The CRI attempt, which keelson uses as the restart count: 0 for the first run. */
  readonly attempt: number;
  /** Milliseconds since the epoch, 0 = not yet. */
  readonly createdAt: number;
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
  /** As a person would name it, e.g. 'docker.io/library/busybox:1.35'. */
  readonly image: string;
  /** Repository digest where there is one, else the image id. */
  readonly imageRef: string;
  /** io.kubernetes.container.hash: which definition it was made from. */
  readonly hash: string;
  /** What a user reads after it ended; read once, when the exit is first seen. */
  readonly terminationMessage: string;
  /** The members below are there where the runtime reports them: containerd does since 1.7 or 2.0. */
  readonly user?: ObservedUser;
  /** What is in its cgroup, as the runtime knows it. */
  readonly resources?: ContainerResources;
  /** The image in the runtime's own terms; `imageRef` may name a digest of the registry. */
  readonly imageId?: string;
  /** e.g. SIGUSR1; absent for the runtime's default. */
  readonly stopSignal?: string;
  /** Container paths of its mounts that are read-only all the way down. */
  readonly recursiveReadOnly?: readonly string[];
}

/** Who the first process runs as. */
export interface ObservedUser {
  readonly uid: number;
  readonly gid: number;
  readonly supplementalGroups: readonly number[];
}

/** The sandbox in which the pod lives now, if the runtime has one that is ready. */
export function readySandbox(observed: ObservedPod | undefined): ObservedSandbox | undefined {
  const latest = observed?.sandboxes[0];
  return latest?.state === 'ready' ? latest : undefined;
}

export function newestContainer(observed: ObservedPod | undefined, name: string): ObservedContainer | undefined {
  return observed?.containers.find((c) => c.name === name);
}

export const isAlive = (container: ObservedContainer): boolean =>
  container.state === 'running' || container.state === 'unknown' || container.state === 'created';

export const runningContainers = (observed: ObservedPod | undefined): readonly ObservedContainer[] =>
  observed?.containers.filter((c) => c.state === 'running' || c.state === 'unknown') ?? [];
