import type { ObjectReference, Pod, RuntimeClass } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import type { PodUid } from '../api/ids.ts';
import { eventReason } from '../api/reasons.ts';
import { CriError, type RuntimeService } from '../cri/services.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { AgentError, adviceOf, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { Semaphore } from '../lib/semaphore.ts';
import type { DesiredPod } from '../pod/pod-manager.ts';
import type { NodeDns } from './node-dns.ts';
import { kernelHostname } from './pod-hostname.ts';
import { podReference } from './pod-reference.ts';
import { runtimeHandler } from './runtime-classes.ts';
import { sandboxConfig } from './sandbox-config.ts';
import { type UserNamespaces, userNamespaceRefusal } from './user-namespaces.ts';

/** What of the node goes into sandboxes. */
export interface SandboxSources {
  readonly podLogsDir: string;
  readonly clusterDomain: string;
  readonly dns: NodeDns;
  /** By name, as the API server has them now; undefined on a node without one. */
  readonly runtimeClasses: ReadonlyMap<string, RuntimeClass> | undefined;
  /** What the runtime's handlers can do; none where the runtime does not tell. */
  readonly handlers: () => readonly cri.RuntimeHandler[];
  readonly userNamespaces: Pick<UserNamespaces, 'take' | 'release'>;
  /** The node as events name it. */
  readonly node: ObjectReference;
}

export interface SandboxMakerOptions extends SandboxSources {
  readonly runtime: Pick<RuntimeService, 'runPodSandbox'>;
  readonly events: EventSink;
  readonly log: Log;
}

export interface SandboxRequest {
  readonly attempt: number;
  /** Whether it is still to be made; else containers are made in it. */
  readonly fresh: boolean;
  readonly cgroupParent: string;
  readonly resources: cri.LinuxContainerResources;
  readonly overhead: cri.LinuxContainerResources;
}

/** A sandbox as it is to be made, or was. */
export interface PreparedSandbox {
  readonly config: cri.PodSandboxConfig;
  /** Of the runtime's handlers; '' is the default one. */
  readonly handler: string;
  /** The user ids of a pod with users of its own. */
  readonly userNamespace: cri.UserNamespace | undefined;
}

/** Sandboxes that are being made at a time: beyond a few they only get in each other's way on the network setup. */
const maxParallelSandboxes = 8;

/** Makes the sandboxes of pods, and tells in events why one cannot be made. */
export class SandboxMaker {
  readonly #o: SandboxMakerOptions;
  readonly #slots = new Semaphore(maxParallelSandboxes);

  constructor(options: SandboxMakerOptions) {
    this.#o = options;
  }

  /** Says what is wrong with the node before a pod has to. */
  start(): Promise<void> {
    return this.#o.dns.check();
  }

  /** Gathers what a sandbox is made with. The pod's folder exists. */
  async prepare(desired: DesiredPod, request: SandboxRequest): Promise<PreparedSandbox> {
    if (!request.fresh) return this.#prepare(desired, request);
    return this.#prepare(desired, request).catch((error: unknown) => this.#fail(desired.pod, error));
  }

  /** Fails when there is no sandbox to be had; the pod's owner has been told why by then. */
  async make(desired: DesiredPod, sandbox: PreparedSandbox, signal: AbortSignal): Promise<string> {
    const { runtime, events, log } = this.#o;
    if (sandbox.config.metadata?.attempt) {
      const text = 'Pod sandbox changed, it will be killed and re-created.';
      events.event(podReference(desired.pod), 'Normal', eventReason.sandboxChanged, text);
    }
    const { config, handler } = sandbox;
    const id = await this.#slots
      .run(signal, () => runtime.runPodSandbox(config, handler, signal))
      .catch((error: unknown) => this.#fail(desired.pod, error));
    log.debug({ podUid: desired.uid, sandboxId: id, handler }, 'sandbox runs');
    return id;
  }

  /** Takes back what the pod was given. Nothing of it runs. */
  release(uid: PodUid): Promise<void> {
    return this.#o.userNamespaces.release(uid);
  }

  async #prepare({ pod, uid, source, seenAt }: DesiredPod, request: SandboxRequest): Promise<PreparedSandbox> {
    const { podLogsDir, clusterDomain, dns, runtimeClasses } = this.#o;
    const { attempt, fresh, cgroupParent, resources, overhead } = request;
    const hostname = pod.spec.hostNetwork ? '' : kernelHostname(pod, clusterDomain);
    // A class that was removed meanwhile takes nothing away from what runs under it.
    const gone = !fresh && runtimeClasses?.has(pod.spec.runtimeClassName ?? '') === false;
    const handler = gone ? '' : runtimeHandler(pod, runtimeClasses);
    const userNamespace = pod.spec.hostUsers === false ? await this.#users(uid, handler, fresh) : undefined;
    const { config: dnsConfig, warnings } = await dns.forPod(pod);
    if (fresh) {
      for (const { about, reason, message } of warnings)
        this.#o.events.event(about === 'pod' ? podReference(pod) : this.#o.node, 'Warning', reason, message);
    }
    const config = sandboxConfig({
      pod,
      attempt,
      source,
      seenAt: new Date(seenAt).toISOString(),
      dns: dnsConfig,
      hostname,
      userNamespace,
      podLogsDir,
      cgroupParent,
      resources,
      overhead,
    });
    return { config, handler, userNamespace };
  }

  async #users(uid: PodUid, handler: string, fresh: boolean): Promise<cri.UserNamespace> {
    const { handlers, userNamespaces } = this.#o;
    const refusal = fresh ? userNamespaceRefusal(handler, handlers()) : undefined;
    if (refusal !== undefined) {
      throw new AgentError('NoUserNamespaces', refusal, {
        hint: 'hostUsers: false needs a container runtime that reports user namespaces, such as containerd 2.0',
        retryable: true,
      });
    }
    return userNamespaces.take(uid);
  }

  #fail(pod: Pod, error: unknown): never {
    if (!isAbort(error)) {
      const text = `Failed to create pod sandbox: ${error instanceof CriError ? error.details : adviceOf(error)}`;
      this.#o.events.event(podReference(pod), 'Warning', eventReason.failedCreatePodSandBox, text);
    }
    throw error;
  }
}
