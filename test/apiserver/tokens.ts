import { createPublicKey, randomUUID, sign, verify } from 'node:crypto';
import type { User } from './authentication.ts';
import { NODES, PODS, SECRETS, SERVICE_ACCOUNTS } from './kinds.ts';
import { type ApiObject, type DraftObject, type Fields, isFields, stringAt, timestamp, valueAt } from './objects.ts';
import { badRequest, conflict, invalid, notFound } from './status.ts';
import type { Store } from './store.ts';

export const ISSUER = 'https://kubernetes.default.svc';
const SHORTEST = 600;

/** What a token of ours claims (RFC 7519 plus Kubernetes' own). */
interface Claims {
  readonly aud: readonly string[];
  readonly exp: number;
  readonly iat: number;
  readonly iss: string;
  readonly jti: string;
  readonly nbf: number;
  readonly sub: string;
  readonly 'kubernetes.io': {
    readonly namespace: string;
    readonly serviceaccount: { readonly name: string; readonly uid: string };
    readonly pod?: { readonly name: string; readonly uid: string };
    readonly secret?: { readonly name: string; readonly uid: string };
    readonly node?: { readonly name: string; readonly uid: string };
  };
}

/** Issues and checks service-account tokens: ES256, bound to objects that must live on. */
export class TokenIssuer {
  readonly #store: Store;
  readonly #privateKey: string;
  /** Makes every token live this long, whatever was asked; for tests of renewal. */
  readonly #lifetimeSeconds: number | undefined;

  constructor(store: Store, privateKey: string, lifetimeSeconds?: number) {
    this.#store = store;
    this.#privateKey = privateKey;
    this.#lifetimeSeconds = lifetimeSeconds;
  }

  /** Answers a TokenRequest for a service account. */
  issue(namespace: string, account: string, request: DraftObject): Fields {
    const found = this.#store.get(SERVICE_ACCOUNTS, namespace, account);
    if (!found) throw notFound(SERVICE_ACCOUNTS, account);
    const asked = valueAt(request, 'spec.expirationSeconds');
    const seconds = typeof asked === 'number' ? asked : 3600;
    if (seconds < SHORTEST) {
      throw invalid({ ...SERVICE_ACCOUNTS, kind: 'TokenRequest', group: 'authentication.k8s.io' }, '', [
        {
          reason: 'FieldValueInvalid',
          message: `Invalid value: ${seconds}: may not specify a duration less than 10 minutes`,
          field: 'spec.expirationSeconds',
        },
      ]);
    }
    const audiences = valueAt(request, 'spec.audiences');
    const aud = Array.isArray(audiences) && audiences.length > 0 ? audiences.map(String) : [ISSUER];
    const reference = valueAt(request, 'spec.boundObjectRef');
    const bound = isFields(reference) ? this.#boundTo(namespace, account, reference) : {};
    const now = Math.floor(Date.now() / 1000);
    const exp = now + (this.#lifetimeSeconds ?? seconds);
    const token = this.#sign({
      aud,
      exp,
      iat: now,
      iss: ISSUER,
      jti: randomUUID(),
      'kubernetes.io': {
        namespace,
        serviceaccount: { name: account, uid: found.metadata.uid },
        ...bound,
      },
      nbf: now,
      sub: `system:serviceaccount:${namespace}:${account}`,
    });
    return {
      kind: 'TokenRequest',
      apiVersion: 'authentication.k8s.io/v1',
      metadata: { name: account, namespace, uid: found.metadata.uid, creationTimestamp: timestamp() },
      spec: {
        audiences: aud,
        expirationSeconds: seconds,
        boundObjectRef: isFields(reference) ? reference : null,
      },
      status: { token, expirationTimestamp: timestamp(exp * 1000) },
    };
  }

  /** The user of a token: its signature holds, it has not expired, and everything it is bound to is still there. */
  verify(token: string, audience = ISSUER): User | undefined {
    const claims = this.#read(token);
    if (!claims || claims.exp * 1000 <= Date.now() || !claims.aud.includes(audience)) return undefined;
    const { namespace, serviceaccount, pod, secret } = claims['kubernetes.io'];
    if (!isSame(this.#store.get(SERVICE_ACCOUNTS, namespace, serviceaccount.name), serviceaccount.uid))
      return undefined;
    if (pod && !isSame(this.#store.get(PODS, namespace, pod.name), pod.uid)) return undefined;
    if (secret && !isSame(this.#store.get(SECRETS, namespace, secret.name), secret.uid)) return undefined;
    return {
      name: claims.sub,
      uid: serviceaccount.uid,
      groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`],
      extra: {
        'authentication.kubernetes.io/credential-id': [`JTI=${claims.jti}`],
        ...(pod
          ? {
              'authentication.kubernetes.io/pod-name': [pod.name],
              'authentication.kubernetes.io/pod-uid': [pod.uid],
            }
          : {}),
      },
    };
  }

  #boundTo(namespace: string, account: string, reference: Fields): Partial<Claims['kubernetes.io']> {
    const [kind, name, uid] = [stringAt(reference, 'kind'), stringAt(reference, 'name'), stringAt(reference, 'uid')];
    const resource = kind === 'Pod' ? PODS : kind === 'Secret' ? SECRETS : undefined;
    if (!resource) throw badRequest(`cannot bind token for serviceaccount "${account}" to an object of kind ${kind}`);
    const object = this.#store.get(resource, namespace, name);
    if (!object) throw notFound(resource, name);
    if (uid && uid !== object.metadata.uid) {
      throw conflict(
        resource,
        name,
        `the UID in the bound object reference (${uid}) does not match the UID in record. ` +
          'The object might have been deleted and then recreated',
      );
    }
    const reference2 = { name, uid: object.metadata.uid };
    if (kind === 'Secret') return { secret: reference2 };
    if (stringAt(object, 'spec.serviceAccountName') !== account) {
      throw badRequest(
        `cannot bind token for serviceaccount "${account}" to pod running with different serviceaccount name.`,
      );
    }
    const nodeName = stringAt(object, 'spec.nodeName');
    const node = nodeName ? this.#store.get(NODES, undefined, nodeName) : undefined;
    return { pod: reference2, ...(node ? { node: { name: nodeName, uid: node.metadata.uid } } : {}) };
  }

  #sign(claims: Claims): string {
    const text = `${encode({ alg: 'ES256', kid: this.#keyId() })}.${encode(claims)}`;
    const signature = sign('sha256', Buffer.from(text), { key: this.#privateKey, dsaEncoding: 'ieee-p1363' });
    return `${text}.${signature.toString('base64url')}`;
  }

  #read(token: string): Claims | undefined {
    const [header, payload, signature, ...rest] = token.split('.');
    if (!header || !payload || !signature || rest.length > 0) return undefined;
    const key = { key: createPublicKey(this.#privateKey), dsaEncoding: 'ieee-p1363' } as const;
    const good = verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'));
    return good ? (JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as Claims) : undefined;
  }

  #keyId(): string {
    const der = createPublicKey(this.#privateKey).export({ type: 'spki', format: 'der' });
    return der.subarray(-16).toString('base64url');
  }
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

const isSame = (object: ApiObject | undefined, uid: string): boolean => object?.metadata.uid === uid;
