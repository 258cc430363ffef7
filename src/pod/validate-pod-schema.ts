import { tryParseQuantity } from '../api/quantity.ts';
import {
  anything,
  boolean,
  type Fields,
  hiddenString,
  int64,
  integer,
  list,
  map,
  object,
  oneOf,
  scalar,
  string,
} from '../lib/schema.ts';

/**
 * What a Pod may look like: every field of core/v1 Pod in Kubernetes 1.36 with its type. Fields that
 * keelson does not look into are only known by name: what is not supported is said when the pod starts.
 */

const strings = list(string);
const stringMap = map(string);
const int32 = integer(-2_147_483_648, 2_147_483_647);
const intOrString = scalar('a number or a string', (v) =>
  typeof v === 'string' || (typeof v === 'number' && Number.isInteger(v)) ? v : undefined,
);
const quantity = scalar('a quantity such as 500m or 1Gi', (v) =>
  (typeof v === 'string' || typeof v === 'number') && tryParseQuantity(v) ? v : undefined,
);
const quantities = map(quantity);
const mode = integer(0, 0o777);
const optional = boolean;

export const objectMeta = object({
  name: string,
  generateName: string,
  namespace: string,
  uid: string,
  resourceVersion: string,
  selfLink: string,
  generation: int64,
  creationTimestamp: string,
  deletionTimestamp: string,
  deletionGracePeriodSeconds: int64,
  labels: stringMap,
  annotations: stringMap,
  ownerReferences: list(anything),
  finalizers: strings,
  managedFields: list(anything),
});

const seLinuxOptions = object({ user: string, role: string, type: string, level: string });
const profile = object({ type: oneOf('RuntimeDefault', 'Unconfined', 'Localhost'), localhostProfile: string });
const userAndGroup = { runAsUser: int64, runAsGroup: int64, runAsNonRoot: boolean };
const confinement = {
  seLinuxOptions,
  seccompProfile: profile,
  appArmorProfile: profile,
  windowsOptions: anything,
};

const securityContext = object({
  ...userAndGroup,
  ...confinement,
  privileged: boolean,
  readOnlyRootFilesystem: boolean,
  allowPrivilegeEscalation: boolean,
  capabilities: object({ add: strings, drop: strings }),
  procMount: oneOf('Default', 'Unmasked'),
});

const podSecurityContext = object({
  ...userAndGroup,
  ...confinement,
  fsGroup: int64,
  fsGroupChangePolicy: oneOf('OnRootMismatch', 'Always'),
  supplementalGroups: list(int64),
  supplementalGroupsPolicy: oneOf('Merge', 'Strict'),
  sysctls: list(object({ name: string, value: string })),
  seLinuxChangePolicy: string,
});

const header = object({ name: string, value: string });
const httpGet = object({
  path: string,
  port: intOrString,
  host: string,
  scheme: oneOf('HTTP', 'HTTPS'),
  httpHeaders: list(header),
});
const handler = {
  exec: object({ command: strings }),
  httpGet,
  tcpSocket: object({ port: intOrString, host: string }),
};
const probe = object({
  ...handler,
  grpc: object({ port: int32, service: string }),
  initialDelaySeconds: int32,
  timeoutSeconds: int32,
  periodSeconds: int32,
  successThreshold: int32,
  failureThreshold: int32,
  terminationGracePeriodSeconds: int64,
});
const hook = object({ ...handler, sleep: object({ seconds: int64 }) });

const fieldRef = object({ apiVersion: string, fieldPath: string });
const resourceFieldRef = object({ containerName: string, resource: string, divisor: quantity });
const keyRef = object({ name: string, key: string, optional });
const envVar = object({
  name: string,
  value: hiddenString,
  valueFrom: object({
    fieldRef,
    resourceFieldRef,
    configMapKeyRef: keyRef,
    secretKeyRef: keyRef,
    fileKeyRef: object({ volumeName: string, path: string, key: string, optional }),
  }),
});
const objectRef = object({ name: string, optional });

export const resources = object({
  limits: quantities,
  requests: quantities,
  claims: list(object({ name: string, request: string })),
});

const restartPolicy = oneOf('Always', 'OnFailure', 'Never');

const container = object({
  name: string,
  image: string,
  imagePullPolicy: oneOf('Always', 'IfNotPresent', 'Never'),
  command: strings,
  args: strings,
  workingDir: string,
  env: list(envVar),
  envFrom: list(object({ prefix: string, configMapRef: objectRef, secretRef: objectRef })),
  ports: list(
    object({
      name: string,
      containerPort: int32,
      hostPort: int32,
      hostIP: string,
      protocol: oneOf('TCP', 'UDP', 'SCTP'),
    }),
  ),
  resources,
  resizePolicy: list(object({ resourceName: string, restartPolicy: oneOf('NotRequired', 'RestartContainer') })),
  restartPolicy,
  restartPolicyRules: list(
    object({
      action: oneOf('Restart', 'RestartAllContainers'),
      exitCodes: object({ operator: oneOf('In', 'NotIn'), values: list(int32) }),
    }),
  ),
  volumeMounts: list(
    object({
      name: string,
      mountPath: string,
      subPath: string,
      subPathExpr: string,
      readOnly: boolean,
      recursiveReadOnly: oneOf('Disabled', 'IfPossible', 'Enabled'),
      mountPropagation: oneOf('None', 'HostToContainer', 'Bidirectional'),
    }),
  ),
  volumeDevices: list(object({ name: string, devicePath: string })),
  livenessProbe: probe,
  readinessProbe: probe,
  startupProbe: probe,
  lifecycle: object({ postStart: hook, preStop: hook, stopSignal: string }),
  terminationMessagePath: string,
  terminationMessagePolicy: oneOf('File', 'FallbackToLogsOnError'),
  securityContext,
  stdin: boolean,
  stdinOnce: boolean,
  tty: boolean,
});

