import type { CredentialProvider } from '../config/credential-providers.ts';
import { parseGoDuration } from '../lib/go-duration.ts';
import { isRecord } from '../lib/schema.ts';
import type { DockerConfig } from './pull-credentials.ts';

/** What a provider answered. */
export interface ProviderResponse {
  readonly cacheKeyType: 'Image' | 'Registry' | 'Global';
  /** Milliseconds; undefined leaves it to the configuration. */
  readonly cacheDurationMs: number | undefined;
  readonly config: DockerConfig;
}

/** The request as a provider reads it from its standard input. `image` has no tag. */
export function providerRequest(
  provider: CredentialProvider,
  image: string,
  account: { readonly token: string; readonly annotations: Readonly<Record<string, string>> } | undefined,
): string {
  return JSON.stringify({
    kind: 'CredentialProviderRequest',
    apiVersion: provider.apiVersion,
    image,
    ...(account ? { serviceAccountToken: account.token } : {}),
    ...(account && Object.keys(account.annotations).length > 0
      ? { serviceAccountAnnotations: account.annotations }
      : {}),
  });
}

/**
 * The answer that a provider wrote. Throws an Error that names the fault and never quotes the answer,
 * which may hold credentials.
 */
export function readProviderResponse(provider: CredentialProvider, stdout: string): ProviderResponse {
  const answer = parse(stdout);
  if (answer['kind'] !== 'CredentialProviderResponse') throw new Error('the answer is no CredentialProviderResponse');
  if (answer['apiVersion'] !== provider.apiVersion) {
    throw new Error(`the answer is not of apiVersion ${provider.apiVersion}, in which it was asked`);
  }
  const { cacheKeyType, cacheDuration, auth } = answer;
  if (cacheKeyType !== 'Image' && cacheKeyType !== 'Registry' && cacheKeyType !== 'Global') {
    throw new Error('cacheKeyType of the answer is not one of Image, Registry, Global');
  }
  const given = cacheDuration !== undefined && cacheDuration !== null;
  const cacheDurationMs = typeof cacheDuration === 'string' ? parseGoDuration(cacheDuration) : undefined;
  if (given && cacheDurationMs === undefined) throw new Error('cacheDuration of the answer is no duration such as 10m');
  return { cacheKeyType, cacheDurationMs, config: readAuth(auth) };
}

function parse(stdout: string): Record<string, unknown> {
  let answer: unknown;
  try {
    answer = JSON.parse(stdout);
  } catch {
    throw new Error('the answer is no JSON');
  }
  if (!isRecord(answer)) throw new Error('the answer is no JSON object');
  return answer;
}

/** User names and passwords alone: a provider has no other means. */
function readAuth(auth: unknown): DockerConfig {
  if (auth === undefined || auth === null) return {};
  if (!isRecord(auth)) throw new Error('auth of the answer is no map');
  return Object.fromEntries(
    Object.entries(auth).map(([key, entry]) => {
      const { username = '', password = '' } = isRecord(entry) ? entry : {};
      if (typeof username !== 'string' || typeof password !== 'string') {
        throw new Error('an entry of auth of the answer has no username and password');
      }
      return [key, { username, password }];
    }),
  );
}
