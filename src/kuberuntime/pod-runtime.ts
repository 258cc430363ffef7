import type { Container, EphemeralContainer, Pod, Secret } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { containerId, type PodUid } from '../api/ids.ts';
import { containersOf } from '../api/pod.ts';
import { eventReason, waitingReason } from '../api/reasons.ts';
import { isCriCode, type RuntimeService } from '../cri/services.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, adviceOf, errorFields, isAbort } from '../lib/errors.ts';
import { linger } from '../lib/linger.ts';
import type { Log } from '../lib/log.ts';
import { type ObservedContainer, type ObservedPod, runningContainers } from '../pod/observed.ts';
import type { Pleg } from '../pod/pleg.ts';
import type { DesiredPod } from '../pod/pod-manager.ts';
import type { PodNotes } from '../pod/pod-notes.ts';
import { ContainerStopper, storedTarget } from './container-stopper.ts';
import { killAction } from './container-verdict.ts';
import type { ContainerVolume } from './generate-mounts.ts';
import { HookError, HookRunner } from './hooks.ts';
import { detailsOf, type ImagePuller } from './image-puller.ts';
import type { KillAction, PodActions, StartAction } from './pod-actions.ts';
import type { PodDirs } from './pod-dirs.ts';
import { containerReference, podReference } from './pod-reference.ts';
import { type ContainerSources, prepareContainer } from './prepare-container.ts';
import type { PreparedSandbox, SandboxMaker } from './sandbox-maker.ts';
import { containerType, type HookMetrics, type StartMetrics } from './start-metrics.ts';
import { ContainerError } from './sync-error.ts';
import type { SyncResult } from './sync-result.ts';
import type { TellStep } from './sync-step.ts';
import { TerminationTurns } from './termination-order.ts';
import { pullVolumeImages } from './volume-images.ts';

/** What a sandbox and its containers are made with that does not come from the pod alone. */
export interface PodSurroundings {
  readonly cgroupParent: string;
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
  readonly clock: Clock;
  readonly notes: PodNotes;
  readonly log: Log;
  readonly sandboxes: SandboxMaker;
  readonly hostIPs: () => readonly string[];
  readonly pullSecrets: (pod: Pod) => Promise<readonly Secret[]>;
  readonly metrics?: StartMetrics;
  readonly hookMetrics?: HookMetrics;
}

/** Carries out what computePodActions decided. The only code that changes containers. */
export class PodRuntime {
  readonly #o: PodRuntimeOptions;
  readonly #hooks: HookRunner;
  readonly #stopper: ContainerStopper;

  constructor(options: PodRuntimeOptions) {
    this.#o = options;
    this.#hooks = new HookRunner(options);
    this.#stopper = new ContainerStopper({ ...options, hooks: this.#hooks });
  }

