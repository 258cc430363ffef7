import type { ServiceInfo } from './read-service.ts';

/** A Service whose load balancers ask this node whether it has endpoints of its own. */
export interface HealthCheck {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
  /** RFC 3339, '' when unknown. Of Services that want the same port the oldest has it. */
  readonly createdAt: string;
}

/** Those of all Services that are known. */
export class HealthChecks {
  readonly #all = new Map<string, HealthCheck>();

  get all(): ReadonlyMap<string, HealthCheck> {
    return this.#all;
  }

  /** Takes a Service as it is now (undefined: gone); returns whether that changes anything here. */
  note(key: string, service: ServiceInfo | undefined): boolean {
    const port = service?.healthCheckNodePort;
    const known = this.#all.get(key);
    if (known?.port === port && known?.createdAt === (port && service?.createdAt)) return false;
    if (service && port !== undefined) {
      const { namespace, name, createdAt } = service;
      this.#all.set(key, { namespace, name, port, createdAt });
    } else this.#all.delete(key);
    return true;
  }
}

export interface HealthCheckAnswer {
  readonly status: 200 | 503;
  readonly text: string;
  readonly contentType: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * What a `healthCheckNodePort` says, whatever the path. `localEndpoints`: ready ones on this node; `healthy`: whether
 * the kernel keeps up with Services.
 */
export function healthCheckAnswer(
  { namespace, name }: Pick<HealthCheck, 'namespace' | 'name'>,
  localEndpoints: number,
  healthy: boolean,
): HealthCheckAnswer {
  const body = { service: { namespace, name }, localEndpoints, serviceProxyHealthy: healthy };
  return {
    status: localEndpoints > 0 && healthy ? 200 : 503,
    text: JSON.stringify(body, null, '\t'),
    contentType: 'application/json',
    headers: { 'x-load-balancing-endpoint-weight': String(localEndpoints) },
  };
}

/** One Service for each port, by Service key; `lost` names the others. */
export function claimPorts(checks: ReadonlyMap<string, HealthCheck>): {
  readonly won: ReadonlyMap<string, HealthCheck>;
  readonly lost: readonly { readonly key: string; readonly port: number; readonly winner: string }[];
} {
  const byAge = [...checks].sort(([a, one], [b, other]) => compare(one.createdAt, other.createdAt) || compare(a, b));
  const won = new Map<string, HealthCheck>();
  const owners = new Map<number, string>();
  const lost: { key: string; port: number; winner: string }[] = [];
  for (const [key, check] of byAge) {
    const winner = owners.get(check.port);
    if (winner !== undefined) {
      lost.push({ key, port: check.port, winner });
      continue;
    }
    owners.set(check.port, key);
    won.set(key, check);
  }
  return { won, lost };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
