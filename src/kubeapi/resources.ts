import type {
  Binding,
  ClusterTrustBundle,
  ConfigMap,
  Event,
  Lease,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  RuntimeClass,
  Secret,
  Service,
  TokenRequest,
} from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import type { KubeObject } from '../api/meta-v1.ts';
import type { SubjectAccessReview, TokenReview } from '../api/reviews-v1.ts';

/** Where a kind lives on the server; `T` is what comes back. */
export interface Resource<T extends KubeObject> {
  /** 'v1' or 'group/version', as in an object's apiVersion. */
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** Ties T to the descriptor; never set. */
  readonly type?: T;
}

const resource = <T extends KubeObject>(
  apiVersion: string,
  kind: string,
  plural: string,
  namespaced: boolean,
): Resource<T> => ({ apiVersion, kind, plural, namespaced });

export const pods = resource<Pod>('v1', 'Pod', 'pods', true);
export const nodes = resource<Node>('v1', 'Node', 'nodes', false);
export const services = resource<Service>('v1', 'Service', 'services', true);
export const configMaps = resource<ConfigMap>('v1', 'ConfigMap', 'configmaps', true);
export const secrets = resource<Secret>('v1', 'Secret', 'secrets', true);
export const events = resource<Event>('v1', 'Event', 'events', true);
export const bindings = resource<Binding>('v1', 'Binding', 'bindings', true);
export const serviceAccounts = resource<KubeObject>('v1', 'ServiceAccount', 'serviceaccounts', true);
export const tokenRequests = resource<TokenRequest>('authentication.k8s.io/v1', 'TokenRequest', 'tokenrequests', true);
export const tokenReviews = resource<TokenReview>('authentication.k8s.io/v1', 'TokenReview', 'tokenreviews', false);
export const subjectAccessReviews = resource<SubjectAccessReview>(
  'authorization.k8s.io/v1',
  'SubjectAccessReview',
  'subjectaccessreviews',
  false,
);
export const leases = resource<Lease>('coordination.k8s.io/v1', 'Lease', 'leases', true);
export const csiNodes = resource<KubeObject & { spec: { drivers: readonly unknown[] | null } }>(
  'storage.k8s.io/v1',
  'CSINode',
  'csinodes',
  false,
);
export const endpointSlices = resource<EndpointSlice>('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices', true);
export const persistentVolumeClaims = resource<PersistentVolumeClaim>(
  'v1',
  'PersistentVolumeClaim',
  'persistentvolumeclaims',
  true,
);
export const persistentVolumes = resource<PersistentVolume>('v1', 'PersistentVolume', 'persistentvolumes', false);
export const runtimeClasses = resource<RuntimeClass>('node.k8s.io/v1', 'RuntimeClass', 'runtimeclasses', false);
export const clusterTrustBundles = resource<ClusterTrustBundle>(
  'certificates.k8s.io/v1beta1',
  'ClusterTrustBundle',
  'clustertrustbundles',
  false,
);
