import type { ConfigMap, KeyToPath, Secret, ServiceAccountTokenProjection } from '../api/core-v1.ts';
import { messageOf } from '../lib/errors.ts';
import type { PayloadSource, PayloadVolume } from './compute-volumes.ts';
import { type DownwardContext, type ResourceFieldRef, resolveField, resolveResource } from './downward-api.ts';
import type { ObjectKind } from './object-source.ts';

export interface PayloadFile {
  readonly data: Buffer;
  /** Permission bits. */
  readonly mode: number;
  /** Owner; undefined is root. */
  readonly uid?: number;
}

/** Files by their path relative to the volume. */
export type Payload = ReadonlyMap<string, PayloadFile>;

export interface RenderInput extends DownwardContext {
  /** The object as it is now; undefined when there is none. */
  readonly object: (kind: ObjectKind, name: string) => ConfigMap | Secret | undefined;
  /** The token to write, or why there is none. */
  readonly token: (projection: ServiceAccountTokenProjection) => string | Error;
}

export type Rendered =
  | { readonly payload: Payload; readonly missing?: never }
  /** What the volume refers to and is not there, in upstream's words. */
  | { readonly missing: string; readonly payload?: never };

/** The files of a configMap, secret, downwardAPI or projected volume; of sources with the same path the last one wins. */
export function renderPayload(volume: PayloadVolume, input: RenderInput): Rendered {
  const payload = new Map<string, PayloadFile>();
  const missing: string[] = [];
  for (const source of volume.sources) {
    try {
      for (const [path, file] of renderSource(source, volume, input)) {
        // Read-only volumes with an fsGroup: the group may read what the owner may.
        payload.set(path, volume.gid === undefined ? file : { ...file, mode: file.mode | 0o440 });
      }
    } catch (error) {
      missing.push(messageOf(error));
    }
  }
  const [first] = missing;
  if (first !== undefined) return { missing: missing.length === 1 ? first : `[${missing.join(', ')}]` };
  return { payload };
}

function renderSource(source: PayloadSource, volume: PayloadVolume, input: RenderInput): [string, PayloadFile][] {
  switch (source.kind) {
    case 'ConfigMap':
    case 'Secret':
      return renderObject(source, volume.defaultMode, input);
    case 'downwardAPI':
      return source.items.map(({ path, mode, fieldRef, resourceFieldRef }) => {
        const value = fieldRef
          ? resolveField(fieldRef.fieldPath, input)
          : resolveResource(resourceFieldRef as ResourceFieldRef, input);
        return [path, { data: Buffer.from(value), mode: mode ?? volume.defaultMode }];
      });
    case 'token': {
      const token = input.token(source.projection);
      if (token instanceof Error) throw token;
      // Where the pod names the user or group that reads the token, nobody else has to.
      const isOwned = volume.uid !== undefined || volume.gid !== undefined;
      const owner = volume.uid === undefined ? {} : { uid: volume.uid };
      return [
        [source.projection.path, { data: Buffer.from(token), mode: isOwned ? 0o600 : volume.defaultMode, ...owner }],
      ];
    }
    default:
      source satisfies never;
      return [];
  }
}

function renderObject(
  source: Extract<PayloadSource, { kind: ObjectKind }>,
  defaultMode: number,
  input: RenderInput,
): [string, PayloadFile][] {
  const object = input.object(source.kind, source.name);
  if (!object) {
    if (source.optional) return [];
    throw new Error(`${source.kind.toLowerCase()} ${JSON.stringify(source.name)} not found`);
  }
  const values = valuesOf(source.kind, object);
  if (source.items.length === 0) return [...values].map(([key, data]) => [key, { data, mode: defaultMode }]);
  return source.items.flatMap((item: KeyToPath): [string, PayloadFile][] => {
    const data = values.get(item.key);
    if (data) return [[item.path, { data, mode: item.mode ?? defaultMode }]];
    if (source.optional) return [];
    const what =
      source.kind === 'ConfigMap' ? 'configmap references non-existent config' : 'references non-existent secret';
    throw new Error(`${what} key: ${item.key}`);
  });
}

function valuesOf(kind: ObjectKind, object: ConfigMap | Secret): Map<string, Buffer> {
  const values = new Map<string, Buffer>();
  const add = (entries: Readonly<Record<string, string>> | undefined, encoding: 'utf8' | 'base64') => {
    for (const [key, value] of Object.entries(entries ?? {})) values.set(key, Buffer.from(value, encoding));
  };
  if (kind === 'ConfigMap') {
    add((object as ConfigMap).binaryData, 'base64');
    add((object as ConfigMap).data, 'utf8');
  } else {
    add((object as Secret).data, 'base64');
    // Only in manifests on disk: an API server has merged it into data.
    add((object as Secret).stringData, 'utf8');
  }
  return values;
}
