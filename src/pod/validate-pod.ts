import { isIP } from 'node:net';
import type { Container, ContainerPort, EnvVarSource, Pod, PodSpec, Toleration } from '../api/core-v1.ts';
import { isSidecar } from '../api/pod.ts';
import { compareQuantities, parseQuantity } from '../api/quantity.ts';
import { dottedSysctl } from '../api/sysctl.ts';
import type { SourcePath } from '../lib/yaml-source.ts';
import { duplicate, Faults, invalid, isDnsLabel, isDnsSubdomain, required } from './validate-pod-faults.ts';
import { validateMetadata } from './validate-pod-metadata.ts';
import { validateProbes } from './validate-pod-probes.ts';
import { validateVolumes } from './validate-pod-volumes.ts';

export type { Fault } from './validate-pod-faults.ts';

/**
 * What the API server would refuse of a pod whose fields have the right types and whose defaults are
 * filled in: a fault for each, in upstream's form ('Required value', 'Duplicate value: "a"').
 */
export function validatePod(pod: Pod) {
  const faults = new Faults();
  validateMetadata(pod.metadata, faults, isDnsSubdomain);
  validateSpec(pod.spec, faults);
  return faults.all;
}

function validateSpec(spec: PodSpec, faults: Faults): void {
  const at = ['spec'];
  const containers = [...spec.containers, ...(spec.initContainers ?? [])];
  const volumes = validateVolumes(spec, faults);
  if (spec.containers.length === 0) faults.add([...at, 'containers'], required);
  const names = new Set<string>();
  for (const [list, field] of [
    [spec.initContainers ?? [], 'initContainers'],
    [spec.containers, 'containers'],
  ] as const) {
    for (const [i, container] of list.entries()) {
      const path = [...at, field, i];
      nameOnce(container.name, names, [...path, 'name'], faults);
      validateContainer(container, path, spec, volumes, faults);
      if (field === 'initContainers') validateInit(container, path, faults);
    }
  }
  validateHostPorts(spec, faults);
  if (spec.ephemeralContainers?.length)
    faults.add([...at, 'ephemeralContainers'], 'Forbidden: only a running pod can get ephemeral containers');
  validateNumbers(spec, at, faults);
  validateDns(spec, at, faults);
  validateTolerations(spec.tolerations ?? [], at, faults);
  validateNamespaces(spec, at, faults);
  const pod = spec.securityContext ?? {};
  validateIds(
    { runAsUser: pod.runAsUser, runAsGroup: pod.runAsGroup, fsGroup: pod.fsGroup },
    [...at, 'securityContext'],
    faults,
  );
  validateProfile(pod.seccompProfile, [...at, 'securityContext', 'seccompProfile'], faults);
  validateProfile(pod.appArmorProfile, [...at, 'securityContext', 'appArmorProfile'], faults);
  validateSysctls(pod.sysctls ?? [], [...at, 'securityContext', 'sysctls'], faults);
  validateResources(spec, at, faults);
  if (spec.os && spec.os.name !== 'linux')
    faults.add([...at, 'os', 'name'], invalid(spec.os.name, 'this is a Linux node'));
  if (containers.length > 250)
    faults.add([...at, 'containers'], `Too many: ${containers.length}: must have at most 250 items`);
}

function nameOnce(name: string | undefined, names: Set<string>, path: SourcePath, faults: Faults): void {
  if (!name) faults.add(path, required);
  else if (!isDnsLabel(name)) faults.add(path, invalid(name, dnsLabelRule));
  else if (names.has(name)) faults.add(path, duplicate(name));
  else names.add(name);
}

const dnsLabelRule =
  'a name has at most 63 lower-case letters, digits and dashes, and begins and ends with a letter or digit';

function validateContainer(
  container: Container,
  path: SourcePath,
  spec: PodSpec,
  volumes: ReadonlySet<string>,
  faults: Faults,
): void {
  const image = container.image ?? '';
  if (image === '') faults.add([...path, 'image'], required);
  else if (image.trim() !== image)
    faults.add([...path, 'image'], invalid(image, 'must not have leading or trailing whitespace'));
  validatePorts(container.ports ?? [], [...path, 'ports'], spec.hostNetwork ?? false, faults);
  validateEnv(container, path, spec, faults);
  validateMounts(container, path, volumes, faults);
  validateResources(container, path, faults);
  validateProbes(container, path, faults);
  validateSecurity(container, spec, [...path, 'securityContext'], faults);
}

