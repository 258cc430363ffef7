import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Authenticator } from './authenticate.ts';
import type { Authorizer } from './authorize.ts';
import { DeniedError, HttpError, type UserInfo } from './endpoint.ts';
import type { Peer } from './peer.ts';
import { requestAttributes } from './request-attributes.ts';

export interface Visitor {
  readonly peer: Peer | 'none' | 'refused';
  /** The Authorization header. */
  readonly authorization: string | undefined;
  readonly method: string;
  readonly path: string;
}

/** Lets requests in, or says with upstream's words why not. */
export class Guard {
  readonly #authenticator: Authenticator;
  readonly #authorizer: Authorizer;
  readonly #log: Log;
  /** An API server that does not answer is said once, not per request. */
  readonly #failing = new Set<string>();

  constructor(parts: { authenticator: Authenticator; authorizer: Authorizer; log: Log }) {
    this.#authenticator = parts.authenticator;
    this.#authorizer = parts.authorizer;
    this.#log = parts.log;
  }

  /** Throws an HttpError of 401, 403 or, when a permission could not be asked for, 500. */
  async admit(visitor: Visitor, signal: AbortSignal): Promise<UserInfo> {
    const { method, path } = visitor;
    const user = await this.#known(
      'who asks',
      this.#authenticator.authenticate(visitor.peer, visitor.authorization, signal),
    );
    if (!user) throw new DeniedError(401, 'Unauthorized');
    const { verb, subresources } = requestAttributes(method, path);
    for (const subresource of subresources) {
      const allowed = await this.#known('what they may do', this.#authorizer.allows(user, verb, subresource, signal));
      if (allowed) return user;
      if (allowed === undefined) {
        const about = `user=${user.username}, verb=${verb}, resource=nodes, subresource=${subresource}`;
        throw new HttpError(500, `Authorization error (${about})`);
      }
    }
    this.#log.debug({ user: user.username, method, path, subresources }, 'forbidden');
    const about = `user=${user.username}, verb=${verb}, resource=nodes, subresource(s)=[${subresources.join(' ')}]`;
    throw new DeniedError(403, `Forbidden (${about})`);
  }

  /** Undefined when it could not be found out. */
  async #known<T>(what: string, question: Promise<T>): Promise<T | undefined> {
    try {
      const answer = await question;
      this.#failing.delete(what);
      return answer;
    } catch (error) {
      if (isAbort(error)) throw error;
      const fields = { what, ...errorFields(error) };
      if (this.#failing.has(what)) this.#log.debug(fields, "still cannot check callers of the node's port");
      else this.#log.warn(fields, "cannot check callers of the node's port with the API server");
      this.#failing.add(what);
      return undefined;
    }
  }
}
