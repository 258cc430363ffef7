import type { Registry } from './metrics.ts';

/** A check by its name; `problem` says what is wrong, or undefined. */
export interface CountedCheck {
  readonly name: string;
  readonly problem: () => string | undefined;
}

const type = 'healthz';

/** Health as a service level indicator: how each check stands now, and how it stood each time that it was asked for. */
export function healthMetrics(registry: Registry, checks: readonly CountedCheck[]): void {
  const total = registry.counter({
    name: 'kubernetes_healthchecks_total',
    help: 'How health checks stood, at each scrape.',
    labels: ['name', 'type', 'status'],
  });
  const name = 'kubernetes_healthcheck';
  const help = 'Whether a health check stands: 1 or 0.';
  registry.collect([{ name, type: 'gauge', help, labels: ['name', 'type'] }], (emit) => {
    for (const check of checks) {
      const isGood = check.problem() === undefined;
      total.inc(check.name, type, isGood ? 'success' : 'error');
      emit(name, isGood ? 1 : 0, check.name, type);
    }
  });
}
