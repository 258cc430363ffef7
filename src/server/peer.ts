import { createHash } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { UserInfo } from './endpoint.ts';

/** What the TLS handshake has told of the client. */
export interface Peer {
  readonly user: UserInfo;
  /** Milliseconds since the epoch between which the certificate holds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * The client certificate as a user: CN is the name, every O a group. 'none': there is no certificate, or
 * one without a name; 'refused': one that no authority of ours has signed for a client. Only for a listener
 * that was given authorities: without any, TLS would believe the whole world's.
 */
export function peerOf(socket: TLSSocket): Peer | 'none' | 'refused' {
  const certificate = socket.getPeerX509Certificate();
  // A resumed session without a certificate counts as authorized, too.
  if (!certificate) return 'none';
  if (!socket.authorized) return 'refused';
  // The subject as text would have to be unescaped.
  const { subject } = certificate.toLegacyObject();
  const username = listOf(subject?.CN).at(-1) ?? '';
  if (username === '') return 'none';
  const fingerprint = createHash('sha256').update(certificate.raw).digest('hex');
  return {
    user: {
      username,
      groups: [...listOf(subject?.O), 'system:authenticated'],
      extra: { 'authentication.kubernetes.io/credential-id': [`X509SHA256=${fingerprint}`] },
    },
    notBefore: certificate.validFromDate.getTime(),
    notAfter: certificate.validToDate.getTime(),
  };
}

const listOf = (value: string | readonly string[] | undefined): readonly string[] =>
  value === undefined ? [] : typeof value === 'string' ? [value] : value;
