import { createHmac, randomBytes } from 'node:crypto';
import type { TokenReviewStatus } from '../api/reviews-v1.ts';
import type { Clock } from '../lib/clock.ts';
import { CachedQuestions } from './cached-questions.ts';
import type { UserInfo } from './endpoint.ts';
import type { Peer } from './peer.ts';

export interface AuthenticatorOptions {
  /** Whether requests without any credential are let in as system:anonymous. */
  readonly anonymous: boolean;
  /** Undefined: bearer tokens are not looked at, since they cannot be checked or are not to be. */
  readonly reviewToken?: ((token: string, signal: AbortSignal) => Promise<TokenReviewStatus>) | undefined;
  /** How long the answer about a token counts, milliseconds. */
  readonly tokenTtlMs: number;
  readonly clock: Clock;
}

const anonymous: UserInfo = { username: 'system:anonymous', groups: ['system:unauthenticated'] };
/** Beyond it nothing is a token. */
const maxTokenLength = 64 * 1024;

/** Finds out who asks: by client certificate, then by bearer token, then as nobody in particular. */
export class Authenticator {
  readonly #o: AuthenticatorOptions;
  readonly #tokens: CachedQuestions<string, TokenReviewStatus> | undefined;
  /** Tokens are kept as hashes that mean nothing outside this process. */
  readonly #hashKey = randomBytes(32);

  constructor(options: AuthenticatorOptions) {
    this.#o = options;
    const { reviewToken: ask, tokenTtlMs, clock } = options;
    this.#tokens = ask && new CachedQuestions({ ask, ttl: () => tokenTtlMs, clock });
  }

  /**
   * Undefined: nobody whom we know. A credential that is not good is never anonymous. Throws when the token
   * could not be checked. `signal` is that of the server's life.
   */
  async authenticate(
    peer: Peer | 'none' | 'refused',
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<UserInfo | undefined> {
    const now = this.#o.clock.now();
    // A connection may outlive the certificate that it began with.
    if (typeof peer === 'object' && now >= peer.notBefore && now <= peer.notAfter) return peer.user;
    const token = this.#tokens && bearerToken(authorization);
    if (token !== undefined) return this.#userOf(token, signal);
    return peer === 'none' && this.#o.anonymous ? anonymous : undefined;
  }

  async #userOf(token: string, signal: AbortSignal): Promise<UserInfo | undefined> {
    if (token.length > maxTokenLength) return undefined;
    const key = createHmac('sha256', this.#hashKey).update(token).digest('base64');
    const status = await this.#tokens?.answer(key, token, signal);
    if (!status?.authenticated) return undefined;
    const { username = '', uid, groups = [], extra } = status.user ?? {};
    return {
      username,
      ...(uid ? { uid } : {}),
      groups: groups.includes('system:authenticated') ? groups : [...groups, 'system:authenticated'],
      ...(extra ? { extra } : {}),
    };
  }
}

function bearerToken(authorization: string | undefined): string | undefined {
  const [scheme, token] = (authorization ?? '').trim().split(' ');
  return scheme?.toLowerCase() === 'bearer' && token ? token : undefined;
}
