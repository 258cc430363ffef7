import { tryParseQuantity } from '../api/quantity.ts';
import { anything, boolean, hiddenString, list, map, object, type Schema, scalar, string } from '../lib/schema.ts';

/*
 * What keelson reads of objects, with the types that the API gives it, by kind. Other fields may hold anything. Pods
 * have a schema of their own where they are used; of Services and EndpointSlices one field that is wrong costs only
 * itself, so that whoever reads them looks at each.
 */

const quantity = scalar('a quantity such as 500m or 1Gi', (v) =>
  (typeof v === 'string' || typeof v === 'number') && tryParseQuantity(v) ? v : undefined,
);
const quantities = map(quantity);
const members = map(anything);
const strings = list(string);
/** Values of secrets, or what may be some: a complaint shows none of them. */
const texts = map(hiddenString);
const data = { data: texts, binaryData: texts, stringData: texts, immutable: boolean };
const requests = object({ requests: quantities, limits: quantities });
const terms = list(object({ matchExpressions: list(members), matchFields: list(members) }));

export const shapes: Readonly<Record<string, Schema<object>>> = {
  ConfigMap: object(data),
  Secret: object({ ...data, type: string }),
  Node: object({
    spec: object({
      podCIDR: string,
      podCIDRs: strings,
      unschedulable: boolean,
      taints: list(object({ key: string, value: string, effect: string, timeAdded: string })),
    }),
    status: object({
      capacity: quantities,
      allocatable: quantities,
      conditions: list(object({ type: string, status: string })),
      addresses: list(object({ type: string, address: string })),
      nodeInfo: members,
      images: list(members),
      volumesInUse: strings,
      declaredFeatures: strings,
      features: members,
    }),
  }),
  RuntimeClass: object({ handler: string, overhead: object({ podFixed: quantities }) }),
  PersistentVolumeClaim: object({
    spec: object({ volumeName: string, volumeMode: string, accessModes: strings, resources: requests }),
    status: object({ phase: string, capacity: quantities }),
  }),
  PersistentVolume: object({
    spec: object({
      capacity: quantities,
      accessModes: strings,
      mountOptions: strings,
      volumeMode: string,
      claimRef: object({ namespace: string, name: string, uid: string }),
      local: object({ path: string, fsType: string }),
      hostPath: object({ path: string, type: string }),
      nfs: object({ server: string, path: string, readOnly: boolean }),
      csi: members,
      nodeAffinity: object({ required: object({ nodeSelectorTerms: terms }) }),
    }),
  }),
  ClusterTrustBundle: object({ spec: object({ signerName: string, trustBundle: string }) }),
};
