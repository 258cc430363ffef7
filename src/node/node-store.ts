import type { Node } from '../api/core-v1.ts';
import { BadObjects } from '../kubeapi/bad-objects.ts';
import { isExpired, type KubeApi } from '../kubeapi/kube-api.ts';
import { readObject } from '../kubeapi/read-object.ts';
import { versionIn } from '../kubeapi/reflector-decisions.ts';
import { nodes } from '../kubeapi/resources.ts';
import { type BackoffPolicy, backoffDelay, jittered } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

const watchBackoff: BackoffPolicy = { initialMs: 800, maxMs: 30_000 };
const watchTimeoutSeconds = 300;
/** A watch that ends sooner than this counts as a failure, however it ends. */
const shortWatchMs = 1_000;

/**
 * Our own Node as the server has it, kept by a watch and by the answers to our own writes; the newest wins.
 * Listeners hear of every change, also of its deletion (undefined).
 */
export class NodeStore {
  readonly #name: string;
  readonly #listeners = new Set<(node: Node | undefined) => void>();
  readonly #bad: BadObjects;
  #node: Node | undefined;

  constructor(name: string, log: Log) {
    this.#name = name;
    this.#bad = new BadObjects(log);
  }

  current(): Node | undefined {
    return this.#node;
  }

  onChange(listener: (node: Node | undefined) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Takes a state of the Node; an older one of the same object is left aside, and so is one that makes no sense. */
  put(written: Node): void {
    const { about, object: node, faults } = readObject(nodes, written);
    if (faults.length > 0) {
      this.#bad.found(about, faults, this.#node !== undefined);
      return;
    }
    this.#bad.mended(about);
    if (this.#node && isOlder(node, this.#node)) return;
    this.#set(node);
  }

  /** Says that the object is gone; with `uid`, only if it is that one. */
  delete(uid?: string): void {
    if (this.#node && (uid === undefined || this.#node.metadata.uid === uid)) this.#set(undefined);
  }

  #set(node: Node | undefined): void {
    this.#node = node;
    for (const listener of this.#listeners) listener(node);
  }

  /** Follows the Node at the server until the signal aborts. Errors are retried with backoff. */
  async run(api: KubeApi, clock: Clock, log: Log, signal: AbortSignal): Promise<void> {
    let failures = 0;
    let version: string | undefined;
    while (!signal.aborted) {
      const started = clock.monotonic();
      const isShort = () => clock.monotonic() - started < shortWatchMs;
      try {
        version = await this.#follow(api, version, signal);
        failures = isShort() ? failures + 1 : 0;
      } catch (error) {
        if (signal.aborted) return;
        version = undefined;
        failures = isShort() ? failures + 1 : 1;
        if (failures === 1 && !isExpired(error))
          log.info({ ...errorFields(error), node: this.#name }, 'watch of the node broke off');
      }
      const delayMs = jittered(backoffDelay(failures, watchBackoff), 0.5);
      if (delayMs > 0) await clock.sleep(delayMs, signal).catch(() => {});
    }
  }

  /** One watch; resolves with the version from which the next goes on. */
  async #follow(api: KubeApi, from: string | undefined, signal: AbortSignal): Promise<string | undefined> {
    const query = { fieldSelector: `metadata.name=${this.#name}` };
    let version = from;
    if (version === undefined) {
      const list = await api.list(nodes, { ...query, resourceVersion: '0' }, signal);
      const [node] = list.items;
      if (node !== undefined) this.put(node);
      else this.delete();
      version = list.resourceVersion;
    }
    const watch = {
      ...query,
      resourceVersion: version,
      timeoutSeconds: watchTimeoutSeconds,
      allowWatchBookmarks: true,
    };
    for await (const event of api.watch(nodes, watch, signal)) {
      version = versionIn(event) ?? version;
      if (event.type === 'DELETED') this.delete(readObject(nodes, event.object).object.metadata?.uid);
      else if (event.type === 'ADDED' || event.type === 'MODIFIED') this.put(event.object);
    }
    return version;
  }
}

/** Whether `a` is an earlier state of the object that `b` is. Versions are decimal numbers since Kubernetes 1.35 by contract. */
function isOlder(a: Node, b: Node): boolean {
  if (a.metadata.uid !== b.metadata.uid) return false;
  const [left, right] = [a, b].map((n) => n.metadata.resourceVersion ?? '');
  if (!left || !right || !/^\d+$/.test(left) || !/^\d+$/.test(right)) return false;
  return BigInt(left) < BigInt(right);
}
