import type { Container, ObjectReference, Pod, Secret } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import type { PodUid } from '../api/ids.ts';
import { criAnnotations } from '../api/labels.ts';
import { eventReason, waitingReason } from '../api/reasons.ts';
import { isCriCode, type RuntimeService } from '../cri/services.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { AgentError, adviceOf, errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { Semaphore } from '../lib/semaphore.ts';
import { type ObservedContainer, type ObservedPod, runningContainers } from '../pod/observed.ts';
import type { Pleg } from '../pod/pleg.ts';
import type { DesiredPod } from '../pod/pod-manager.ts';
import type { KillAction, PodActions, StartAction } from './compute-pod-actions.ts';
import { absolute, type ContainerVolume } from './generate-mounts.ts';
import { detailsOf, type ImagePuller } from './image-puller.ts';
import type { PodDirs } from './pod-dirs.ts';
import { type ContainerSources, prepareContainer } from './prepare-container.ts';
import { sandboxConfig } from './sandbox-config.ts';
import { ContainerError } from './sync-error.ts';
import type { SyncResult } from './sync-result.ts';
import type { TellStep } from './sync-step.ts';

/** What a sandbox and its containers are made with that does not come from the pod alone. */
export interface PodSurroundings {
  readonly cgroupParent: string;
  readonly dns: cri.DNSConfig;
  readonly sandboxResources: cri.LinuxContainerResources;
  readonly overhead: cri.LinuxContainerResources;
  readonly containerResources: (container: Container) => cri.LinuxContainerResources;
  readonly volumes: ReadonlyMap<string, ContainerVolume>;
  readonly tell?: TellStep | undefined;
}

export interface PodRuntimeOptions {
  readonly runtime: RuntimeService;
  readonly pleg: Pleg;
  readonly puller: ImagePuller;
  readonly dirs: PodDirs;
  readonly containers: ContainerSources;
  readonly events: EventSink;
  readonly log: Log;
  readonly podLogsDir: string;
  readonly hostIPs: () => readonly string[];
  readonly pullSecrets: (pod: Pod) => Promise<readonly Secret[]>;
}

/** Sandboxes that are being made at a time: beyond a few they only get in each other's way on the network setup. */
const maxParallelSandboxes = 8;
/** Upstream's: a container always gets a moment to end by itself. */
const minGraceSeconds = 2;

/** Carries out what computePodActions decided. The only code that changes containers. */
export class PodRuntime {
  readonly #o: PodRuntimeOptions;
  readonly #sandboxSlots = new Semaphore(maxParallelSandboxes);

  constructor(options: PodRuntimeOptions) {
    this.#o = options;
  }