function validateInit(container: Container, path: SourcePath, faults: Faults): void {
  if (isSidecar(container)) return;
  for (const field of ['livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle'] as const) {
    if (container[field] !== undefined) {
      faults.add([...path, field], 'Forbidden: an init container may have it only with restartPolicy Always');
    }
  }
}

const portName = /^(?=.*[a-z])(?!.*--)[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/;
const isPort = (port: unknown) => typeof port === 'number' && port >= 1 && port <= 65_535;
export const portRange = 'must be between 1 and 65535, inclusive';

function validatePorts(ports: readonly ContainerPort[], path: SourcePath, hostNetwork: boolean, faults: Faults): void {
  const names = new Set<string>();
  for (const [i, port] of ports.entries()) {
    const at = [...path, i];
    if (port.containerPort === undefined) faults.add([...at, 'containerPort'], required);
    else if (!isPort(port.containerPort)) faults.add([...at, 'containerPort'], invalid(port.containerPort, portRange));
    if (port.hostPort && !isPort(port.hostPort)) faults.add([...at, 'hostPort'], invalid(port.hostPort, portRange));
    else if (hostNetwork && port.hostPort !== port.containerPort) {
      faults.add([...at, 'hostPort'], invalid(port.hostPort, 'must match containerPort when hostNetwork is true'));
    }
    if (port.hostIP && isIP(port.hostIP) === 0)
      faults.add([...at, 'hostIP'], invalid(port.hostIP, 'must be a valid IP address'));
    if (!port.name) continue;
    if (!portName.test(port.name)) {
      faults.add(
        [...at, 'name'],
        invalid(port.name, 'must be at most 15 lower-case letters, digits and single dashes, with a letter among them'),
      );
    } else if (names.has(port.name)) faults.add([...at, 'name'], duplicate(port.name));
    names.add(port.name);
  }
}

function validateHostPorts(spec: PodSpec, faults: Faults): void {
  const taken = new Set<string>();
  const sidecars = (spec.initContainers ?? [])
    .map((c, i) => [c, 'initContainers', i] as const)
    .filter(([c]) => isSidecar(c));
  for (const [container, field, i] of [...sidecars, ...spec.containers.map((c, i) => [c, 'containers', i] as const)]) {
    for (const [j, port] of (container.ports ?? []).entries()) {
      if (!port.hostPort) continue;
      const key = `${port.protocol ?? 'TCP'}/${port.hostIP || '0.0.0.0'}/${port.hostPort}`;
      if (taken.has(key)) faults.add(['spec', field, i, 'ports', j, 'hostPort'], duplicate(key));
      taken.add(key);
    }
  }
}

function validateEnv(container: Container, path: SourcePath, spec: PodSpec, faults: Faults): void {
  for (const [i, env] of (container.env ?? []).entries()) {
    const at = [...path, 'env', i];
    if (!env.name) faults.add([...at, 'name'], required);
    else if (!/^[\x20-\x3c\x3e-\x7e]+$/.test(env.name)) {
      faults.add([...at, 'name'], invalid(env.name, 'must be printable ASCII without "="'));
    }
    if (!env.valueFrom) continue;
    const sources = Object.keys(env.valueFrom);
    if (env.value) faults.add([...at, 'valueFrom'], invalid('', 'may not be specified when `value` is not empty'));
    else if (sources.length !== 1)
      faults.add([...at, 'valueFrom'], invalid(sources.join(', '), 'must name exactly one source'));
    if (env.valueFrom.fileKeyRef)
      validateEnvFile(env.valueFrom.fileKeyRef, [...at, 'valueFrom', 'fileKeyRef'], spec, faults);
  }
}

function validateEnvFile(
  { volumeName, path: file }: NonNullable<EnvVarSource['fileKeyRef']>,
  path: SourcePath,
  spec: PodSpec,
  faults: Faults,
): void {
  const volume = spec.volumes?.find((v) => v.name === volumeName);
  if (!volume) faults.add([...path, 'volumeName'], `Not found: ${JSON.stringify(volumeName)}`);
  else if (!volume.emptyDir)
    faults.add([...path, 'volumeName'], invalid(volumeName, 'must be the name of an emptyDir'));
  if (!file || !staysInside(file)) {
    faults.add([...path, 'path'], invalid(file ?? '', 'must be a relative path without ".."'));
  }
}

function validateMounts(container: Container, path: SourcePath, volumes: ReadonlySet<string>, faults: Faults): void {
  const paths = new Set<string>();
  for (const [i, mount] of (container.volumeMounts ?? []).entries()) {
    const at = [...path, 'volumeMounts', i];
    if (!mount.name) faults.add([...at, 'name'], required);
    else if (!volumes.has(mount.name)) faults.add([...at, 'name'], `Not found: ${JSON.stringify(mount.name)}`);
    if (!mount.mountPath) faults.add([...at, 'mountPath'], required);
    else if (paths.has(mount.mountPath)) faults.add([...at, 'mountPath'], invalid(mount.mountPath, 'must be unique'));
    paths.add(mount.mountPath);
    if (mount.subPath && mount.subPathExpr) {
      faults.add([...at, 'subPathExpr'], invalid(mount.subPathExpr, 'subPathExpr and subPath are mutually exclusive'));
    }
    for (const field of ['subPath', 'subPathExpr'] as const) {
      const value = mount[field];
      if (value && !staysInside(value))
        faults.add([...at, field], invalid(value, 'must be a relative path without ".."'));
    }
    if (mount.mountPropagation === 'Bidirectional' && container.securityContext?.privileged !== true) {
      faults.add(
        [...at, 'mountPropagation'],
        'Forbidden: Bidirectional mount propagation is available only to privileged containers',
      );
    }
  }
}

const staysInside = (path: string) => !path.startsWith('/') && !path.split('/').includes('..');

function validateResources(holder: Pick<Container, 'resources'>, path: SourcePath, faults: Faults): void {
  const { requests = {}, limits = {} } = holder.resources ?? {};
  for (const [field, list] of [
    ['requests', requests],
    ['limits', limits],
  ] as const) {
    for (const [name, quantity] of Object.entries(list)) {
      if (parseQuantity(quantity).nano < 0n) {
        faults.add([...path, 'resources', field, name], invalid(quantity, 'must be greater than or equal to 0'));
      }
    }
  }
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    if (limit !== undefined && compareQuantities(request, limit) > 0) {
      faults.add(
        [...path, 'resources', 'requests', name],
        invalid(request, `must be less than or equal to ${name} limit of ${limit}`),
      );
    }
  }
}

