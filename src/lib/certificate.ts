import { createHash, createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';
import {
  bitString,
  boolean,
  context,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  set,
  time,
  utf8String,
} from './der.ts';

/** What a certificate says; the names are those of Kubernetes: CN is the user, every O a group. */
export interface CertificateRequest {
  readonly commonName: string;
  readonly organizations?: readonly string[];
  readonly publicKey: KeyObject;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly use: 'ca' | 'server' | 'client';
  /** DNS names and IP addresses. */
  readonly hosts?: readonly string[];
}

export interface Issuer {
  readonly commonName: string;
  readonly privateKey: KeyObject;
}

const ECDSA_WITH_SHA256 = sequence(objectIdentifier('1.2.840.10045.4.3.2'));

/** A version 3 certificate (RFC 5280) signed with ECDSA and SHA-256, in PEM. */
export function issueCertificate(request: CertificateRequest, issuer: Issuer): string {
  const body = sequence(
    context(0, true, integer(Buffer.from([2]))),
    integer(randomBytes(16)),
    ECDSA_WITH_SHA256,
    distinguishedName(issuer.commonName, []),
    sequence(time(request.notBefore), time(request.notAfter)),
    distinguishedName(request.commonName, request.organizations ?? []),
    request.publicKey.export({ type: 'spki', format: 'der' }),
    context(3, true, sequence(...extensionsOf(request, issuer))),
  );
  const signature = sign('sha256', body, issuer.privateKey);
  return toPem(sequence(body, ECDSA_WITH_SHA256, bitString(signature)));
}

function toPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

/** The organizations in one RDN each, as client-go writes and the API server reads them. */
function distinguishedName(commonName: string, organizations: readonly string[]): Buffer {
  const part = (oid: string, text: string) => set(sequence(objectIdentifier(oid), utf8String(text)));
  return sequence(...organizations.map((o) => part('2.5.4.10', o)), part('2.5.4.3', commonName));
}

function extensionsOf(request: CertificateRequest, issuer: Issuer): Buffer[] {
  const ca = request.use === 'ca';
  // Bits of KeyUsage: digitalSignature 0, keyCertSign 5, cRLSign 6.
  const keyUsage = ca ? bitString(Buffer.from([0b1000_0110]), 1) : bitString(Buffer.from([0b1000_0000]), 7);
  const found = [
    extension('2.5.29.19', true, ca ? sequence(boolean(true)) : sequence()),
    extension('2.5.29.15', true, keyUsage),
    extension('2.5.29.14', false, octetString(keyIdentifier(request.publicKey))),
    extension('2.5.29.35', false, sequence(context(0, false, keyIdentifier(createPublicKey(issuer.privateKey))))),
  ];
  if (!ca) {
    const purpose = request.use === 'server' ? '1.3.6.1.5.5.7.3.1' : '1.3.6.1.5.5.7.3.2';
    found.push(extension('2.5.29.37', false, sequence(objectIdentifier(purpose))));
  }
  if (request.hosts?.length) found.push(extension('2.5.29.17', false, sequence(...request.hosts.map(generalName))));
  return found;
}

const extension = (oid: string, critical: boolean, value: Buffer): Buffer =>
  sequence(objectIdentifier(oid), ...(critical ? [boolean(true)] : []), octetString(value));

const keyIdentifier = (key: KeyObject): Buffer =>
  createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest();

function generalName(host: string): Buffer {
  const version = isIP(host);
  if (version === 0) return context(2, false, Buffer.from(host, 'latin1'));
  return context(7, false, version === 4 ? Buffer.from(host.split('.').map(Number)) : ipv6Bytes(host));
}

function ipv6Bytes(address: string): Buffer {
  const [head = '', tail] = address.split('::');
  const words = (text: string) =>
    text
      .split(':')
      .filter(Boolean)
      .map((word) => Number.parseInt(word, 16));
  const left = words(head);
  const right = tail === undefined ? [] : words(tail);
  const middle = tail === undefined ? [] : new Array<number>(8 - left.length - right.length).fill(0);
  return Buffer.from([...left, ...middle, ...right].flatMap((word) => [word >> 8, word & 0xff]));
}
