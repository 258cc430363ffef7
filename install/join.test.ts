import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { AgentError } from '../src/lib/errors.ts';
import { Pki } from '../test/pki/pki.ts';
import { certificatesWithKeyHash, makeKubeconfig } from './join.ts';

const pki = Pki.create('cluster');
const other = Pki.create('somebody-else');

const keyHash = (ca: string) =>
  createHash('sha256')
    .update(new X509Certificate(ca).publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');

const clusterInfo = (ca: string) => ({
  kind: 'ConfigMap',
  data: {
    kubeconfig: `clusters: [{cluster: {certificate-authority-data: ${Buffer.from(ca).toString('base64')}, server: ''}}]`,
  },
});

interface Seen {
  readonly path: string | undefined;
  readonly authorization: string | undefined;
}

/** An API server that serves cluster-info and knows one token; tells what it was asked. */
async function serve(options: { bundle?: string; issuer?: Pki; info?: [number, unknown] } = {}) {
  const seen: Seen[] = [];
  const { bundle = pki.ca, issuer = pki, info = [200, clusterInfo(bundle)] } = options;
  const answer: RequestListener = (request, response) => {
    const { authorization } = request.headers;
    seen.push({ path: request.url, authorization });
    const [status, body] =
      authorization !== undefined && authorization !== 'Bearer good'
        ? [401, {}]
        : request.url === '/version'
          ? [200, {}]
          : info;
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
  };
  const server = createServer(issuer.serving(['127.0.0.1']), answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, seen, [Symbol.dispose]: () => server.close() };
}

const join = (server: string, options: { token?: string; caCertHash?: string } = {}) =>
  makeKubeconfig({ server, token: 'good', caCertHash: `sha256:${keyHash(pki.ca)}`, ...options });

const failsWith = (code: string) => (error: unknown) => error instanceof AgentError && error.code === code;

describe('joining by a token and the hash of the CA', () => {
  it('writes a kubeconfig with the CA that has the hash', async () => {
    using api = await serve();
    const { kubeconfig, ca } = await join(api.url);
    assert.equal(ca.trim(), pki.ca.trim());
    const config = parse(kubeconfig) as {
      clusters: [{ cluster: { server: string; 'certificate-authority-data': string } }];
      users: [{ user: { token: string } }];
    };
    const { cluster } = config.clusters[0];
    assert.equal(cluster.server, api.url);
    assert.equal(Buffer.from(cluster['certificate-authority-data'], 'base64').toString().trim(), pki.ca.trim());
    assert.equal(config.users[0].user.token, 'good');
  });

  it('sends the token only after the CA is proved', async () => {
    using api = await serve();
    await join(api.url);
    assert.deepEqual(
      api.seen.map(({ authorization }) => authorization),
      [undefined, 'Bearer good'],
    );
    using impostor = await serve({ bundle: other.ca, issuer: other });
    await assert.rejects(join(impostor.url), failsWith('CaHashMismatch'));
    assert.deepEqual(
      impostor.seen.map(({ authorization }) => authorization),
      [undefined],
    );
  });

  it('does not believe a server that quotes the right CA but was not certified by it', async () => {
    using impostor = await serve({ bundle: pki.ca, issuer: other });
    await assert.rejects(join(impostor.url), failsWith('ServerUnreachable'));
    assert.equal(impostor.seen.length, 1);
  });

  it('trusts of a bundle only the certificates that have the hash', () => {
    assert.deepEqual(
      certificatesWithKeyHash(`${other.ca}\n${pki.ca}`, keyHash(pki.ca)).map((pem) => pem.trim()),
      [pki.ca.trim()],
    );
    assert.deepEqual(certificatesWithKeyHash('-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----', 'x'), []);
  });

  const refusals: Record<
    string,
    { code: string; serve?: Parameters<typeof serve>[0]; join?: Parameters<typeof join>[1] }
  > = {
    'a token that the server does not know': { code: 'TokenRefused', join: { token: 'bad' } },
    'no token': { code: 'TokenMissing', join: { token: '' } },
    'a hash of another form': { code: 'CaHashInvalid', join: { caCertHash: 'md5:00' } },
    'a cluster that publishes no cluster-info': { code: 'ClusterInfoMissing', serve: { info: [403, {}] } },
    'a server that is no API server': { code: 'ClusterInfoInvalid', serve: { info: [200, '<html>'] } },
  };
  for (const [sentence, { code, ...options }] of Object.entries(refusals)) {
    it(`refuses ${sentence}`, async () => {
      using api = await serve(options.serve);
      await assert.rejects(join(api.url, options.join), failsWith(code));
    });
  }

  it('refuses an address without https, and one where nobody listens', async () => {
    await assert.rejects(join('http://127.0.0.1:1'), failsWith('ServerInvalid'));
    await assert.rejects(join('https://127.0.0.1:1'), failsWith('ServerUnreachable'));
  });
});
