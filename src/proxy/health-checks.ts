/** A Service whose load balancers ask this node whether it has endpoints of its own. */
export interface HealthCheck {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
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
  { namespace, name }: HealthCheck,
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