function validateSecurity(container: Container, spec: PodSpec, path: SourcePath, faults: Faults): void {
  const security = container.securityContext;
  if (!security) return;
  validateIds({ runAsUser: security.runAsUser, runAsGroup: security.runAsGroup }, path, faults);
  validateProfile(security.seccompProfile, [...path, 'seccompProfile'], faults);
  validateProfile(security.appArmorProfile, [...path, 'appArmorProfile'], faults);
  if (security.privileged && security.allowPrivilegeEscalation === false) {
    faults.add(path, invalid('', 'cannot set `allowPrivilegeEscalation` to false and `privileged` to true'));
  }
  // What /proc shows of the host is hidden from a container that is root there.
  if (security.procMount === 'Unmasked' && spec.hostUsers !== false) {
    faults.add([...path, 'procMount'], invalid('Unmasked', '`hostUsers` must be false to use `Unmasked`'));
  }
}

const sysctlName = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$/;

function validateSysctls(sysctls: readonly { readonly name?: string }[], path: SourcePath, faults: Faults): void {
  const names = new Set<string>();
  for (const [i, { name }] of sysctls.entries()) {
    if (!name) {
      faults.add([...path, i, 'name'], required);
      continue;
    }
    if (name.length > 253 || !sysctlName.test(name)) {
      faults.add([...path, i, 'name'], invalid(name, 'a kernel parameter such as net.core.somaxconn'));
    } else if (names.has(dottedSysctl(name))) faults.add([...path, i, 'name'], duplicate(name));
    names.add(dottedSysctl(name));
  }
}

function validateIds(ids: Readonly<Record<string, number | undefined>>, path: SourcePath, faults: Faults): void {
  for (const [field, id] of Object.entries(ids)) {
    if (id !== undefined && (id < 0 || id > 2_147_483_647)) {
      faults.add([...path, field], invalid(id, 'must be between 0 and 2147483647, inclusive'));
    }
  }
}

