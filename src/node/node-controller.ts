import type { Node, NodeStatus } from '../api/core-v1.ts';
import type { Image } from '../api/cri.ts';
import type { FilesystemFacts, MachineFacts } from '../host/machine.ts';
import { computeStrategicStatusPatch, sameJson } from '../kubeapi/compute-patch.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { ApiError, isAlreadyExists, isConflict, isNotFound, type KubeApi } from '../kubeapi/kube-api.ts';
import { failureLevel } from '../kubeapi/outage-log.ts';
import { nodes } from '../kubeapi/resources.ts';
import { type BackoffPolicy, backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { ensureCsiNode } from './csi-node.ts';
import type { NodePressures } from './generate-node-conditions.ts';
import { generateNode, generateNodeStatus, type NodeSettings, reconcileExistingNode } from './generate-node-status.ts';
import { NodeStore } from './node-store.ts';
import type { RuntimeState } from './runtime-state.ts';

/** Where the status comes from. The functions are called at every update and must be quick; what fails is left out. */
export interface NodeSources {
  readonly facts: MachineFacts;
  rootFilesystem(): Promise<FilesystemFacts>;
  /** The node's addresses, the main one first. */
  ips(): readonly string[];
  runtime(): RuntimeState;
  images(signal: AbortSignal): Promise<readonly Image[]>;
  pressures(): NodePressures;
  /** Reasons beyond the runtime's for not being ready. */
  problems(): readonly string[];
}

export interface NodeControllerParts {
  /** Undefined: standalone, nothing is written. */
  readonly api: KubeApi | undefined;
  /** registerNode: false leaves it to somebody else to create the Node. */
  readonly register: boolean;
  readonly settings: NodeSettings;
  readonly sources: NodeSources;
  /** nodeStatusUpdateFrequency: how often the status is computed; nodeStatusReportFrequency: how often an unchanged one is written. */
  readonly updateMs: number;
  readonly reportMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: EventSink | undefined;
}

const retryBackoff: BackoffPolicy = { initialMs: 200, maxMs: 7_000 };

/**
 * Keeps this host's Node object: creates it, writes what changed of its status, heartbeats, and creates it again when
 * somebody deleted it. Without an API server it holds the same object for those here who read it.
 */
export class NodeController {
  readonly #parts: NodeControllerParts;
  readonly #store: NodeStore;
  readonly #known = Promise.withResolvers<void>();
  /** Monotonic milliseconds of the last status that was written. */
  #reportedAt: number | undefined;
  /** The UID of the Node whose labels were looked after, and for which a CSINode exists. */
  #reconciledUid: string | undefined;
  #csiNodeUid: string | undefined;
  #csiNodeFailed = false;
  #failures = 0;
  /** The Node vanished under the last write. */
  #lost = false;
  #woken = false;
  #wakeUp: () => void = () => {};

  constructor(parts: NodeControllerParts) {
    this.#parts = parts;
    this.#store = new NodeStore(parts.settings.nodeName, parts.log);
    this.#store.onChange(() => this.#known.resolve());
  }

  /** The Node as last seen at the server; standalone, as we would register it. Undefined before, and while it is deleted. */
  current(): Node | undefined {
    return this.#store.current();
  }

  /** Resolves once there has been a Node, or the server has answered so that there may be none for long. */
  get known(): Promise<void> {
    return this.#known.promise;
  }

  /** Calls `listener` at every change of the Node: its podCIDR may come long after it was created. */
  onChange(listener: (node: Node | undefined) => void): Disposable {
    return this.#store.onChange(listener);
  }

  /** Reads the Node now, for whom the watch may not have brought its newest labels yet. What cannot be read stays as it is. */
  async refresh(signal: AbortSignal): Promise<void> {
    const { api, log } = this.#parts;
    await (api && this.#fetch(api, signal))?.catch((error: unknown) => {
      if (signal.aborted) throw error;
      log.warn(errorFields(error), 'cannot read the node');
    });
  }

  /** Computes and writes the status now, because something that it tells has changed. */
  wake(): void {
    this.#woken = true;
    this.#wakeUp();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { api, clock, log } = this.#parts;
    using _ = this.#store.onChange((node) => {
      if (!node) this.wake();
    });
    const watching = api ? this.#store.run(api, clock, log, signal) : undefined;
    while (!signal.aborted) await this.#pause(await this.#step(signal), signal);
    await watching;
  }

  /** One update; resolves with how long to wait for the next. */
  async #step(signal: AbortSignal): Promise<number> {
    this.#woken = false;
    try {
      await this.syncOnce(signal);
      this.#known.resolve();
      if (this.#failures) this.#parts.log.info({ node: this.#parts.settings.nodeName }, 'node status is written again');
      this.#failures = 0;
      return this.#parts.updateMs;
    } catch (error) {
      if (signal.aborted) return 0;
      if (error instanceof ApiError && !error.retryable) this.#known.resolve();
      this.#failures++;
      const fields = { ...errorFields(error), node: this.#parts.settings.nodeName };
      // The API server may be away for hours: said once, then for those who look closely.
      if (this.#failures === 1) this.#parts.log[failureLevel(error)](fields, 'cannot write the node status');
      else this.#parts.log.debug(fields, 'still cannot write the node status');
      return Math.min(backoffDelay(this.#failures, retryBackoff), this.#parts.updateMs);
    }
  }

  /** Sleeps until `ms` are over or somebody wakes us; after a failure only the time counts. */
  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted || (this.#woken && !this.#failures)) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        timer[Symbol.dispose]();
        signal.removeEventListener('abort', done);
        this.#wakeUp = () => {};
        resolve();
      };
      const timer = this.#parts.clock.after(ms, done);
      signal.addEventListener('abort', done, { once: true });
      if (!this.#failures) this.#wakeUp = done;
    });
  }

  /** Registers the Node where it is missing, and writes its status where it changed or a heartbeat is due. */
  async syncOnce(signal: AbortSignal): Promise<void> {
    const { api, settings, sources } = this.#parts;
    if (!api) return this.#syncStandalone(signal);
    const node = this.current() ?? (await this.#fetch(api, signal));
    if (!node) {
      if (this.#parts.register) await this.#register(api, signal);
      return;
    }
    const uid = node.metadata.uid ?? '';
    if (this.#reconciledUid !== uid && this.#parts.register) {
      const body = reconcileExistingNode(node, settings, sources.facts);
      if (body) this.#store.put(await api.patch(nodes, { name: settings.nodeName }, { type: 'merge', body }, signal));
      this.#reconciledUid = uid;
    }
    await this.#writeStatus(api, node, signal);
    await this.#ensureCsiNode(api, uid, signal);
  }

  async #fetch(api: KubeApi, signal: AbortSignal): Promise<Node | undefined> {
    try {
      this.#store.put(await api.get(nodes, { name: this.#parts.settings.nodeName }, signal));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    return this.current();
  }

  async #register(api: KubeApi, signal: AbortSignal): Promise<void> {
    const { settings, sources, clock, log } = this.#parts;
    const node = generateNode(settings, sources.facts, await this.#generate(undefined, signal));
    try {
      const created = await api.create(nodes, node, signal);
      log.info({ node: settings.nodeName, uid: created.metadata.uid }, 'node registered');
      this.#store.put(created);
      this.#reportedAt = clock.monotonic();
      this.#reconciledUid = created.metadata.uid;
      this.#recordReadiness(undefined, created.status);
      await this.#ensureCsiNode(api, created.metadata.uid ?? '', signal);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      this.#store.put(await api.get(nodes, { name: settings.nodeName }, signal));
      this.wake();
    }
  }

  async #writeStatus(api: KubeApi, node: Node, signal: AbortSignal): Promise<void> {
    const { clock, reportMs, settings } = this.#parts;
    const status = await this.#generate(node.status, signal);
    const due = this.#reportedAt === undefined || clock.monotonic() - this.#reportedAt >= reportMs;
    if (!due && sameJson(withoutHeartbeats(node.status), withoutHeartbeats(status))) return;
    const uid = node.metadata.uid;
    const body = computeStrategicStatusPatch('Node', node.status, status, uid === undefined ? {} : { uid });
    try {
      const name = { name: settings.nodeName };
      if (body)
        this.#store.put(await api.patch(nodes, name, { type: 'strategic', body, subresource: 'status' }, signal));
    } catch (error) {
      // Deleted, or deleted and made again by somebody: the next pass finds out which. Twice in a row it is an error.
      const lost = isNotFound(error) || isConflict(error);
      if (lost) this.#store.delete(uid);
      if (!lost || this.#lost) throw error;
      this.#lost = true;
      this.wake();
      return;
    }
    this.#lost = false;
    this.#reportedAt = clock.monotonic();
    this.#recordReadiness(node.status, status);
  }

  async #ensureCsiNode(api: KubeApi, uid: string, signal: AbortSignal): Promise<void> {
    if (this.#csiNodeUid === uid) return;
    try {
      await ensureCsiNode(api, this.#parts.settings.nodeName, uid, signal);
      this.#csiNodeUid = uid;
    } catch (error) {
      if (signal.aborted) throw error;
      // Only volumes of CSI drivers need it: pods without go on, and every update tries again.
      if (!this.#csiNodeFailed)
        this.#parts.log[failureLevel(error)](errorFields(error), 'cannot create the CSINode object');
      this.#csiNodeFailed = true;
    }
  }

  async #syncStandalone(signal: AbortSignal): Promise<void> {
    const { settings, sources } = this.#parts;
    const before = this.current()?.status;
    const status = await this.#generate(before, signal);
    if (before && sameJson(withoutHeartbeats(before), withoutHeartbeats(status))) return;
    this.#store.put(generateNode(settings, sources.facts, status));
    this.#recordReadiness(before, status);
  }

  async #generate(previous: NodeStatus | undefined, signal: AbortSignal): Promise<NodeStatus> {
    const { settings, sources, clock } = this.#parts;
    const [rootFilesystem, images] = await Promise.all([
      sources.rootFilesystem(),
      sources.images(signal).catch(() => undefined),
    ]);
    return generateNodeStatus({
      settings,
      facts: sources.facts,
      rootFilesystem,
      ips: sources.ips(),
      runtime: sources.runtime(),
      images,
      pressures: sources.pressures(),
      problems: sources.problems(),
      previous,
      now: clock.now(),
      monotonic: clock.monotonic(),
    });
  }

  #recordReadiness(before: NodeStatus | undefined, after: NodeStatus | undefined): void {
    const { events, log, settings } = this.#parts;
    const was = readyCondition(before);
    const is = readyCondition(after);
    if (!is || was?.status === is.status) return;
    const reason = is.status === 'True' ? 'NodeReady' : 'NodeNotReady';
    log.info({ node: settings.nodeName, reason: is.reason, message: is.message }, 'node readiness changed');
    const about = { kind: 'Node', name: settings.nodeName, uid: settings.nodeName };
    events?.event(about, 'Normal', reason, `Node ${settings.nodeName} status is now: ${reason}`);
  }
}

const readyCondition = (status: NodeStatus | undefined) => status?.conditions?.find((c) => c.type === 'Ready');

/**
 * What makes a status worth writing at once: everything but the times of its heartbeats, and the declared
 * features, which do not change while we run and which an older API server drops.
 */
function withoutHeartbeats(status: NodeStatus | undefined): NodeStatus | undefined {
  const conditions = status?.conditions?.map(({ lastHeartbeatTime: _, ...rest }) => rest);
  if (!status) return undefined;
  const { declaredFeatures: _, ...rest } = status;
  return { ...rest, conditions: conditions ?? [] };
}
