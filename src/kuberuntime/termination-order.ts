import type { Pod } from '../api/core-v1.ts';
import { isSidecar } from '../api/pod.ts';

/**
 * After whose end a container may be stopped, by name: sidecars after all regular containers and after the
 * sidecar that was started next, so that they go in the reverse order of their start. Of containers that do
 * not run nobody waits for anything; names without an entry wait for nobody.
 */
export function terminationOrder(pod: Pod, running: ReadonlySet<string>): ReadonlyMap<string, readonly string[]> {
  const order = new Map<string, readonly string[]>();
  const regular = pod.spec.containers.map((c) => c.name).filter((name) => running.has(name));
  let later: readonly string[] = [];
  for (const sidecar of (pod.spec.initContainers ?? []).filter(isSidecar).toReversed()) {
    // One that does not run hands on those behind it.
    order.set(sidecar.name, [...regular, ...later]);
    if (running.has(sidecar.name)) later = [sidecar.name];
  }
  return order;
}

/** Lets containers wait for each other's end in that order. */
export class TerminationTurns {
  readonly #order: ReadonlyMap<string, readonly string[]>;
  readonly #ends = new Map<string, { readonly promise: Promise<void>; readonly resolve: () => void }>();

  constructor(pod: Pod, running: readonly string[]) {
    this.#order = terminationOrder(pod, new Set(running));
    for (const name of running) this.#ends.set(name, Promise.withResolvers<void>());
  }

  /** Resolves when it is this container's turn. */
  async turnOf(name: string): Promise<void> {
    await Promise.all((this.#order.get(name) ?? []).map((other) => this.#ends.get(other)?.promise));
  }

  ended(name: string): void {
    this.#ends.get(name)?.resolve();
  }
}
