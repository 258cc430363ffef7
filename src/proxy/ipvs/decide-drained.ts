import type { Step } from './diff-state.ts';
import type { KernelServer } from './kernel-state.ts';

/** An endpoint that has left its Service and only finishes the connections that it has. */
export interface Draining {
  readonly key: string;
  readonly endpoint: string;
  /** Milliseconds of the monotonic clock. */
  readonly since: number;
}

const drainingId = (key: string, endpoint: string): string => `${key} ${endpoint}`;

/** Those that have no connection left, or have had their time. */
export function decideDrained(
  draining: Iterable<Draining>,
  connections: ReadonlyMap<string, number>,
  now: number,
  boundMs: number,
): readonly Step[] {
  return [...draining]
    .filter(({ key, endpoint, since }) => {
      return (connections.get(drainingId(key, endpoint)) ?? 0) === 0 || now - since >= boundMs;
    })
    .map(({ key, endpoint }) => ({ kind: 'delete-endpoint', key, endpoint }));
}

/** All endpoints of our servers that take nobody new. One that was known keeps its time; one that was found begins now. */
export function drainingIn(
  servers: ReadonlyMap<string, KernelServer>,
  isOurs: (key: string) => boolean,
  known: ReadonlyMap<string, Draining>,
  now: number,
): Map<string, Draining> {
  const draining = new Map<string, Draining>();
  for (const [key, { endpoints }] of servers) {
    for (const [endpoint, weight] of endpoints) {
      const id = drainingId(key, endpoint);
      if (weight === 0 && isOurs(key)) draining.set(id, known.get(id) ?? { key, endpoint, since: now });
    }
  }
  return draining;
}

/** The same after some steps, without a look at every server. */
export function drainingAfter(draining: Map<string, Draining>, steps: readonly Step[], now: number): void {
  for (const step of steps) {
    if (step.kind === 'edit-endpoint' || step.kind === 'add-endpoint' || step.kind === 'delete-endpoint') {
      const { key, endpoint } = step;
      const id = drainingId(key, endpoint);
      if (step.kind === 'delete-endpoint' || step.weight > 0) draining.delete(id);
      else draining.set(id, { key, endpoint, since: now });
    } else if (step.kind === 'delete-server') {
      for (const [id, one] of draining) if (one.key === step.key) draining.delete(id);
    }
  }
}
