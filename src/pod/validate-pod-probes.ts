import type { Container } from '../api/core-v1.ts';
import { isRecord } from '../lib/schema.ts';
import type { SourcePath } from '../lib/yaml-source.ts';
import { type Faults, invalid, required } from './validate-pod-faults.ts';

const handlers = ['exec', 'httpGet', 'tcpSocket', 'grpc', 'sleep'];

/** Probes and lifecycle hooks: one handler each, with sensible numbers. */
export function validateProbes(container: Container, path: SourcePath, faults: Faults): void {
  for (const field of ['livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
    const probe = container[field];
    if (!isRecord(probe)) continue;
    const at = [...path, field];
    validateHandler(probe, at, faults);
    for (const number of ['initialDelaySeconds', 'timeoutSeconds', 'periodSeconds', 'failureThreshold']) {
      const value = probe[number];
      if (typeof value === 'number' && value < 0)
        faults.add([...at, number], invalid(value, 'must be greater than or equal to 0'));
    }
    const success = probe['successThreshold'];
    if (field !== 'readinessProbe' && success !== 1)
      faults.add([...at, 'successThreshold'], invalid(success, 'must be 1'));
  }
  if (!isRecord(container.lifecycle)) return;
  for (const hook of ['postStart', 'preStop']) {
    const handler = container.lifecycle[hook];
    if (isRecord(handler)) validateHandler(handler, [...path, 'lifecycle', hook], faults);
  }
}

function validateHandler(holder: Record<string, unknown>, path: SourcePath, faults: Faults): void {
  const given = handlers.filter((name) => isRecord(holder[name]));
  if (given.length === 0) faults.add(path, `${required}: must specify a handler type`);
  for (const extra of given.slice(1))
    faults.add([...path, extra], 'Forbidden: may not specify more than 1 handler type');
  for (const name of given) {
    const handler = holder[name];
    if (isRecord(handler)) validateTarget(name, handler, [...path, name], faults);
  }
}

function validateTarget(name: string, handler: Record<string, unknown>, path: SourcePath, faults: Faults): void {
  const { command, port } = handler;
  if (name === 'exec' && !(Array.isArray(command) && command.length > 0)) faults.add([...path, 'command'], required);
  if (!['httpGet', 'tcpSocket', 'grpc'].includes(name)) return;
  if (port === undefined || port === '') faults.add([...path, 'port'], required);
  else if (typeof port === 'number' && (port < 1 || port > 65_535)) {
    faults.add([...path, 'port'], invalid(port, 'must be between 1 and 65535, inclusive'));
  }
}