  /** Step 1: what must not run is stopped, what nobody asks for any more is removed. */
  async clear(desired: DesiredPod, actions: PodActions, signal: AbortSignal): Promise<void> {
    const { runtime } = this.#o;
    const grace = Math.max(desired.pod.spec.terminationGracePeriodSeconds ?? 30, minGraceSeconds);
    await Promise.all(actions.kill.map((kill) => this.#kill(desired, kill, grace, signal)));
    for (const id of actions.stopSandboxes) await runtime.stopPodSandbox(id, signal);
    for (const { id, name, attempt } of actions.removeContainers) {
      await runtime.removeContainer(id, signal);
      await this.#o.dirs.removeLog(desired.pod, name, id, attempt);
    }
    for (const id of actions.removeSandboxes) await runtime.removePodSandbox(id, signal);
  }

  /**
   * Step 2: the sandbox, where there is none, then the containers in order. A container that cannot
   * start does not keep the others from it; the result says why. Fails when there is no sandbox to be had.
   */
  async start(
    desired: DesiredPod,
    actions: PodActions,
    around: PodSurroundings,
    signal: AbortSignal,
  ): Promise<SyncResult[]> {
    const attempt = actions.createSandbox?.attempt ?? actions.sandbox?.attempt ?? 0;
    const config = this.#sandboxConfig(desired, attempt, around);
    let sandboxId: string | undefined = actions.sandbox?.id;
    let ips: readonly string[] = actions.sandbox?.ips ?? [];
    if (actions.createSandbox) {
      around.tell?.({ kind: 'sandbox' });
      sandboxId = await this.#createSandbox(desired, config, signal);
      ips = (await this.#o.pleg.sawSandbox(desired.uid, sandboxId, signal)).ips;
    }
    if (sandboxId === undefined) return [];
    const podIPs = desired.pod.spec.hostNetwork ? this.#o.hostIPs() : ips;
    const hostsPath = await this.#o.dirs.writeHosts(desired.uid, desired.pod, podIPs);
    const results: SyncResult[] = [];
    for (const action of actions.start) {
      results.push(
        await this.#startContainer(desired, action, { sandboxId, config, podIPs, hostsPath, around }, signal),
      );
    }
    return results;
  }

  /** Stops everything that runs for a pod, containers first, all with the same grace period; then its sandboxes. */
  async stop(
    uid: PodUid,
    desired: DesiredPod | undefined,
    observed: ObservedPod | undefined,
    grace: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { runtime } = this.#o;
    this.#o.containers.envObjects.release(uid);
    const alive = runningContainers(observed);
    await Promise.all(
      alive.map((c) => {
        const kill: KillAction = {
          id: c.id,
          name: c.name,
          reason: 'Terminating',
          message: `Stopping container ${c.name}`,
        };
        return desired ? this.#kill(desired, kill, grace, signal) : runtime.stopContainer(c.id, grace, signal);
      }),
    );
    await Promise.all((observed?.sandboxes ?? []).map((s) => runtime.stopPodSandbox(s.id, signal)));
    if (alive.length > 0 || observed?.sandboxes.some((s) => s.state === 'ready'))
      await this.#o.pleg.refresh(uid, signal);
  }

  /** Removes what is left of a pod in the runtime, and its logs. Everything has stopped. */
  async remove(uid: PodUid, pod: PodName, observed: ObservedPod | undefined, signal: AbortSignal): Promise<void> {
    const { runtime, dirs } = this.#o;
    const containers = observed?.containers ?? [];
    await Promise.all(containers.map((c) => runtime.removeContainer(c.id, signal)));
    await Promise.all((observed?.sandboxes ?? []).map((s) => runtime.removePodSandbox(s.id, signal)));
    const ids = new Map(containers.map((c: ObservedContainer) => [c.id as string, c.name]));
    await dirs.unlinkLogs(pod.name, pod.namespace, ids);
    await dirs.removeLogs(uid, pod.name, pod.namespace);
    if (observed) await this.#o.pleg.refresh(uid, signal);
  }

  async #kill(desired: DesiredPod, kill: KillAction, grace: number, signal: AbortSignal): Promise<void> {
    this.#event(desired.pod, kill.name, 'Normal', eventReason.killing, kill.message);
    this.#o.log.info(
      { podUid: desired.uid, container: kill.name, id: kill.id, grace, reason: kill.reason },
      'killing container',
    );
    await this.#o.runtime.stopContainer(kill.id, grace, signal);
  }

  #sandboxConfig(desired: DesiredPod, attempt: number, around: PodSurroundings): cri.PodSandboxConfig {
    return sandboxConfig({
      pod: desired.pod,
      attempt,
      source: desired.source,
      seenAt: new Date(desired.seenAt).toISOString(),
      dns: around.dns,
      podLogsDir: this.#o.podLogsDir,
      cgroupParent: around.cgroupParent,
      resources: around.sandboxResources,
      overhead: around.overhead,
    });
  }

