/** Every kind the stand-in stores or answers, and how each differs from the plain case. */
export interface ResourceKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly shortNames: readonly string[];
  /** Subresources with the verbs they accept. `status` alone makes the main resource ignore status. */
  readonly subresources: Readonly<Record<string, readonly string[]>>;
  /** POST only, nothing is kept. */
  readonly virtual: boolean;
  /** PUT without a resourceVersion is accepted. */
  readonly unconditionalUpdate: boolean;
  /** metadata.generation follows the spec. */
  readonly generation: boolean;
  /** DELETE answers with the object instead of a Status. */
  readonly returnsDeleted: boolean;
  /** What a zero object of this kind has besides metadata: the body of its bookmarks. */
  readonly zero: Readonly<Record<string, unknown>>;
}

type Options = Partial<Omit<ResourceKind, 'group' | 'version' | 'kind' | 'plural'>>;

const kind = (groupVersion: string, name: string, plural: string, options: Options = {}): ResourceKind => {
  const [version = '', group = ''] = groupVersion.split('/').reverse();
  return {
    group,
    version,
    kind: name,
    plural,
    namespaced: true,
    shortNames: [],
    subresources: {},
    virtual: false,
    unconditionalUpdate: true,
    generation: false,
    returnsDeleted: false,
    zero: {},
    ...options,
  };
};

const STATUS = { status: ['get', 'patch', 'update'] };
const CLUSTER = { namespaced: false };
const VIRTUAL = { namespaced: false, virtual: true };

