import { goDuration } from '../lib/go-duration.ts';
import { isKey, isZero, type Key, type Table } from './keys.ts';
import type { KubeletConfiguration, KubeProxyConfiguration } from './kinds.ts';
import { kubeletKeys } from './kubelet-keys.ts';
import { proxyKeys } from './proxy-keys.ts';
import { isDuration } from './values.ts';

/** What a Go struct that is not there leaves out as a whole; others are shown with nothing in them. */
const optionalGroups = new Set(['tracing', 'userNamespaces']);

/** The configuration in force as upstream writes it: defaults filled in, durations as text, nothing that is zero. */
export function printKubeletConfig(kubelet: KubeletConfiguration): Record<string, unknown> {
  const { imageServiceEndpoint, containerRuntimeEndpoint } = kubelet;
  // The default of the one is the other; upstream leaves it empty.
  const given = imageServiceEndpoint === containerRuntimeEndpoint ? { ...kubelet, imageServiceEndpoint: '' } : kubelet;
  return {
    kind: 'KubeletConfiguration',
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    ...printTable(kubeletKeys, given),
  };
}

/** The same for the proxy's part. */
export function printProxyConfig(proxy: KubeProxyConfiguration): Record<string, unknown> {
  return {
    kind: 'KubeProxyConfiguration',
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    ...printTable(proxyKeys, proxy),
  };
}

function printTable(table: Table, values: object): Record<string, unknown> {
  const printed = Object.entries(table).flatMap(([name, entry]): [string, unknown][] => {
    const value = (values as Record<string, unknown>)[name];
    if (isKey(entry)) return isShown(entry, value) ? [[name, printValue(entry, value)]] : [];
    const group = printTable(entry, value as object);
    return Object.keys(group).length === 0 && optionalGroups.has(name) ? [] : [[name, group]];
  });
  return Object.fromEntries(printed);
}

/** Durations and quantities are structs in Go, which are never left out. */
function isShown({ schema, zeroCounts }: Key<unknown>, value: unknown): boolean {
  if (value === undefined) return false;
  return zeroCounts || isDuration(schema) || value === '0' || !isZero(value);
}

const printValue = ({ schema }: Key<unknown>, value: unknown): unknown =>
  isDuration(schema) ? goDuration(Number(value)) : value;