  /** Step 1: what must not run is stopped, what nobody asks for any more is removed. */
  async clear(desired: DesiredPod, actions: PodActions, signal: AbortSignal): Promise<void> {
    const { runtime } = this.#o;
    const podIP = this.#podIPs(desired.pod, actions.sandbox?.ips ?? [])[0];
    await allOver(actions.kill.map((kill) => this.#kill(desired.pod, kill, podIP, signal)));
    for (const id of actions.stopSandboxes) await runtime.stopPodSandbox(id, signal);
    for (const { id, name, attempt, keepLog } of actions.removeContainers) {
      await runtime.removeContainer(id, signal);
      if (!keepLog) await this.#o.dirs.removeLog(desired.pod, name, id, attempt);
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
    const sandbox = await this.#o.sandboxes.prepare(desired, {
      attempt,
      fresh: actions.createSandbox !== undefined,
      cgroupParent: around.cgroupParent,
      resources: around.sandboxResources,
      overhead: around.overhead,
    });
    let sandboxId: string | undefined = actions.sandbox?.id;
    let ips: readonly string[] = actions.sandbox?.ips ?? [];
    if (actions.createSandbox) {
      around.tell?.({ kind: 'sandbox' });
      sandboxId = await this.#o.sandboxes.make(desired, sandbox, signal);
      ips = (await this.#o.pleg.sawSandbox(desired.uid, sandboxId, signal)).ips;
    }
    if (sandboxId === undefined) return [];
    const podIPs = this.#podIPs(desired.pod, ips);
    const hostsPath = await this.#o.dirs.writeHosts(desired.uid, desired.pod, podIPs);
    const where: Where = { sandboxId, ...sandbox, podIPs, hostsPath, around };
    const results: SyncResult[] = [];
    for (const action of actions.start) results.push(await this.#startContainer(desired, action, where, signal));
    return results;
  }

  /**
   * Stops everything that runs for a pod within one grace period: the regular containers at once, sidecars
   * after them and in the reverse order of their start; then its sandboxes.
   */
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
    const ips = observed?.sandboxes[0]?.ips ?? [];
    const names = alive.map((c) => c.name);
    const turns = desired && new TerminationTurns(desired.pod, names);
    await allOver(
      alive.map(async (c) => {
        const message = `Stopping container ${c.name}`;
        const kill: KillAction = { id: c.id, name: c.name, reason: 'Terminating', message, gracePeriodSeconds: grace };
        if (!desired) return this.#killStored(kill, ips[0], signal);
        await this.#kill(desired.pod, kill, this.#podIPs(desired.pod, ips)[0], signal, () => turns?.turnOf(c.name));
        turns?.ended(c.name);
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
    await this.#o.sandboxes.release(uid);
    if (observed) await this.#o.pleg.refresh(uid, signal);
  }

  async #kill(
    pod: Pod,
    kill: KillAction,
    podIP: string | undefined,
    signal: AbortSignal,
    turn?: () => Promise<void> | undefined,
  ): Promise<void> {
    const known = containersOf(pod).find(({ container }) => container.name === kill.name);
    const container = known?.container ?? { name: kill.name };
    await this.#stopper.stop({ pod, kill, target: { pod, container, id: kill.id, podIP }, turn }, signal);
  }

  /** A container of a pod that nobody knows any more: its hook is in what the runtime stored with it. */
  async #killStored(kill: KillAction, podIP: string | undefined, signal: AbortSignal): Promise<void> {
    const status = await this.#o.runtime.containerStatus(kill.id, signal).catch((error: unknown) => {
      if (isCriCode(error, 'NOT_FOUND')) return undefined;
      throw error;
    });
    if (!status) return;
    const target = { ...storedTarget(status, podIP), id: kill.id };
    await this.#stopper.stop({ pod: undefined, kill, target }, signal);
  }

  #podIPs(pod: Pod, ips: readonly string[]): readonly string[] {
    return pod.spec.hostNetwork ? this.#o.hostIPs() : ips;
  }

