import { createHash } from 'node:crypto';
import type { SubjectAccessReviewSpec } from '../api/reviews-v1.ts';
import type { Clock } from '../lib/clock.ts';
import { CachedQuestions } from './cached-questions.ts';
import type { UserInfo } from './endpoint.ts';

export interface AuthorizerOptions {
  readonly nodeName: string;
  /** Undefined: whoever is known may do everything (AlwaysAllow). */
  readonly reviewAccess?: ((spec: SubjectAccessReviewSpec, signal: AbortSignal) => Promise<boolean>) | undefined;
  /** How long answers count, milliseconds. */
  readonly allowedTtlMs: number;
  readonly deniedTtlMs: number;
  readonly clock: Clock;
}

/** Whether a user may use a subresource of this node. */
export class Authorizer {
  readonly #nodeName: string;
  readonly #reviews: CachedQuestions<SubjectAccessReviewSpec, boolean> | undefined;

  constructor(options: AuthorizerOptions) {
    const { reviewAccess: ask, allowedTtlMs, deniedTtlMs, clock } = options;
    this.#nodeName = options.nodeName;
    const ttl = (allowed: boolean) => (allowed ? allowedTtlMs : deniedTtlMs);
    this.#reviews = ask && new CachedQuestions({ ask, ttl, clock });
  }

  /** Throws when it could not be found out. `signal` is that of the server's life. */
  async allows(user: UserInfo, verb: string, subresource: string, signal: AbortSignal): Promise<boolean> {
    if (!this.#reviews) return true;
    const { username, uid, groups, extra } = user;
    const spec: SubjectAccessReviewSpec = {
      user: username,
      ...(uid ? { uid } : {}),
      groups,
      ...(extra ? { extra } : {}),
      resourceAttributes: { verb, version: 'v1', resource: 'nodes', subresource, name: this.#nodeName },
    };
    // Users may have many groups: what is kept is small whatever they are.
    const key = createHash('sha256').update(JSON.stringify(spec)).digest('base64');
    return this.#reviews.answer(key, spec, signal);
  }
}