export const PODS = kind('v1', 'Pod', 'pods', {
  shortNames: ['po'],
  generation: true,
  returnsDeleted: true,
  subresources: {
    ...STATUS,
    binding: ['create'],
    eviction: ['create'],
    ephemeralcontainers: ['get', 'patch', 'update'],
    resize: ['get', 'patch', 'update'],
    log: ['get'],
    exec: ['create', 'get'],
    attach: ['create', 'get'],
    portforward: ['create', 'get'],
    proxy: ['create', 'get'],
  },
  zero: { spec: { containers: null }, status: {} },
});
export const NODES = kind('v1', 'Node', 'nodes', {
  ...CLUSTER,
  shortNames: ['no'],
  subresources: { ...STATUS, proxy: ['create', 'get'] },
  zero: {
    spec: {},
    status: {
      daemonEndpoints: { kubeletEndpoint: { Port: 0 } },
      nodeInfo: {
        machineID: '',
        systemUUID: '',
        bootID: '',
        kernelVersion: '',
        osImage: '',
        containerRuntimeVersion: '',
        kubeletVersion: '',
        kubeProxyVersion: '',
        operatingSystem: '',
        architecture: '',
      },
    },
  },
});
export const SERVICES = kind('v1', 'Service', 'services', {
  shortNames: ['svc'],
  subresources: STATUS,
  returnsDeleted: true,
  zero: { spec: {}, status: { loadBalancer: {} } },
});
export const CONFIG_MAPS = kind('v1', 'ConfigMap', 'configmaps', { shortNames: ['cm'] });
export const SECRETS = kind('v1', 'Secret', 'secrets');
export const EVENTS = kind('v1', 'Event', 'events', {
  shortNames: ['ev'],
  zero: { involvedObject: {}, source: {}, firstTimestamp: null, lastTimestamp: null, eventTime: null },
});
export const NAMESPACES = kind('v1', 'Namespace', 'namespaces', {
  ...CLUSTER,
  shortNames: ['ns'],
  subresources: { ...STATUS, finalize: ['update'] },
  returnsDeleted: true,
  zero: { spec: {}, status: {} },
});
export const SERVICE_ACCOUNTS = kind('v1', 'ServiceAccount', 'serviceaccounts', {
  shortNames: ['sa'],
  subresources: { token: ['create'] },
  returnsDeleted: true,
});
export const BINDINGS = kind('v1', 'Binding', 'bindings', { virtual: true });
export const ENDPOINTS = kind('v1', 'Endpoints', 'endpoints', { shortNames: ['ep'] });
export const PERSISTENT_VOLUMES = kind('v1', 'PersistentVolume', 'persistentvolumes', {
  ...CLUSTER,
  shortNames: ['pv'],
  subresources: STATUS,
  returnsDeleted: true,
});
export const PERSISTENT_VOLUME_CLAIMS = kind('v1', 'PersistentVolumeClaim', 'persistentvolumeclaims', {
  shortNames: ['pvc'],
  subresources: STATUS,
  returnsDeleted: true,
});
export const LEASES = kind('coordination.k8s.io/v1', 'Lease', 'leases', {
  unconditionalUpdate: false,
  zero: { spec: {} },
});
export const CSI_NODES = kind('storage.k8s.io/v1', 'CSINode', 'csinodes', {
  ...CLUSTER,
  returnsDeleted: true,
  unconditionalUpdate: false,
  zero: { spec: { drivers: null } },
});
export const CSI_DRIVERS = kind('storage.k8s.io/v1', 'CSIDriver', 'csidrivers', {
  ...CLUSTER,
  returnsDeleted: true,
  unconditionalUpdate: false,
  zero: { spec: {} },
});
export const ENDPOINT_SLICES = kind('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices', {
  generation: true,
  zero: { addressType: '', endpoints: null, ports: null },
});
export const TOKEN_REVIEWS = kind('authentication.k8s.io/v1', 'TokenReview', 'tokenreviews', VIRTUAL);
export const SUBJECT_ACCESS_REVIEWS = kind(
  'authorization.k8s.io/v1',
  'SubjectAccessReview',
  'subjectaccessreviews',
  VIRTUAL,
);
export const SELF_SUBJECT_ACCESS_REVIEWS = kind(
  'authorization.k8s.io/v1',
  'SelfSubjectAccessReview',
  'selfsubjectaccessreviews',
  VIRTUAL,
);
export const SIGNING_REQUESTS = kind(
  'certificates.k8s.io/v1',
  'CertificateSigningRequest',
  'certificatesigningrequests',
  {
    ...CLUSTER,
    shortNames: ['csr'],
    subresources: { ...STATUS, approval: ['get', 'patch', 'update'] },
    zero: { spec: { request: null, signerName: '' }, status: {} },
  },
);
export const CLUSTER_ROLES = kind('rbac.authorization.k8s.io/v1', 'ClusterRole', 'clusterroles', {
  ...CLUSTER,
  zero: { rules: null },
});
export const CLUSTER_ROLE_BINDINGS = kind('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', 'clusterrolebindings', {
  ...CLUSTER,
  zero: { roleRef: { apiGroup: '', kind: '', name: '' } },
});
export const ROLES = kind('rbac.authorization.k8s.io/v1', 'Role', 'roles', { zero: { rules: null } });
export const ROLE_BINDINGS = kind('rbac.authorization.k8s.io/v1', 'RoleBinding', 'rolebindings', {
  zero: { roleRef: { apiGroup: '', kind: '', name: '' } },
});
export const RUNTIME_CLASSES = kind('node.k8s.io/v1', 'RuntimeClass', 'runtimeclasses', {
  ...CLUSTER,
  unconditionalUpdate: false,
  zero: { handler: '' },
});
export const CLUSTER_TRUST_BUNDLES = kind('certificates.k8s.io/v1beta1', 'ClusterTrustBundle', 'clustertrustbundles', {
  ...CLUSTER,
  zero: { spec: { trustBundle: '' } },
});

export const KINDS: readonly ResourceKind[] = [
  PODS,
  NODES,
  SERVICES,
  CONFIG_MAPS,
  SECRETS,
  EVENTS,
  NAMESPACES,
  SERVICE_ACCOUNTS,
  BINDINGS,
  ENDPOINTS,
  PERSISTENT_VOLUMES,
  PERSISTENT_VOLUME_CLAIMS,
  LEASES,
  CSI_NODES,
  CSI_DRIVERS,
  ENDPOINT_SLICES,
  TOKEN_REVIEWS,
  SUBJECT_ACCESS_REVIEWS,
  SELF_SUBJECT_ACCESS_REVIEWS,
  SIGNING_REQUESTS,
  CLUSTER_ROLES,
  CLUSTER_ROLE_BINDINGS,
  ROLES,
  ROLE_BINDINGS,
  RUNTIME_CLASSES,
  CLUSTER_TRUST_BUNDLES,
];

export const apiVersionOf = (kind: Pick<ResourceKind, 'group' | 'version'>): string =>
  kind.group ? `${kind.group}/${kind.version}` : kind.version;

export const findKind = (group: string, version: string, plural: string): ResourceKind | undefined =>
  KINDS.find((kind) => kind.group === group && kind.version === version && kind.plural === plural);
