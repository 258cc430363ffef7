import type { Pod, TokenRequest } from '../api/core-v1.ts';
import type { KubeApi } from '../kubeapi/kube-api.ts';
import { serviceAccounts } from '../kubeapi/resources.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';

/** A pod's service account as a credential provider gets to see it. */
export interface AccountView {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Held {
  readonly token: string;
  /** Monotonic milliseconds. */
  readonly renewAt: number;
}

/** Tokens held at a time; the oldest is forgotten first and asked for again. */
const maxHeld = 200;
const defaultLifetimeMs = 3600_000;

/** Service accounts and their tokens, for pulling images. Tokens are bound to the pod, kept in memory, and logged nowhere. */
export class ServiceAccountTokens {
  readonly #api: KubeApi;
  readonly #clock: Clock;
  readonly #held = new Map<string, Held>();

  constructor(options: { readonly api: KubeApi; readonly clock: Clock }) {
    this.#api = options.api;
    this.#clock = options.clock;
  }

  async account(namespace: string, name: string, signal: AbortSignal): Promise<AccountView> {
    const { metadata } = await this.#api.get(serviceAccounts, { namespace, name }, signal);
    return { uid: metadata.uid ?? '', namespace, name, annotations: metadata.annotations ?? {} };
  }

  /** The token that the pod has, or a new one when four fifths of its life are over. */
  async token(pod: Pod, account: AccountView, audience: string, signal: AbortSignal): Promise<string> {
    const key = JSON.stringify([pod.metadata.uid, account.uid, audience]);
    const held = this.#held.get(key);
    if (held && this.#clock.monotonic() < held.renewAt) return held.token;
    const body = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        audiences: [audience],
        boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: pod.metadata.name, uid: pod.metadata.uid },
      },
    };
    const { namespace, name } = account;
    const answer = await this.#api.createSubresource<typeof body, TokenRequest>(
      serviceAccounts,
      { namespace, name },
      'token',
      body,
      signal,
    );
    const token = answer.status?.token;
    if (!token) throw new AgentError('TokenRequest', `the API server gave no token for ${namespace}/${name}`);
    const lifetimeMs = (answer.spec.expirationSeconds ?? defaultLifetimeMs / 1000) * 1000;
    this.#held.delete(key);
    this.#held.set(key, { token, renewAt: this.#clock.monotonic() + lifetimeMs * 0.8 });
    const oldest = this.#held.keys().next().value;
    if (this.#held.size > maxHeld && oldest !== undefined) this.#held.delete(oldest);
    return token;
  }
}
