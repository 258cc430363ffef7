import type { Container } from '../api/core-v1.ts';

/**
 * The hash that kubelet ≥ 1.30 stores with a container, so that a restart of either agent recognises
 * the other's containers: FNV-1a (32 bit) over Go's spelling of the JSON bytes of image and name.
 */
export function containerHash(container: Container): string {
  const json = goJson({ ...(container.image ? { image: container.image } : {}), name: container.name });
  const spelled = `([]uint8)[${[...Buffer.from(json)].join(' ')}]`;
  let hash = 0x811c9dc5;
  for (let i = 0; i < spelled.length; i++) hash = Math.imul(hash ^ spelled.charCodeAt(i), 0x01000193) >>> 0;
  return hash.toString(16);
}

/** JSON as Go's encoder writes it: <, > and & escaped. */
export function goJson(value: unknown): string {
  return JSON.stringify(value).replace(/[<>&]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
