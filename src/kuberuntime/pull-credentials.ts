import type { Secret } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import type { ImageName } from './image-name.ts';

interface DockerAuth {
  readonly username?: string;
  readonly password?: string;
  readonly auth?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
}

/**
 * The credentials that the pod's pull secrets hold for an image, most specific first: a registry entry
 * may name a path (`registry/team`), and Docker's own historic spellings of docker.io are understood.
 * Secrets of other types, and content that is no JSON, give nothing.
 */
export function pullCredentials(image: ImageName, secrets: readonly Secret[]): cri.AuthConfig[] {
  return (
    secrets
      .flatMap(entriesOf)
      // An entry may be null: secrets of a manifest directory have been validated by nobody.
      .filter(([, auth]) => typeof auth === 'object' && auth !== null)
      .map(([key, auth]) => ({ auth, specificity: matchLength(key, image) }))
      .filter((e) => e.specificity > 0)
      .sort((a, b) => b.specificity - a.specificity)
      .map(({ auth }) => authConfig(auth))
  );
}

function entriesOf(secret: Secret): [string, DockerAuth][] {
  const modern = secret.data?.['.dockerconfigjson'];
  const legacy = secret.data?.['.dockercfg'];
  try {
    if (secret.type === 'kubernetes.io/dockerconfigjson' && modern) {
      const parsed = JSON.parse(Buffer.from(modern, 'base64').toString()) as { auths?: Record<string, DockerAuth> };
      return Object.entries(parsed.auths ?? {});
    }
    if (secret.type === 'kubernetes.io/dockercfg' && legacy) {
      return Object.entries(JSON.parse(Buffer.from(legacy, 'base64').toString()) as Record<string, DockerAuth>);
    }
  } catch {
    // Not JSON: the API server validates these secrets, a manifest directory does not. The pull will say "unauthorized".
  }
  return [];
}

/** How much of the image's name an entry's key covers; 0 is no match. */
function matchLength(key: string, image: ImageName): number {
  const bare = key
    .replace(/^https?:\/\//, '')
    .replace(/\/v[12]\/?$/, '')
    .replace(/\/$/, '');
  const normal = bare.replace(/^(index\.docker\.io|registry-1\.docker\.io)/, 'docker.io');
  const slash = normal.indexOf('/');
  const host = slash < 0 ? normal : normal.slice(0, slash);
  const path = slash < 0 ? '' : normal.slice(slash + 1);
  if (!hostMatches(host, image.registry)) return 0;
  if (path && image.repository !== path && !image.repository.startsWith(`${path}/`)) return 0;
  return normal.length;
}

/** Kubernetes allows `*.example.com`, one label per asterisk (KEP-2133). */
function hostMatches(pattern: string, host: string): boolean {
  const [patterns, labels] = [pattern.split('.'), host.split('.')];
  return patterns.length === labels.length && patterns.every((p, i) => p === '*' || p === labels[i]);
}

function authConfig(auth: DockerAuth): cri.AuthConfig {
  const decoded = auth.auth ? Buffer.from(auth.auth, 'base64').toString() : '';
  const colon = decoded.indexOf(':');
  return {
    username: auth.username ?? decoded.slice(0, Math.max(colon, 0)),
    password: auth.password ?? decoded.slice(colon + 1),
    ...(auth.identitytoken ? { identityToken: auth.identitytoken } : {}),
    ...(auth.registrytoken ? { registryToken: auth.registrytoken } : {}),
  };
}
