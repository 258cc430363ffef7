/**
 * Which lists of the API types merge element by element, and by which key: the `patchMergeKey` and
 * `patchStrategy` marks of k8s.io/api types. A list that is not named here is replaced as a whole.
 */
export interface MergeSchema {
  readonly [field: string]: FieldRule;
}

export interface FieldRule {
  /** The list merges by this key of its elements. */
  readonly mergeKey?: string;
  /** The list holds plain values and merges as a set. */
  readonly set?: true;
  /**
   * The API promises a key that real objects repeat (Node addresses: two InternalIPs on a dual-stack
   * host), so that merging by it loses elements: whoever computes a patch replaces the list instead.
   */
  readonly ambiguousKey?: true;
  /** The rules below this field, or below each element of the list. */
  readonly fields?: MergeSchema;
}

const metadata: FieldRule = { fields: { ownerReferences: { mergeKey: 'uid' }, finalizers: { set: true } } };
const conditions: FieldRule = { mergeKey: 'type' };

const container: MergeSchema = {
  ports: { mergeKey: 'containerPort' },
  env: { mergeKey: 'name' },
  volumeMounts: { mergeKey: 'mountPath' },
  volumeDevices: { mergeKey: 'devicePath' },
};

const podSpec: MergeSchema = {
  containers: { mergeKey: 'name', fields: container },
  initContainers: { mergeKey: 'name', fields: container },
  ephemeralContainers: { mergeKey: 'name', fields: container },
  volumes: { mergeKey: 'name' },
  imagePullSecrets: { mergeKey: 'name' },
  hostAliases: { mergeKey: 'ip' },
  topologySpreadConstraints: { mergeKey: 'topologyKey' },
  schedulingGates: { mergeKey: 'name' },
  resourceClaims: { mergeKey: 'name' },
};

const schemas: Readonly<Record<string, MergeSchema>> = {
  Pod: {
    metadata,
    spec: { fields: podSpec },
    status: {
      fields: {
        conditions,
        hostIPs: { mergeKey: 'ip' },
        podIPs: { mergeKey: 'ip' },
        resourceClaimStatuses: { mergeKey: 'name' },
      },
    },
  },
  Node: {
    metadata,
    spec: { fields: { podCIDRs: { set: true } } },
    status: { fields: { conditions, addresses: { mergeKey: 'type', ambiguousKey: true } } },
  },
  Service: {
    metadata,
    spec: { fields: { ports: { mergeKey: 'port' } } },
    status: { fields: { conditions } },
  },
  ServiceAccount: { metadata, secrets: { mergeKey: 'name' } },
};

/** The rules for a kind; kinds without lists that merge have those of metadata alone. */
export function mergeSchemaOf(kind: string): MergeSchema {
  return schemas[kind] ?? { metadata };
}
