import type { Container, EnvFromSource, EnvVarSource, KeySelector, ResourceList, Service } from '../api/core-v1.ts';
import { quantityMilliValue } from '../api/quantity.ts';
import { waitingReason } from '../api/reasons.ts';
import { messageOf } from '../lib/errors.ts';
import { expandEnv, lookupIn } from '../lib/expand-env.ts';
import {
  type EnvFieldContext,
  type ResourceFieldRef,
  resolveEnvField,
  resolveResource,
} from '../volumes/downward-api.ts';
import { type EnvFile, parseEnvFile } from './env-file.ts';
import type { EnvObjectValues } from './env-objects.ts';
import { generateServiceEnv } from './service-env.ts';
import { ContainerError } from './sync-error.ts';

export interface EnvInput extends EnvFieldContext {
  readonly container: Container;
  readonly services: Iterable<Service>;
  readonly objects: EnvObjectValues;
  /** What was read for each `fileKeyRef`, by `envFileKey`. */
  readonly files: ReadonlyMap<string, EnvFile>;
}

export type FileKeyRef = NonNullable<EnvVarSource['fileKeyRef']>;

export const envFileKey = ({ volumeName, path }: FileKeyRef): string => `${volumeName}/${path}`;

/**
 * A container's environment: whole ConfigMaps and Secrets, over them its own variables, each of which may refer to
 * those before it, and under both the Services' variables. Keys of objects are taken as they are, whatever
 * characters they have. An optional source that is not there leaves its variable out; any other fails with
 * CreateContainerConfigError in upstream's words: a container must not start with half of its environment.
 */
export function generateEnv(input: EnvInput): Map<string, string> {
  const { pod, container, services } = input;
  const { namespace = 'default' } = pod.metadata;
  const links = generateServiceEnv(services, namespace, pod.spec.enableServiceLinks ?? true);
  const env = new Map<string, string>();
  for (const source of container.envFrom ?? []) {
    for (const [key, value] of wholeObject(source, input.objects)) env.set(`${source.prefix ?? ''}${key}`, value);
  }
  for (const { name, value = '', valueFrom } of container.env ?? []) {
    const found =
      value !== '' || !valueFrom
        ? expandEnv(value, lookupIn(env, links))
        : referencedValue(valueFrom, namespace, input);
    if (found !== undefined) env.set(name, found);
  }
  for (const [key, value] of links) if (!env.has(key)) env.set(key, value);
  return env;
}

function wholeObject({ configMapRef, secretRef }: EnvFromSource, objects: EnvObjectValues): [string, string][] {
  if (configMapRef) {
    const { name = '', optional } = configMapRef;
    const configMap = objects.configMaps.get(name);
    if (!configMap && !optional) throw notFound('configmap', name);
    return Object.entries(configMap?.data ?? {});
  }
  if (secretRef) {
    const { name = '', optional } = secretRef;
    const secret = objects.secrets.get(name);
    if (!secret && !optional) throw notFound('secret', name);
    return Object.entries(secret?.data ?? {}).map(([key, encoded]) => [key, decoded(encoded)]);
  }
  return [];
}

/** Undefined when the source is optional and not there. */
function referencedValue(source: EnvVarSource, namespace: string, input: EnvInput): string | undefined {
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef } = source;
  if (fieldRef) return inWords(() => resolveEnvField(fieldRef, input));
  if (resourceFieldRef) return inWords(() => containerResource(resourceFieldRef, input));
  if (configMapKeyRef) return configMapValue(configMapKeyRef, namespace, input.objects);
  if (secretKeyRef) return secretValue(secretKeyRef, namespace, input.objects);
  return fileKeyRef ? fileValue(fileKeyRef, input.files) : '';
}

/** Without a name the container means itself. A limit that it does not have is the pod's, else the node's. */
function containerResource(ref: ResourceFieldRef, input: EnvInput): string {
  const { pod, container } = input;
  // As upstream has it: the missing limits of an init container that is named are not filled in.
  const isNamedInit = pod.spec.initContainers?.some((c) => c.name === ref.containerName);
  const allocatable = isNamedInit
    ? {}
    : { ...input.allocatable, ...podLimits(pod.spec.resources?.limits, input.allocatable) };
  return resolveResource(ref, { ...input, allocatable }, ref.containerName ? undefined : container);
}

function podLimits(limits: ResourceList = {}, allocatable: ResourceList): ResourceList {
  const set = Object.entries(limits).filter(
    ([name, quantity]) => name in allocatable && quantityMilliValue(quantity) > 0,
  );
  return Object.fromEntries(set);
}

function configMapValue(
  { name = '', key, optional }: KeySelector,
  namespace: string,
  { configMaps }: EnvObjectValues,
): string | undefined {
  const configMap = configMaps.get(name);
  const value = configMap?.data?.[key];
  if (value !== undefined || optional) return value;
  if (!configMap) throw notFound('configmap', name);
  throw refused(`couldn't find key ${key} in ConfigMap ${namespace}/${name}`);
}

function secretValue(
  { name = '', key, optional }: KeySelector,
  namespace: string,
  { secrets }: EnvObjectValues,
): string | undefined {
  const secret = secrets.get(name);
  const value = secret?.data?.[key];
  if (value !== undefined) return decoded(value);
  if (optional) return undefined;
  if (!secret) throw notFound('secret', name);
  throw refused(`couldn't find key ${key} in Secret ${namespace}/${name}`);
}

function fileValue(ref: FileKeyRef, files: ReadonlyMap<string, EnvFile>): string | undefined {
  const file = files.get(envFileKey(ref));
  if (!file) throw refused(envFileFailure);
  let value: string;
  try {
    value = parseEnvFile(file.text, ref.key);
  } catch (cause) {
    throw refused(envFileFailure, cause);
  }
  if (value !== '') return value;
  if (ref.optional) return undefined;
  throw refused(`environment variable key ${JSON.stringify(ref.key)} not found in file ${JSON.stringify(file.path)}`);
}

/** All that the pod's owner is told: what the file holds, or where it leads to, may be a secret. */
export const envFileFailure = "couldn't parse env file";

const decoded = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8');

const notFound = (kind: string, name: string) => refused(`${kind} ${JSON.stringify(name)} not found`);

const refused = (message: string, cause?: unknown): ContainerError =>
  new ContainerError(waitingReason.createContainerConfigError, message, { cause });

function inWords<T>(resolve: () => T): T {
  try {
    return resolve();
  } catch (error) {
    throw refused(messageOf(error));
  }
}
