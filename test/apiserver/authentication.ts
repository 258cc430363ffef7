import { createHash } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { unauthorized } from './status.ts';
import type { TokenIssuer } from './tokens.ts';

/** Who is asking. */
export interface User {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** The static bearer tokens of a server: token → user. */
export type TokenTable = Readonly<Record<string, { readonly user: string; readonly groups?: readonly string[] }>>;

export const ANONYMOUS: User = { name: 'system:anonymous', groups: ['system:unauthenticated'] };
const AUTHENTICATED = 'system:authenticated';

/** What the TLS handshake told: a user, nothing, or a certificate that does not hold. */
export type PeerIdentity = User | 'none' | 'refused';

/** Reads the client certificate: CN is the user, every O a group. */
export function peerIdentityOf(socket: TLSSocket): PeerIdentity {
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) return 'none';
  if (!socket.authorized) return 'refused';
  const attributes = certificate.subject.split('\n').map((line) => line.split(/=(.*)/s));
  const valuesOf = (key: string) => attributes.filter(([k]) => k === key).map(([, value = '']) => value);
  const fingerprint = createHash('sha256').update(certificate.raw).digest('hex');
  return {
    name: valuesOf('CN')[0] ?? '',
    groups: [...valuesOf('O'), AUTHENTICATED],
    extra: { 'authentication.kubernetes.io/credential-id': [`X509SHA256=${fingerprint}`] },
  };
}

/** The user of a request; throws 401 for a credential that is not good. A good certificate goes before a token. */
export function authenticate(
  peer: PeerIdentity,
  authorization: string | undefined,
  tokens: TokenTable,
  issuer: TokenIssuer,
): User {
  if (typeof peer === 'object') return peer;
  const token = /^bearer\s+(\S+)$/i.exec(authorization ?? '')?.[1];
  const user = token === undefined ? undefined : userOfToken(token, tokens, issuer);
  if (user) return user;
  if (token !== undefined || peer === 'refused') throw unauthorized();
  return ANONYMOUS;
}

/** The user behind a bearer token, static or issued to a service account; undefined when there is none. */
export function userOfToken(token: string, tokens: TokenTable, issuer: TokenIssuer): User | undefined {
  const known = Object.hasOwn(tokens, token) ? tokens[token] : undefined;
  if (known) return { name: known.user, groups: [...(known.groups ?? []), AUTHENTICATED] };
  const account = issuer.verify(token);
  return account && { ...account, groups: [...account.groups, AUTHENTICATED] };
}
