import { isIPv6 } from 'node:net';
import { errnoOf, messageOf } from '../lib/errors.ts';

/** 'host:port', with brackets around an IPv6 address. */
export const hostPort = (host: string, port: number): string => `${isIPv6(host) ? `[${host}]` : host}:${port}`;

const errnoTexts: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by peer',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
  EPIPE: 'broken pipe',
  ETIMEDOUT: 'connection timed out',
  EADDRNOTAVAIL: 'cannot assign requested address',
};

/** A failed connection in the words that upstream's events use and runbooks look for. `to` is 'host:port'. */
export function networkErrorText(error: unknown, to: string): string {
  const { syscall, code, hostname, errors } = error as NodeJS.ErrnoException & {
    hostname?: string;
    errors?: unknown[];
  };
  if (errors?.length) return networkErrorText(errors[0], to);
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return `dial tcp: lookup ${hostname ?? to}: no such host`;
  // How node:http says that the other side closed before it answered, or before the answer was whole.
  if (code === 'ECONNRESET' && syscall === undefined) return messageOf(error) === 'aborted' ? 'unexpected EOF' : 'EOF';
  if (code === 'EPROTO') {
    const plain = messageOf(error).includes('wrong version number');
    return plain ? 'http: server gave HTTP response to HTTPS client' : 'remote error: tls: handshake failure';
  }
  const text = errnoTexts[errnoOf(error) ?? ''];
  if (text === undefined) return messageOf(error);
  return syscall === 'connect' ? `dial tcp ${to}: connect: ${text}` : `${syscall ?? 'read'}: ${text}`;
}
