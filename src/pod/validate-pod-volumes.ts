import type { KeyToPath, PodSpec, Volume } from '../api/core-v1.ts';
import { parseQuantity } from '../api/quantity.ts';
import type { SourcePath } from '../lib/yaml-source.ts';
import { duplicate, type Faults, invalid, isDnsLabel, required } from './validate-pod-faults.ts';

/** Checks the volumes and gives back their names. */
export function validateVolumes(spec: PodSpec, faults: Faults): ReadonlySet<string> {
  const names = new Set<string>();
  for (const [i, volume] of (spec.volumes ?? []).entries()) {
    const at = ['spec', 'volumes', i];
    if (!volume.name) faults.add([...at, 'name'], required);
    else if (!isDnsLabel(volume.name))
      faults.add([...at, 'name'], invalid(volume.name, 'a name has at most 63 lower-case letters, digits and dashes'));
    else if (names.has(volume.name)) faults.add([...at, 'name'], duplicate(volume.name));
    names.add(volume.name);
    validateSource(volume, at, faults);
  }
  return names;
}

function validateSource(volume: Volume, at: SourcePath, faults: Faults): void {
  const { name: _name, ...sources } = volume;
  for (const extra of Object.keys(sources).slice(1))
    faults.add([...at, extra], 'Forbidden: may not specify more than 1 volume type');
  const { hostPath, emptyDir, configMap, secret, downwardAPI, projected } = volume;
  if (hostPath) validateHostPath(hostPath.path, [...at, 'hostPath', 'path'], faults);
  if (emptyDir?.sizeLimit !== undefined && parseQuantity(emptyDir.sizeLimit).nano < 0n) {
    faults.add([...at, 'emptyDir', 'sizeLimit'], invalid(emptyDir.sizeLimit, 'must be greater than or equal to 0'));
  }
  if (configMap) {
    if (!configMap.name) faults.add([...at, 'configMap', 'name'], required);
    validateItems(configMap.items, [...at, 'configMap', 'items'], faults);
  }
  if (secret) {
    if (!secret.secretName) faults.add([...at, 'secret', 'secretName'], required);
    validateItems(secret.items, [...at, 'secret', 'items'], faults);
  }
  for (const [i, item] of (downwardAPI?.items ?? []).entries())
    validatePath(item.path, [...at, 'downwardAPI', 'items', i, 'path'], faults);
  for (const [i, source] of (projected?.sources ?? []).entries()) {
    const path = [...at, 'projected', 'sources', i];
    for (const extra of Object.keys(source).slice(1))
      faults.add([...path, extra], 'Forbidden: may not specify more than 1 volume type');
    if (source.serviceAccountToken)
      validatePath(source.serviceAccountToken.path, [...path, 'serviceAccountToken', 'path'], faults);
    for (const field of ['configMap', 'secret'] as const) {
      const projection = source[field];
      if (!projection) continue;
      if (!projection.name) faults.add([...path, field, 'name'], required);
      validateItems(projection.items, [...path, field, 'items'], faults);
    }
    for (const [j, item] of (source.downwardAPI?.items ?? []).entries()) {
      validatePath(item.path, [...path, 'downwardAPI', 'items', j, 'path'], faults);
    }
  }
}

function validateHostPath(path: string | undefined, at: SourcePath, faults: Faults): void {
  if (!path) faults.add(at, required);
  else if (path.split('/').includes('..')) faults.add(at, invalid(path, "must not contain '..'"));
}

function validateItems(items: readonly KeyToPath[] | undefined, at: SourcePath, faults: Faults): void {
  for (const [i, item] of (items ?? []).entries()) {
    if (!item.key) faults.add([...at, i, 'key'], required);
    validatePath(item.path, [...at, i, 'path'], faults);
  }
}

/** A file inside the volume. */
function validatePath(path: string | undefined, at: SourcePath, faults: Faults): void {
  if (!path) faults.add(at, required);
  else if (path.startsWith('/')) faults.add(at, invalid(path, 'must be a relative path'));
  else if (path.split('/').includes('..')) faults.add(at, invalid(path, "must not contain '..'"));
  else if (path.startsWith('..')) faults.add(at, invalid(path, "must not start with '..'"));
}