function validateProfile(
  profile: { readonly type?: string; readonly localhostProfile?: string } | undefined,
  path: SourcePath,
  faults: Faults,
): void {
  if (!profile) return;
  if (!profile.type) faults.add([...path, 'type'], required);
  const { type, localhostProfile } = profile;
  if (type === 'Localhost' && !localhostProfile) faults.add([...path, 'localhostProfile'], required);
  if (localhostProfile && !staysInside(localhostProfile)) {
    faults.add([...path, 'localhostProfile'], invalid(localhostProfile, 'must be a relative path without ".."'));
  }
}

function validateNumbers(spec: PodSpec, at: SourcePath, faults: Faults): void {
  const { activeDeadlineSeconds: deadline, terminationGracePeriodSeconds: grace } = spec;
  if (deadline !== undefined && (deadline < 1 || deadline > 2_147_483_647)) {
    faults.add([...at, 'activeDeadlineSeconds'], invalid(deadline, 'must be between 1 and 2147483647, inclusive'));
  }
  if (grace !== undefined && grace < 0) {
    faults.add([...at, 'terminationGracePeriodSeconds'], invalid(grace, 'must be greater than or equal to 0'));
  }
}

function validateDns(spec: PodSpec, at: SourcePath, faults: Faults): void {
  const nameservers = spec.dnsConfig?.nameservers ?? [];
  if (spec.dnsPolicy === 'None' && nameservers.length === 0) {
    faults.add(
      [...at, 'dnsConfig', 'nameservers'],
      `${required}: must provide at least one DNS nameserver when dnsPolicy is None`,
    );
  }
  for (const [i, server] of nameservers.entries()) {
    if (isIP(server) === 0)
      faults.add([...at, 'dnsConfig', 'nameservers', i], invalid(server, 'must be a valid IP address'));
  }
  for (const field of ['hostname', 'subdomain'] as const) {
    const value = spec[field];
    if (value && !isDnsLabel(value)) faults.add([...at, field], invalid(value, dnsLabelRule));
  }
  validateHostnameOverride(spec, at, faults);
  for (const [i, { ip }] of (spec.hostAliases ?? []).entries()) {
    if (isIP(ip ?? '') === 0) faults.add([...at, 'hostAliases', i, 'ip'], invalid(ip, 'must be a valid IP address'));
  }
}

function validateHostnameOverride(spec: PodSpec, at: SourcePath, faults: Faults): void {
  const { hostnameOverride: name, setHostnameAsFQDN, hostNetwork } = spec;
  if (name === undefined) return;
  const path = [...at, 'hostnameOverride'];
  if (!isDnsSubdomain(name) || name.length > 64) {
    faults.add(path, invalid(name, 'at most 64 lower-case letters, digits, dashes and dots between names'));
  }
  if (setHostnameAsFQDN) faults.add(path, 'Forbidden: when `setHostnameAsFQDN` is true');
  if (hostNetwork) faults.add(path, 'Forbidden: when `hostNetwork` is true');
}

function validateTolerations(tolerations: readonly Toleration[], at: SourcePath, faults: Faults): void {
  for (const [i, toleration] of tolerations.entries()) {
    const path = [...at, 'tolerations', i];
    if (!toleration.key && toleration.operator !== 'Exists') {
      faults.add(
        [...path, 'operator'],
        invalid(toleration.operator ?? '', 'operator must be Exists when `key` is empty'),
      );
    }
    if (toleration.operator === 'Exists' && toleration.value) {
      faults.add([...path, 'operator'], invalid(toleration.operator, 'value must be empty when `operator` is Exists'));
    }
  }
}

function validateNamespaces(spec: PodSpec, at: SourcePath, faults: Faults): void {
  if (spec.hostPID && spec.shareProcessNamespace) {
    faults.add(
      [...at, 'shareProcessNamespace'],
      invalid(true, 'ShareProcessNamespace and HostPID cannot both be enabled'),
    );
  }
  if (spec.hostUsers !== false) return;
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC'] as const) {
    if (spec[field]) faults.add([...at, field], 'Forbidden: when `hostUsers` is false');
  }
}
