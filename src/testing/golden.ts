import { readdirSync, readFileSync } from 'node:fs';
import type { Pod, PodStatus } from '../api/core-v1.ts';

/** A pod as kubelet 1.36 ran it: what the API server stored, what the runtime was sent, what became of it. */
export interface GoldenPod {
  readonly name: string;
  readonly manifest: Pod;
  readonly pod: Pod;
  readonly sandbox: Json;
  readonly containers: Readonly<Record<string, GoldenContainer>>;
  readonly status: PodStatus;
  /** Type, reason and message of each event of the pod. */
  readonly events: readonly (readonly [string, string, string])[];
}

export interface GoldenContainer {
  readonly config: Json;
  /** From the OCI specification that containerd made of it. */
  readonly cgroupsPath?: string;
  readonly oomScoreAdj?: number;
  readonly resources?: Json;
}

export type Json = { readonly [key: string]: unknown };

const root = new URL('../../test/golden/', import.meta.url);

/** Every recorded pod of one cgroup version: `pods` is v1 with cgroupfs, `pods-cgroup2` v2 with systemd. */
export function goldenPods(folder: 'pods' | 'pods-cgroup2'): readonly GoldenPod[] {
  const dir = new URL(`${folder}/`, root);
  return readdirSync(dir)
    .filter((file) => file.endsWith('.json'))
    .map((file) => ({
      name: file.replace('.json', ''),
      ...(JSON.parse(readFileSync(new URL(file, dir), 'utf8')) as Omit<GoldenPod, 'name'>),
    }));
}

/** A CRI message as the recordings spell it: snake case, and nothing that is empty or zero; an empty message stays. */
export function asRecorded(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  if (Array.isArray(value)) return value.map(asRecorded);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value)
    .map(([key, inner]) => [recordedKey(key), asRecorded(inner)] as const)
    .filter(([, inner]) => !isZero(inner));
  return Object.fromEntries(entries);
}

/** Map keys (labels, annotations, sysctls) hold dots or dashes; field names never do. */
const recordedKey = (key: string): string =>
  /[./-]/.test(key) ? key : key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

const isZero = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === '' ||
  value === 0 ||
  value === false ||
  (Array.isArray(value) && value.length === 0);
