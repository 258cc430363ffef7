import type { Container } from '../api/core-v1.ts';

/**
 * What of a container's definition this version cannot do. Running without it would show the container
 * something else than it asked for: it is refused.
 */
export function unsupportedFields(container: Container): string[] {
  const at = `spec.containers{${container.name}}`;
  const found: string[] = [];
  const add = (isThere: boolean | undefined, field: string) => {
    if (isThere) found.push(`${at}.${field}`);
  };
  add((container.volumeDevices?.length ?? 0) > 0, 'volumeDevices');
  add((container.resources?.claims?.length ?? 0) > 0, 'resources.claims');
  const subPath = container.volumeMounts?.some((m) => m.subPath || m.subPathExpr);
  add(subPath, 'volumeMounts[].subPath');
  return found;
}
