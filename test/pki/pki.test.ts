import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import tls from 'node:tls';
import { integer, objectIdentifier, octetString, time } from '../../src/lib/der.ts';
import { EXPIRED, Pki } from './pki.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

const encodings: Record<string, [Buffer, string]> = {
  'a long identifier is split into groups of seven bits': [
    objectIdentifier('1.2.840.10045.4.3.2'),
    '06082a8648ce3d040302',
  ],
  'a number with its top bit set gets a leading zero': [integer(Buffer.from([0x80, 1])), '0203008001'],
  'a number loses superfluous zeros': [integer(Buffer.from([0, 0, 1])), '020101'],
  'content of 200 bytes has its length in two': [octetString(Buffer.alloc(200)), `0481c8${'00'.repeat(200)}`],
  'the last second of 2049 is a UTCTime': [
    time(new Date('2049-12-31T23:59:59Z')),
    `170d${hex(Buffer.from('491231235959Z'))}`,
  ],
  'the first second of 2050 is a GeneralizedTime': [
    time(new Date('2050-01-01T00:00:00Z')),
    `180f${hex(Buffer.from('20500101000000Z'))}`,
  ],
};
for (const [sentence, [actual, expected]] of Object.entries(encodings)) {
  test(`DER: ${sentence}`, () => assert.equal(hex(actual), expected));
}

test('a client certificate carries user and groups and is signed by the authority', () => {
  const pki = Pki.create('some-ca');
  const ca = new X509Certificate(pki.ca);
  const cert = new X509Certificate(pki.client('system:node:n1', ['system:nodes', 'other']).cert);
  assert.equal(cert.subject, 'O=system:nodes\nO=other\nCN=system:node:n1');
  assert.ok(cert.verify(ca.publicKey));
  assert.ok(cert.checkIssued(ca));
  assert.ok(ca.ca);
  assert.ok(!cert.ca);
});

test('a serving certificate holds names and addresses of both families', () => {
  const cert = new X509Certificate(Pki.create().serving(['api.test', '127.0.0.1', 'fd00::1:2', '::1']).cert);
  assert.equal(cert.checkHost('api.test'), 'api.test');
  assert.equal(cert.checkIP('127.0.0.1'), '127.0.0.1');
  assert.equal(cert.checkIP('fd00::1:2'), 'fd00::1:2');
  assert.equal(cert.checkIP('::1'), '::1');
  assert.equal(cert.checkIP('127.0.0.2'), undefined);
});

test('an authority kept in a directory is the same one when opened again', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'pki-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const first = Pki.openOrCreate(dir);
  const again = Pki.openOrCreate(dir);
  assert.equal(again.ca, first.ca);
  assert.ok(new X509Certificate(again.client('u').cert).verify(new X509Certificate(first.ca).publicKey));
});

const verdicts: Record<string, { credential: (pki: Pki) => { cert: string; key: string }; error: string | null }> = {
  'a client certificate is accepted': { credential: (pki) => pki.client('u'), error: null },
  'an expired one is refused': { credential: (pki) => pki.client('u', [], EXPIRED), error: 'CERT_HAS_EXPIRED' },
  'one of another authority is refused': {
    credential: () => Pki.create('foreign').client('u'),
    error: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  },
  'a serving certificate is no client certificate': {
    credential: (pki) => pki.serving(['u']),
    error: 'INVALID_PURPOSE',
  },
};
for (const [sentence, { credential, error }] of Object.entries(verdicts)) {
  test(`TLS: ${sentence}`, async () => {
    const pki = Pki.create();
    const server = tls.createServer({
      ...pki.serving(['localhost']),
      ca: pki.ca,
      requestCert: true,
      rejectUnauthorized: false,
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'secureConnection') as Promise<[tls.TLSSocket]>;
    const { port } = server.address() as AddressInfo;
    const client = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca: pki.ca, ...credential(pki) });
    try {
      const [socket] = await accepted;
      // Declared as Error, but the code is what arrives.
      assert.equal(socket.authorizationError as unknown, error);
    } finally {
      client.destroy();
      server.close();
      await once(server, 'close');
    }
  });
}