  async #createSandbox(desired: DesiredPod, config: cri.PodSandboxConfig, signal: AbortSignal): Promise<string> {
    const { runtime, events, log } = this.#o;
    const ref = podReference(desired.pod);
    try {
      const handler = desired.pod.spec.runtimeClassName;
      if (handler)
        throw new AgentError(
          'UnsupportedField',
          `runtimeClassName "${handler}" is not supported by this version of keelson`,
        );
      if (config.metadata?.attempt)
        events.event(
          ref,
          'Normal',
          eventReason.sandboxChanged,
          'Pod sandbox changed, it will be killed and re-created.',
        );
      const id = await this.#sandboxSlots.run(signal, () => runtime.runPodSandbox(config, '', signal));
      log.debug({ podUid: desired.uid, sandboxId: id }, 'sandbox runs');
      return id;
    } catch (error) {
      if (isAbort(error)) throw error;
      events.event(
        ref,
        'Warning',
        eventReason.failedCreatePodSandBox,
        `Failed to create pod sandbox: ${detailsOf(error)}`,
      );
      throw error;
    }
  }

  async #startContainer(
    desired: DesiredPod,
    action: StartAction,
    where: Where,
    signal: AbortSignal,
  ): Promise<SyncResult> {
    const { container } = action;
    try {
      const id = await this.#createAndStart(desired, action, where, signal);
      return { action: 'start', target: container.name, ok: true, id, sandboxId: where.sandboxId };
    } catch (error) {
      if (isAbort(error)) throw error;
      if (!(error instanceof ContainerError)) throw error;
      // What backs off has been said when it failed.
      const level = error.code === waitingReason.imagePullBackOff ? 'debug' : 'warn';
      this.#o.log[level](
        { podUid: desired.uid, container: container.name, reason: error.code, err: error.message },
        'container does not start',
      );
      return { action: 'start', target: container.name, ok: false, reason: error.code, message: error.message };
    }
  }

  async #createAndStart(desired: DesiredPod, action: StartAction, where: Where, signal: AbortSignal): Promise<string> {
    const { runtime, puller, dirs, pullSecrets } = this.#o;
    const { container } = action;
    const { pod, uid } = desired;
    const event = (type: 'Normal' | 'Warning', reason: string, message: string) =>
      this.#event(pod, container.name, type, reason, message);
    where.around.tell?.({ kind: 'image', container: container.name, image: container.image ?? '' });
    const image = await puller.ensure(
      { pod, container, sandboxConfig: where.config, secrets: () => pullSecrets(pod), event },
      signal,
    );
    // A runtime that lost its memory has left the logs: the count goes on where they end.
    const attempt = action.attempt || (await dirs.nextAttempt(pod, container.name));
    where.around.tell?.({ kind: 'create', container: container.name });
    const config = await this.#containerConfig(desired, { ...action, attempt }, image, where, signal).catch(
      (error: unknown) => {
        if (isAbort(error)) throw error;
        const failure =
          error instanceof ContainerError
            ? error
            : new ContainerError(waitingReason.createContainerConfigError, adviceOf(error), { cause: error });
        event('Warning', eventReason.failed, `Error: ${failure.message}`);
        throw failure;
      },
    );
    const id = await runtime.createContainer(where.sandboxId, config, where.config, signal).catch((error: unknown) => {
      throw startFailure(waitingReason.createContainerError, error, event);
    });
    event('Normal', eventReason.created, 'Container created');
    await runtime.startContainer(id, signal).catch((error: unknown) => {
      throw startFailure(waitingReason.runContainerError, error, event);
    });
    event('Normal', eventReason.started, 'Container started');
    this.#o.log.info({ podUid: uid, container: container.name, id, attempt }, 'container started');
    await dirs.linkLog(pod, container.name, id, attempt).catch((error: unknown) => {
      // The container runs and its log is written; only those who look for the link miss it.
      this.#o.log.warn({ podUid: uid, container: container.name, ...errorFields(error) }, 'cannot link a log');
    });
    return id;
  }

  async #containerConfig(
    desired: DesiredPod,
    action: StartAction,
    image: cri.Image,
    where: Where,
    signal: AbortSignal,
  ): Promise<cri.ContainerConfig> {
    const { container, attempt } = action;
    return prepareContainer(
      {
        pod: desired.pod,
        uid: desired.uid,
        container,
        attempt,
        image,
        podIPs: where.podIPs,
        hostsPath: where.hostsPath,
        volumes: where.around.volumes,
        resources: where.around.containerResources(container),
      },
      this.#o.containers,
      signal,
    );
  }

  #event(pod: Pod, container: string, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const init = pod.spec.initContainers?.some((c) => c.name === container);
    const fieldPath = `spec.${init ? 'initContainers' : 'containers'}{${container}}`;
    this.#o.events.event({ ...podReference(pod), fieldPath }, type, reason, message);
  }
}

/** What logs are named after. */
export interface PodName {
  readonly name: string;
  readonly namespace: string;
}

interface Where {
  readonly sandboxId: string;
  readonly config: cri.PodSandboxConfig;
  readonly podIPs: readonly string[];
  readonly hostsPath: string;
  readonly around: PodSurroundings;
}

/** How events point at a pod. */
export function podReference(pod: Pod): ObjectReference {
  const { name, namespace = 'default', uid = '', resourceVersion } = pod.metadata;
  return { apiVersion: 'v1', kind: 'Pod', name, namespace, uid, ...(resourceVersion ? { resourceVersion } : {}) };
}

function startFailure(
  reason: string,
  error: unknown,
  event: (type: 'Warning', reason: string, message: string) => void,
): unknown {
  // A runtime that went away is no fault of the container: the whole sync is tried again.
  if (isAbort(error) || isCriCode(error, 'UNAVAILABLE') || isCriCode(error, 'DEADLINE_EXCEEDED')) return error;
  event('Warning', eventReason.failed, `Error: ${detailsOf(error)}`);
  return new ContainerError(reason, detailsOf(error), { cause: error });
}

/** The host's side of a container's termination log, from what the runtime stored with it. */
export function terminationLogOf(status: cri.ContainerStatus): string | undefined {
  const path = status.annotations?.[criAnnotations.terminationMessagePath];
  return path ? status.mounts?.find((m) => m.containerPath === absolute(path))?.hostPath : undefined;
}
