import type { Container, HTTPGetAction } from '../api/core-v1.ts';
import { AgentError } from '../lib/errors.ts';
import type { HttpGetRequest } from './http-get.ts';

/**
 * The number behind a probe's or hook's port: a number, or the name of one of the container's ports; digits
 * in quotes count as a number where no port has that name. Throws AgentError 'InvalidPort'.
 */
export function resolvePort(port: number | string, container: Pick<Container, 'ports'>): number {
  const found =
    typeof port === 'number'
      ? port
      : (container.ports?.find(({ name }) => name === port)?.containerPort ??
        (/^\d+$/.test(port) ? Number(port) : undefined));
  if (found === undefined) throw new AgentError('InvalidPort', `port "${port}" not found`);
  if (found > 0 && found < 65_536) return found;
  throw new AgentError('InvalidPort', `invalid port number: ${found}`);
}

/**
 * An httpGet of the pod as a request; without a host of its own it goes to the pod's address. Throws
 * AgentError 'InvalidPort'.
 */
export function httpGetRequest(
  action: HTTPGetAction,
  container: Pick<Container, 'ports'>,
  podIP: string,
  timeoutMs: number,
): HttpGetRequest {
  return {
    scheme: action.scheme ?? 'HTTP',
    host: action.host || podIP,
    port: resolvePort(action.port, container),
    path: action.path ?? '/',
    headers: (action.httpHeaders ?? []).map(({ name, value }) => [name, value] as const),
    timeoutMs,
  };
}
