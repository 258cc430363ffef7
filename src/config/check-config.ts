import type { SourcePath } from '../lib/yaml-source.ts';
import type { ConfigKind, KubeletConfiguration, KubeProxyConfiguration } from './kinds.ts';

/** Values that are good each for itself, and do not go together. */
export interface Conflict {
  readonly kind: ConfigKind;
  readonly path: SourcePath;
  readonly message: string;
  readonly hint?: string;
}

/** Combinations that cannot be, as the kubelet and kube-proxy refuse them. */
export function findConflicts(kubelet: KubeletConfiguration, proxy: KubeProxyConfiguration): Conflict[] {
  const conflicts: Conflict[] = [];
  const refuse = (kind: ConfigKind, key: string, message: string, hint: string) =>
    conflicts.push({ kind, path: key.split('.'), message, hint });
  const targets = kubelet.enforceNodeAllocatable;
  if (!kubelet.cgroupsPerQOS && targets.some((target) => target !== 'none')) {
    refuse(
      'KubeletConfiguration',
      'enforceNodeAllocatable',
      `${JSON.stringify(targets)} needs cgroupsPerQOS, which is false`,
      'set enforceNodeAllocatable to [] or cgroupsPerQOS to true',
    );
  }
  if (targets.includes('none') && targets.length > 1) {
    refuse(
      'KubeletConfiguration',
      'enforceNodeAllocatable',
      '"none" cannot stand beside others',
      'leave out one of them',
    );
  }
  if ((kubelet.tlsCertFile === '') !== (kubelet.tlsPrivateKeyFile === '')) {
    const [given, missing] = kubelet.tlsCertFile
      ? ['tlsCertFile', 'tlsPrivateKeyFile']
      : ['tlsPrivateKeyFile', 'tlsCertFile'];
    refuse('KubeletConfiguration', given, `needs ${missing}`, 'give both, or none for a self-signed certificate');
  }
  if (kubelet.serializeImagePulls && (kubelet.maxParallelImagePulls ?? 1) > 1) {
    refuse(
      'KubeletConfiguration',
      'maxParallelImagePulls',
      `${kubelet.maxParallelImagePulls} pulls at once cannot be while serializeImagePulls is true`,
      'set serializeImagePulls to false',
    );
  }
  const verification = kubelet.imagePullCredentialsVerificationPolicy;
  if (kubelet.preloadedImagesVerificationAllowlist.length > 0 && verification !== 'NeverVerifyAllowlistedImages') {
    refuse(
      'KubeletConfiguration',
      'preloadedImagesVerificationAllowlist',
      `does nothing while imagePullCredentialsVerificationPolicy is ${verification}`,
      'set imagePullCredentialsVerificationPolicy to NeverVerifyAllowlistedImages, or leave the list out',
    );
  }
  if (kubelet.enableSystemLogQuery && !kubelet.enableSystemLogHandler) {
    refuse(
      'KubeletConfiguration',
      'enableSystemLogQuery',
      'needs enableSystemLogHandler, which is false',
      'set enableSystemLogHandler to true',
    );
  }
  for (const section of ['iptables', 'ipvs', 'nftables'] as const) {
    if (proxy[section].minSyncPeriod <= proxy[section].syncPeriod) continue;
    refuse('KubeProxyConfiguration', `${section}.minSyncPeriod`, `is longer than ${section}.syncPeriod`, 'shorten it');
  }
  const needed = { BridgeInterface: 'bridgeInterface', InterfaceNamePrefix: 'interfaceNamePrefix' } as const;
  const { detectLocalMode: mode } = proxy;
  if ((mode === 'BridgeInterface' || mode === 'InterfaceNamePrefix') && proxy.detectLocal[needed[mode]] === '') {
    const field = `detectLocal.${needed[mode]}`;
    refuse('KubeProxyConfiguration', 'detectLocalMode', `${mode} needs ${field}, which is empty`, `set ${field}`);
  }
  return conflicts;
}

/** Values that upstream has and that do not have their effect here yet. */
export function findUnheeded(kubelet: KubeletConfiguration): Conflict[] {
  const notes: Conflict[] = [];
  const strategy = kubelet.configMapAndSecretChangeDetectionStrategy;
  if (strategy !== 'Watch') {
    notes.push({
      kind: 'KubeletConfiguration',
      path: ['configMapAndSecretChangeDetectionStrategy'],
      message: `"${strategy}" is not supported yet, Watch is used`,
    });
  }
  const unheeded = kubelet.enforceNodeAllocatable.filter((target) => target !== 'pods' && target !== 'none');
  if (unheeded.length > 0) {
    notes.push({
      kind: 'KubeletConfiguration',
      path: ['enforceNodeAllocatable'],
      message: `${unheeded.join(' and ')} not supported yet: what is reserved is kept from pods, but not enforced`,
    });
  }
  return notes;
}
