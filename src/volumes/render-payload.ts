import type {
  ClusterTrustBundle,
  ConfigMap,
  KeyToPath,
  Secret,
  ServiceAccountTokenProjection,
} from '../api/core-v1.ts';
import { AgentError, messageOf } from '../lib/errors.ts';
import type { ContentKind, PayloadSource, PayloadVolume, TrustSource } from './compute-volumes.ts';
import { type DownwardContext, type ResourceFieldRef, resolveField, resolveResource } from './downward-api.ts';
import { selectBundles, trustAnchors } from './trust-bundles.ts';

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
  readonly object: (kind: ContentKind, name: string) => ConfigMap | Secret | undefined;
  /** The bundle of the name, or all of the signer, as they are now. */
  readonly bundles: (from: TrustSource['from']) => readonly ClusterTrustBundle[];
  /** The token to write, or why there is none. */
  readonly token: (projection: ServiceAccountTokenProjection) => string | Error;
}

export type Rendered =
  | { readonly payload: Payload; readonly missing?: never; readonly hint?: never }
  /** What the volume refers to and is not there, in upstream's words. */
  | { readonly missing: string; readonly hint: string | undefined; readonly payload?: never };

/** The files of a configMap, secret, downwardAPI or projected volume; of sources with the same path the last one wins. */
export function renderPayload(volume: PayloadVolume, input: RenderInput): Rendered {
  const payload = new Map<string, PayloadFile>();
  const missing: string[] = [];
  let hint: string | undefined;
  for (const source of volume.sources) {
    try {
      for (const [path, file] of renderSource(source, volume, input)) {
        // Read-only volumes with an fsGroup: the group may read what the owner may.
        payload.set(path, volume.gid === undefined ? file : { ...file, mode: file.mode | 0o440 });
      }
    } catch (error) {
      missing.push(messageOf(error));
      if (error instanceof AgentError) hint ??= error.hint;
    }
  }
  const [first] = missing;
  if (first !== undefined) return { missing: missing.length === 1 ? first : `[${missing.join(', ')}]`, hint };
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
      return [[source.projection.path, { data: Buffer.from(token), ...ownedBy(volume) }]];
    }
    case 'trust': {
      const data = Buffer.from(trustAnchors(trustedBundles(source, input), input.uid));
      return [[source.path, { data, ...ownedBy(volume) }]];
    }
    default:
      source satisfies never;
      return [];
  }
}

/** Where the pod names the user or group that reads such a file, nobody else has to. */
function ownedBy({ uid, gid, defaultMode }: PayloadVolume): Omit<PayloadFile, 'data'> {
  const mode = uid !== undefined || gid !== undefined ? 0o600 : defaultMode;
  return { mode, ...(uid === undefined ? {} : { uid }) };
}

/** The certificates of the bundles that the source names. An optional one that is missing is an empty file. */
function trustedBundles({ from, labels, optional }: TrustSource, input: RenderInput): readonly string[] {
  const found = input.bundles(from);
  const chosen = from.kind === 'SignerTrustBundles' ? selectBundles(found, labels) : found;
  if (chosen.length === 0 && !optional) {
    throw new Error(
      from.kind === 'ClusterTrustBundle'
        ? `clustertrustbundle ${JSON.stringify(from.name)} not found`
        : 'combination of signerName and labelSelector matched zero ClusterTrustBundles',
    );
  }
  return chosen.map((bundle) => bundle.spec.trustBundle);
}

function renderObject(
  source: Extract<PayloadSource, { kind: ContentKind }>,
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

function valuesOf(kind: ContentKind, object: ConfigMap | Secret): Map<string, Buffer> {
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
