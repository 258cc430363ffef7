import { createHash } from 'node:crypto';
import type { Secret } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { isRecord } from '../lib/schema.ts';
import { matchesImage, registryKey } from './registry-match.ts';

/** What an entry of a Docker configuration holds. */
export interface DockerAuth {
  readonly username?: string;
  readonly password?: string;
  readonly email?: string;
  readonly auth?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
}

/** A Docker configuration: registry or path → credentials. */
export type DockerConfig = Readonly<Record<string, DockerAuth>>;

/** An object of the API by which a credential is known again. */
export interface Coordinates {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
}

/** A credential to try, and whose it is: without an owner every pod of the node may use it. */
export interface PullCredential {
  readonly auth: cri.AuthConfig;
  /** Tells whether two credentials are the same without showing them; upstream's, so that records stay good. */
  readonly hash: string;
  readonly secret?: Coordinates;
  readonly serviceAccount?: Coordinates;
}

/** Docker configurations with one owner each, in the order in which equals are tried. */
export interface OwnedConfig {
  readonly config: DockerConfig;
  readonly secret?: Coordinates;
  readonly serviceAccount?: Coordinates;
}

/** Where the credentials of docker.io are kept in configurations that Docker itself wrote. */
const dockerHubKey = 'index.docker.io';

/**
 * The credentials that these configurations hold for an image ('docker.io/library/busybox', without tag),
 * in the order in which they are tried: longer keys before their prefixes, names before wildcards.
 */
export function pullCredentials(image: string, configs: readonly OwnedConfig[]): PullCredential[] {
  const byKey = new Map<string, PullCredential[]>();
  for (const { config, ...owner } of configs) {
    for (const entry of Object.keys(config).sort()) {
      const auth = authConfig(config[entry]);
      if (!auth) continue;
      const key = registryKey(entry);
      const credential = { auth: auth.config, hash: hashOf(auth.config, auth.email), ...owner };
      byKey.set(key, [...(byKey.get(key) ?? []), credential]);
    }
  }
  const keys = [...byKey.keys()].sort().reverse();
  const found = keys.filter((key) => matchesImage(key, image)).flatMap((key) => byKey.get(key) ?? []);
  if (found.length > 0 || !image.startsWith('docker.io/')) return found;
  return byKey.get(dockerHubKey) ?? [];
}

/** What pull secrets hold. Secrets of other types, and content that is no JSON, give nothing. */
export function secretConfigs(secrets: readonly Secret[]): OwnedConfig[] {
  return secrets.flatMap((secret) => {
    const config = configOf(secret);
    const { uid = '', namespace = '', name } = secret.metadata;
    return config ? [{ config, secret: { uid, namespace, name } }] : [];
  });
}

/** `config.json` of Docker; undefined when the text is none. */
export function parseDockerConfigJson(text: string): DockerConfig | undefined {
  const parsed = parseJson(text);
  const auths = isRecord(parsed) ? parsed['auths'] : undefined;
  return isRecord(auths) ? (auths as DockerConfig) : undefined;
}

/** The older `.dockercfg`: the entries alone. */
export function parseDockercfg(text: string): DockerConfig | undefined {
  const parsed = parseJson(text);
  return isRecord(parsed) ? (parsed as DockerConfig) : undefined;
}

function configOf(secret: Secret): DockerConfig | undefined {
  const decoded = (key: string) => Buffer.from(secret.data?.[key] ?? '', 'base64').toString();
  // What is no JSON is let pass: the API server validates these secrets, a manifest directory does not. The pull
  // will say "unauthorized".
  if (secret.type === 'kubernetes.io/dockerconfigjson') return parseDockerConfigJson(decoded('.dockerconfigjson'));
  if (secret.type === 'kubernetes.io/dockercfg') return parseDockercfg(decoded('.dockercfg'));
  return undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Undefined for an entry that is none: nobody has validated a manifest directory or a file of the node. */
function authConfig(entry: unknown): { config: cri.AuthConfig; email: string } | undefined {
  if (!isRecord(entry)) return undefined;
  const text = (key: keyof DockerAuth) => (typeof entry[key] === 'string' ? (entry[key] as string) : '');
  const decoded = Buffer.from(text('auth'), 'base64').toString();
  const colon = decoded.indexOf(':');
  if (text('auth') && colon < 0) return undefined;
  const [username, password] = text('auth')
    ? [decoded.slice(0, colon), decoded.slice(colon + 1)]
    : [text('username'), text('password')];
  return {
    config: {
      username,
      password,
      ...(text('identitytoken') ? { identityToken: text('identitytoken') } : {}),
      ...(text('registrytoken') ? { registryToken: text('registrytoken') } : {}),
    },
    email: text('email'),
  };
}

/** SHA-256 over the credential as Go writes it into JSON: fields in this order, empty ones left out, HTML escaped. */
function hashOf(auth: cri.AuthConfig, email: string): string {
  const fields = Object.entries({
    username: auth.username,
    password: auth.password,
    email,
    identitytoken: auth.identityToken,
    registrytoken: auth.registryToken,
  }).filter(([, value]) => value);
  const json = JSON.stringify(Object.fromEntries(fields)).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return createHash('sha256').update(json).digest('hex');
}