  async #startContainer(
    desired: DesiredPod,
    action: StartAction,
    where: Where,
    signal: AbortSignal,
  ): Promise<SyncResult> {
    const { container } = action;
    const type = containerType(action.kind);
    this.#o.metrics?.started.inc(type);
    try {
      const id = await this.#createAndStart(desired, action, where, signal);
      return { action: 'start', target: container.name, ok: true, id, sandboxId: where.sandboxId };
    } catch (error) {
      if (isAbort(error)) throw error;
      this.#o.metrics?.failed.inc(type, error instanceof AgentError ? error.code : 'Unknown');
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
    const volumes = await pullVolumeImages(
      {
        ...{
          pod,
          container,
          volumes: where.around.volumes,
          sandboxConfig: where.config,
          runtimeHandler: where.handler,
        },
        secrets: () => pullSecrets(pod),
        podEvent: (...what) => this.#o.events.event(podReference(pod), ...what),
        containerEvent: event,
      },
      puller,
      signal,
    );
    // A runtime that lost its memory has left the logs: the count goes on where they end.
    const attempt = action.attempt || (await dirs.nextAttempt(pod, container.name));
    where.around.tell?.({ kind: 'create', container: container.name });
    const prepared = { ...where, around: { ...where.around, volumes } };
    const config = await this.#containerConfig(desired, { ...action, attempt }, image, prepared, signal).catch(
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
    // A runtime that is cut off in the midst of a start takes its container for broken, and everybody reads that.
    using patient = linger(signal, startPatienceMs, this.#o.clock);
    signal.throwIfAborted();
    const id = await runtime
      .createContainer(where.sandboxId, config, where.config, patient.signal)
      .catch((error: unknown) => {
        throw startFailure(waitingReason.createContainerError, error, event);
      });
    event('Normal', eventReason.created, 'Container created');
    // Told before it runs: nobody is to take it for started while its hook is not over.
    if (container.lifecycle?.postStart) where.around.tell?.({ kind: 'postStart', container: container.name });
    signal.throwIfAborted();
    await runtime.startContainer(id, patient.signal).catch((error: unknown) => {
      throw startFailure(waitingReason.runContainerError, error, event);
    });
    event('Normal', eventReason.started, 'Container started');
    this.#o.log.info({ podUid: uid, container: container.name, id, attempt }, 'container started');
    await dirs.linkLog(pod, container.name, id, attempt).catch((error: unknown) => {
      // The container runs and its log is written; only those who look for the link miss it.
      this.#o.log.warn({ podUid: uid, container: container.name, ...errorFields(error) }, 'cannot link a log');
    });
    await this.#postStart(desired, container, id, where.podIPs[0], signal);
    return id;
  }

  /**
   * Runs the hook; a container whose hook fails is killed, and its restart policy says what comes of it. A
   * hook that was cut off because keelson stopped is not run again: its container is taken for started.
   */
  async #postStart(
    { pod, uid }: DesiredPod,
    container: Container,
    id: string,
    podIP: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { notes } = this.#o;
    const handler = container.lifecycle?.postStart;
    if (!handler) return;
    try {
      await this.#hooks.run(handler, { pod, container, id, podIP }, signal);
    } catch (error) {
      if (!(error instanceof HookError)) throw error;
      // What the hook printed may be secret: the event, which many may read, does not repeat it.
      this.#event(pod, container.name, 'Warning', eventReason.failedPostStartHook, 'PostStartHook failed');
      const last = { id: containerId(id), name: container.name };
      const kill = killAction({ pod }, last, 'FailedPostStartHook', 'FailedPostStartHook', container);
      await this.#kill(pod, kill, podIP, signal);
      throw new ContainerError(waitingReason.postStartHookError, error.message, { cause: error });
    }
    const earlier = notes.get(uid).postStartDone ?? [];
    notes.note(uid, { postStartDone: [...earlier.slice(1 - maxNotedHooks), id] });
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
        runtimeHandler: where.handler,
        userNamespace: where.userNamespace,
        ...targetOf(action),
      },
      this.#o.containers,
      signal,
    );
  }

  #event(pod: Pod, container: string, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#o.events.event(containerReference(pod, container), type, reason, message);
  }
}

/** Whose processes an ephemeral container sees besides its own. */
function targetOf({ kind, container, targetId }: StartAction): { readonly targetId?: string } {
  const name = kind === 'ephemeral' && (container as EphemeralContainer).targetContainerName;
  if (!name) return {};
  if (targetId) return { targetId };
  throw new ContainerError(waitingReason.createContainerConfigError, `unable to find target container ${name}`);
}

/** Waits for all, and fails then: what is tried again must not meet what is still under way. */
async function allOver(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}

/** How long a start that is not wanted any more has to come to its end. */
const startPatienceMs = 10_000;

/** More than a pod has containers that run at a time: what ended long ago is of interest to nobody. */
const maxNotedHooks = 100;

/** What logs are named after. */
export interface PodName {
  readonly name: string;
  readonly namespace: string;
}

interface Where extends PreparedSandbox {
  readonly sandboxId: string;
  readonly podIPs: readonly string[];
  readonly hostsPath: string;
  readonly around: PodSurroundings;
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
