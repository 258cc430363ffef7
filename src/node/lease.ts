import type { Lease, Node } from '../api/core-v1.ts';
import type { KubeObject } from '../api/meta-v1.ts';
import { isAlreadyExists, isConflict, isNotFound, type KubeApi } from '../kubeapi/kube-api.ts';
import { failureLevel } from '../kubeapi/outage-log.ts';
import { leases } from '../kubeapi/resources.ts';
import { type BackoffPolicy, backoffDelay, jittered } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

const namespace = 'kube-node-lease';
const renewFraction = 0.25;
const jitter = 0.04;
const nodePollMs = 200;
/** Tries within one renewal, and how they follow each other. */
const maxTries = 5;
const retryBackoff: BackoffPolicy = { initialMs: 200, maxMs: 1_600 };
/** Clocks that differ by more confuse leases, tokens and certificates. */
const toleratedSkewMs = 60_000;

export interface NodeLeaseParts {
  readonly api: KubeApi;
  readonly nodeName: string;
  readonly leaseDurationSeconds: number;
  /** The Node, which will own the lease; it is not created before there is one. */
  readonly node: () => Node | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Renewals fail again and again without an answer: connections are perhaps half-dead and better made anew. */
  readonly onHeartbeatFailure: () => void;
}

/**
 * The node's heartbeat: renews its Lease every quarter of the lease's duration. The control plane takes a node whose
 * lease runs out for lost and moves its pods, so this loop depends on nothing but the API.
 */
export class NodeLease {
  readonly #parts: NodeLeaseParts;
  /** As last written or read; undefined when it is to be read again. */
  #lease: Lease | undefined;
  #failing = false;
  #skewReported = false;

  constructor(parts: NodeLeaseParts) {
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    while (!signal.aborted) {
      // Before there is a Node, look again soon: the first heartbeat is not to wait for a quarter of the lease.
      const known = this.#parts.node() !== undefined;
      const startedAt = clock.monotonic();
      if (known) await this.renew(signal);
      const rest = known ? this.#intervalMs - (clock.monotonic() - startedAt) : nodePollMs;
      await clock.sleep(jittered(Math.max(rest, nodePollMs), jitter), signal).catch(() => {});
    }
  }

  get #intervalMs(): number {
    return this.#parts.leaseDurationSeconds * 1000 * renewFraction;
  }

  /** One renewal with its retries. Never fails: the next one is due soon. */
  async renew(signal: AbortSignal): Promise<void> {
    const { clock, log, nodeName, onHeartbeatFailure } = this.#parts;
    const deadline = clock.monotonic() + this.#intervalMs;
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#renewOnce(signal);
        if (this.#failing) log.info({ node: nodeName }, 'node lease is renewed again');
        this.#failing = false;
        return;
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        if (isConflict(error) || isNotFound(error) || isAlreadyExists(error)) this.#lease = undefined;
        else if (failures === 2) onHeartbeatFailure();
        if (failures >= maxTries || clock.monotonic() >= deadline) return this.#giveUp(error);
        await clock.sleep(backoffDelay(failures, retryBackoff), signal).catch(() => {});
      }
    }
  }

  #giveUp(error: unknown): void {
    const { log, nodeName } = this.#parts;
    const fields = { ...errorFields(error), node: nodeName };
    if (this.#failing) log.debug(fields, 'still cannot renew the node lease');
    else log[failureLevel(error)](fields, 'cannot renew the node lease');
    this.#failing = true;
  }

  async #renewOnce(signal: AbortSignal): Promise<void> {
    const { api, clock, nodeName } = this.#parts;
    const node = this.#parts.node();
    const existing = this.#lease ?? (await this.#read(signal));
    const sentAt = clock.now();
    const lease = generateLease(existing, {
      nodeName,
      nodeUid: node?.metadata.uid,
      durationSeconds: this.#parts.leaseDurationSeconds,
      now: sentAt,
    });
    this.#lease = await this.#bounded(signal, (s) =>
      existing ? api.update(leases, lease, s) : api.create(leases, lease, s),
    );
    this.#checkClock(clockSkewMs(this.#lease, !existing, sentAt));
  }

  #read(signal: AbortSignal): Promise<Lease | undefined> {
    const { api, nodeName } = this.#parts;
    return this.#bounded(signal, (s) =>
      api.get(leases, { namespace, name: nodeName }, s).catch((error: unknown) => {
        if (isNotFound(error)) return undefined;
        throw error;
      }),
    );
  }

  /** A call on a half-dead connection must fail while there is still time for another on a new one. */
  async #bounded<T>(signal: AbortSignal, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const controller = new AbortController();
    const abort = () => controller.abort(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    // Twice within an interval, so that a second try can go over another connection.
    const limitMs = this.#intervalMs / 2;
    using _ = this.#parts.clock.after(limitMs, () =>
      controller.abort(
        new AgentError('LeaseTimeout', `no answer to the lease of node ${this.#parts.nodeName} in ${limitMs} ms`, {
          retryable: true,
        }),
      ),
    );
    try {
      return await call(controller.signal);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  #checkClock(skewMs: number | undefined): void {
    if (this.#skewReported || skewMs === undefined || Math.abs(skewMs) <= toleratedSkewMs) return;
    this.#skewReported = true;
    const fields = { skewSeconds: Math.round(skewMs / 1000), hint: 'set the clock: timedatectl set-ntp true' };
    this.#parts.log.warn(fields, "this host's clock differs from the API server's");
  }
}

/** The lease to write: the existing one renewed, or a new one. It belongs to the Node, so that it goes with it. */
export function generateLease(
  existing: Lease | undefined,
  facts: { nodeName: string; nodeUid: string | undefined; durationSeconds: number; now: number },
): Lease {
  const { nodeName, nodeUid } = facts;
  const owner = nodeUid === undefined ? undefined : [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeUid }];
  return {
    apiVersion: leases.apiVersion,
    kind: leases.kind,
    metadata: {
      ...(existing?.metadata ?? { name: nodeName, namespace }),
      ...(owner ? { ownerReferences: owner } : {}),
    },
    spec: {
      ...existing?.spec,
      holderIdentity: nodeName,
      leaseDurationSeconds: facts.durationSeconds,
      renewTime: microTime(facts.now),
    },
  };
}

/** RFC 3339 with microseconds, as Kubernetes' meta/v1 MicroTime; the clock has only milliseconds to give. */
export function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}

/**
 * How far our clock is ahead of the server's, by the time that the server noted for the write it just answered: the newest
 * entry of managedFields, or the creation of what was `created` now. Undefined when it noted none. Exact to a second and
 * the time of the call.
 */
export function clockSkewMs(written: KubeObject, created: boolean, sentAt: number): number | undefined {
  const noted = (written.metadata.managedFields ?? []).map((field) => (field as { time?: string } | null)?.time);
  const times = [...noted, created ? written.metadata.creationTimestamp : undefined]
    .map((time) => Date.parse(time ?? ''))
    .filter(Number.isFinite);
  return times.length ? sentAt - Math.max(...times) : undefined;
}
