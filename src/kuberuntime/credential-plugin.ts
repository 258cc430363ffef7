import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Pod } from '../api/core-v1.ts';
import type { CredentialProvider, TokenAttributes } from '../config/credential-providers.ts';
import type { Exec } from '../host/exec.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errorFields, isAbort, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { providerRequest, readProviderResponse } from './provider-protocol.ts';
import type { DockerConfig, OwnedConfig } from './pull-credentials.ts';
import { matchesImage, registryOf } from './registry-match.ts';
import type { AccountView, ServiceAccountTokens } from './service-account-tokens.ts';

export interface CredentialPluginOptions {
  readonly provider: CredentialProvider;
  readonly binDir: string;
  readonly exec: Exec;
  /** Undefined without an API server: pods have no service accounts then. */
  readonly tokens: ServiceAccountTokens | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

interface Cached {
  readonly config: DockerConfig;
  /** Monotonic milliseconds. */
  readonly until: number;
}

/** Upstream's: enough for a program that asks a cloud twice, and an end for one that hangs. */
const timeoutMs = 60_000;
/** Answers kept at a time; the oldest is forgotten first. */
const maxCached = 1000;
const maxAnswerBytes = 1024 * 1024;

/** What of a pod's service account an answer depends on, and what the program is given of it. */
interface Account {
  readonly view: AccountView;
  readonly token: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly key: string;
}

/**
 * One credential provider: a program that is asked for credentials, and what it answered as long as it is good.
 * A program that fails gives nothing, which is logged once until it works again: a public image needs nothing.
 */
export class CredentialPlugin {
  readonly #o: CredentialPluginOptions;
  readonly #cache = new Map<string, Cached>();
  /** Questions under way: the same one is not asked twice at a time. */
  readonly #asked = new Map<string, Promise<DockerConfig>>();
  #failing = false;

  constructor(options: CredentialPluginOptions) {
    this.#o = options;
  }

  /** What the program knows for the image ('registry.test/app', without tag) of a pod. Rejects by the signal alone. */
  async configFor(image: string, pod: Pod, signal: AbortSignal): Promise<OwnedConfig | undefined> {
    const { provider } = this.#o;
    if (!provider.matchImages.some((entry) => matchesImage(entry, image))) return undefined;
    try {
      const account = provider.tokenAttributes && (await this.#account(provider.tokenAttributes, pod, signal));
      if (account === 'none') return undefined;
      const config = this.#cached(image, account) ?? (await this.#askOnce(image, account, signal));
      this.#failing = false;
      if (!account) return { config };
      const { uid, namespace, name } = account.view;
      return { config, serviceAccount: { uid, namespace, name } };
    } catch (error) {
      signal.throwIfAborted();
      if (isAbort(error)) throw error;
      const level = this.#failing ? 'debug' : 'warn';
      this.#failing = true;
      this.#o.log[level](
        { provider: provider.name, image, ...errorFields(error) },
        'a credential provider gives no credentials',
      );
      return undefined;
    }
  }

  /** 'none': the program is not for this pod. Undefined: it is asked without a service account. */
  async #account(attributes: TokenAttributes, pod: Pod, signal: AbortSignal): Promise<Account | 'none' | undefined> {
    const { tokens } = this.#o;
    const { namespace = 'default' } = pod.metadata;
    const name = pod.spec.serviceAccountName ?? '';
    if (!name || !tokens) return attributes.requireServiceAccount ? 'none' : undefined;
    const view = await tokens.account(namespace, name, signal);
    // A missing annotation is how a workload says that it does not want this provider.
    if (attributes.requiredAnnotationKeys.some((key) => view.annotations[key] === undefined)) return 'none';
    const keys = [...attributes.requiredAnnotationKeys, ...attributes.optionalAnnotationKeys].sort();
    const annotations = Object.fromEntries(
      keys.flatMap((key) => (view.annotations[key] === undefined ? [] : [[key, view.annotations[key]]])),
    );
    const token = await tokens.token(pod, view, attributes.audience, signal);
    const byToken = attributes.cacheType === 'Token' ? [hash(token), pod.metadata.name, pod.metadata.uid] : [];
    const key = JSON.stringify([namespace, name, view.uid, annotations, ...byToken]);
    return { view, token, annotations, key };
  }

  #cached(image: string, account: Account | undefined): DockerConfig | undefined {
    const now = this.#o.clock.monotonic();
    for (const scope of [image, registryOf(image), globalScope]) {
      const cached = this.#cache.get(cacheKey(scope, account));
      if (cached && now <= cached.until) return cached.config;
    }
    return undefined;
  }

  #askOnce(image: string, account: Account | undefined, signal: AbortSignal): Promise<DockerConfig> {
    const key = JSON.stringify([image, account ? [hash(account.token), account.annotations] : []]);
    const underWay = this.#asked.get(key);
    if (underWay) return abandonable(underWay, signal);
    // Whoever asked first may go away: the others still want the answer, and the deadline bounds it.
    const asking = this.#ask(image, account).finally(() => this.#asked.delete(key));
    this.#asked.set(key, asking);
    return abandonable(asking, signal);
  }

  async #ask(image: string, account: Account | undefined): Promise<DockerConfig> {
    const { provider, binDir, exec } = this.#o;
    const { stdout } = await exec.run(join(binDir, provider.name), provider.args, {
      signal: new AbortController().signal,
      timeoutMs,
      input: providerRequest(provider, image, account),
      env: provider.env,
      maxOutputBytes: maxAnswerBytes,
    });
    const response = read(provider, stdout);
    if (account && provider.tokenAttributes?.cacheType === 'ServiceAccount') {
      // Such a token ends with its pod, and the answer would serve every pod of the account.
      const echoed = Object.values(response.config).some(({ password }) => password === account.token);
      if (echoed) {
        throw new AgentError('CredentialProvider', `${provider.name} answers with the token that it was given`, {
          hint: 'set tokenAttributes.cacheType to Token',
        });
      }
    }
    const scopes = { Image: image, Registry: registryOf(image), Global: globalScope };
    const durationMs = response.cacheDurationMs ?? provider.defaultCacheDuration;
    if (durationMs > 0) this.#keep(cacheKey(scopes[response.cacheKeyType], account), response.config, durationMs);
    return response.config;
  }

  #keep(key: string, config: DockerConfig, durationMs: number): void {
    this.#cache.delete(key);
    this.#cache.set(key, { config, until: this.#o.clock.monotonic() + durationMs });
    const oldest = this.#cache.keys().next().value;
    if (this.#cache.size > maxCached && oldest !== undefined) this.#cache.delete(oldest);
  }
}

function read(provider: CredentialProvider, stdout: string): ReturnType<typeof readProviderResponse> {
  try {
    return readProviderResponse(provider, stdout);
  } catch (error) {
    throw new AgentError('CredentialProvider', `${provider.name}: ${messageOf(error)}`);
  }
}

/** No image and no registry is called so: both hold a dot, a colon or a slash. */
const globalScope = 'global';
const cacheKey = (scope: string, account: Account | undefined): string => JSON.stringify([scope, account?.key ?? '']);
const hash = (token: string): string => createHash('sha256').update(token).digest('hex');

function abandonable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    if (signal.aborted) leave();
    signal.addEventListener('abort', leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}