const keyToPath = object({ key: string, path: string, mode });
const items = list(keyToPath);
const downwardItems = list(object({ path: string, fieldRef, resourceFieldRef, mode }));
const fromObject = { items, defaultMode: mode, optional };

/** Sources of volumes that are known by name alone. */
const otherSources = [
  'awsElasticBlockStore',
  'azureDisk',
  'azureFile',
  'cephfs',
  'cinder',
  'csi',
  'ephemeral',
  'fc',
  'flexVolume',
  'flocker',
  'gcePersistentDisk',
  'gitRepo',
  'glusterfs',
  'image',
  'iscsi',
  'nfs',
  'persistentVolumeClaim',
  'photonPersistentDisk',
  'portworxVolume',
  'quobyte',
  'rbd',
  'scaleIO',
  'storageos',
  'vsphereVolume',
] as const;

const volume = object({
  name: string,
  emptyDir: object({ medium: string, sizeLimit: quantity }),
  hostPath: object({ path: string, type: string }),
  configMap: object({ name: string, ...fromObject }),
  secret: object({ secretName: string, ...fromObject }),
  downwardAPI: object({ items: downwardItems, defaultMode: mode }),
  projected: object({
    defaultMode: mode,
    sources: list(
      object({
        serviceAccountToken: object({ path: string, audience: string, expirationSeconds: int64 }),
        configMap: object({ name: string, items, optional }),
        secret: object({ name: string, items, optional }),
        downwardAPI: object({ items: downwardItems }),
        clusterTrustBundle: anything,
        podCertificate: anything,
      }),
    ),
  }),
  ...(Object.fromEntries(otherSources.map((source) => [source, anything])) as Fields),
});

const nodeRequirements = list(
  object({ key: string, operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt'), values: strings }),
);

const podSpec = object({
  containers: list(container),
  initContainers: list(container),
  ephemeralContainers: list(anything),
  volumes: list(volume),
  restartPolicy,
  terminationGracePeriodSeconds: int64,
  activeDeadlineSeconds: int64,
  dnsPolicy: oneOf('ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'),
  dnsConfig: object({
    nameservers: strings,
    searches: strings,
    options: list(object({ name: string, value: string })),
  }),
  hostAliases: list(object({ ip: string, hostnames: strings })),
  hostname: string,
  hostnameOverride: string,
  subdomain: string,
  setHostnameAsFQDN: boolean,
  hostNetwork: boolean,
  hostPID: boolean,
  hostIPC: boolean,
  hostUsers: boolean,
  shareProcessNamespace: boolean,
  nodeName: string,
  nodeSelector: stringMap,
  affinity: object({
    nodeAffinity: object({
      requiredDuringSchedulingIgnoredDuringExecution: object({
        nodeSelectorTerms: list(object({ matchExpressions: nodeRequirements, matchFields: nodeRequirements })),
      }),
      preferredDuringSchedulingIgnoredDuringExecution: list(anything),
    }),
    podAffinity: anything,
    podAntiAffinity: anything,
  }),
  tolerations: list(
    object({
      key: string,
      operator: oneOf('', 'Exists', 'Equal', 'Lt', 'Gt'),
      value: string,
      effect: oneOf('', 'NoSchedule', 'PreferNoSchedule', 'NoExecute'),
      tolerationSeconds: int64,
    }),
  ),
  topologySpreadConstraints: list(anything),
  serviceAccountName: string,
  serviceAccount: string,
  automountServiceAccountToken: boolean,
  securityContext: podSecurityContext,
  imagePullSecrets: list(object({ name: string })),
  priority: int32,
  priorityClassName: string,
  preemptionPolicy: oneOf('Never', 'PreemptLowerPriority'),
  schedulerName: string,
  schedulingGates: list(anything),
  enableServiceLinks: boolean,
  readinessGates: list(object({ conditionType: string })),
  runtimeClassName: string,
  overhead: quantities,
  resources,
  resourceClaims: list(anything),
  os: object({ name: oneOf('linux', 'windows') }),
  workloadRef: anything,
  schedulingGroup: anything,
});

export const podSchema = object({
  apiVersion: string,
  kind: string,
  metadata: objectMeta,
  spec: podSpec,
  status: anything,
});
