import assert from 'node:assert/strict';
import { utimes } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { KubeconfigCredentials, loadCredentials } from '../src/kubeapi/credentials.ts';
import { KubeconfigError, parseKubeconfig } from '../src/kubeapi/kubeconfig.ts';
import { FakeClock } from '../src/lib/fake-clock.ts';
import { base64, kubeconfigText, memoryLog, pki, scratchDir } from './kubeapi-support.ts';
import { EXPIRED, Pki } from './pki/pki.ts';

const realNow = () => new FakeClock(Date.now());
const server = 'https://192.0.2.1:6443';
const node = pki.client('system:node:a', ['system:nodes']);

describe('a kubeconfig that cannot be used is refused in one sentence', () => {
  const valid = { 'client-certificate-data': base64(node.cert), 'client-key-data': base64(node.key) };
  const other = pki.client('system:node:b');
  const expired = pki.client('system:node:a', ['system:nodes'], EXPIRED);
  const future = pki.client('system:node:a', [], {
    notBefore: new Date(Date.now() + 2 * 86_400_000),
    notAfter: new Date(Date.now() + 9 * 86_400_000),
  });
  const identity = (pair: { cert: string; key: string }) => ({
    'client-certificate-data': base64(pair.cert),
    'client-key-data': base64(pair.key),
  });
  const cases: Record<string, { text: string; code: string; field: string; says: RegExp; hint: RegExp }> = {
    'an empty file': {
      text: '',
      code: 'KubeconfigMalformed',
      field: '',
      says: /is empty/,
      hint: /write the file anew/,
    },
    'a tab in the YAML, with line and column': {
      text: 'apiVersion: v1\nclusters:\n\t- name: a\n',
      code: 'KubeconfigMalformed',
      field: '',
      says: /config:3:1: is not YAML/,
      hint: /./,
    },
    'a list instead of a mapping': {
      text: '- a\n',
      code: 'KubeconfigMalformed',
      field: '',
      says: /mapping/,
      hint: /./,
    },
    'a Pod': { text: 'kind: Pod\n', code: 'KubeconfigMalformed', field: 'kind', says: /"Pod"/, hint: /./ },
    'no current-context': {
      text: 'kind: Config\n',
      code: 'KubeconfigInvalid',
      field: 'current-context',
      says: /missing/,
      hint: /use-context/,
    },
    'a current-context that is not there': {
      text: kubeconfigText(server).replace('"current-context":"ctx"', '"current-context":"prod"'),
      code: 'KubeconfigMissing',
      field: 'current-context',
      says: /names "prod"/,
      hint: /the file has: ctx/,
    },
    'a user that is not there': {
      text: kubeconfigText(server).replace('"user":"u"', '"user":"v"'),
      code: 'KubeconfigMissing',
      field: 'contexts[ctx].context.user',
      says: /names "v"/,
      hint: /the file has: u/,
    },
    'a server that is no URL': {
      text: kubeconfigText('192.0.2.1:6443'),
      code: 'KubeconfigInvalid',
      field: 'clusters[c].cluster.server',
      says: /"192.0.2.1:6443"/,
      hint: /https:/,
    },
    'a proxy': {
      text: kubeconfigText(server, { cluster: { 'proxy-url': 'http://joe:secret@proxy:3128' } }),
      code: 'KubeconfigUnsupported',
      field: 'clusters[c].cluster.proxy-url',
      says: /^(?!.*joe:secret).*proxies are not supported/,
      hint: /remove/,
    },
    'an exec plugin': {
      text: kubeconfigText(server, { user: { exec: { command: 'aws' } } }),
      code: 'KubeconfigUnsupported',
      field: 'users[u].user.exec',
      says: /not supported/,
      hint: /client certificate/,
    },
    'an auth provider': {
      text: kubeconfigText(server, { user: { 'auth-provider': { name: 'oidc' } } }),
      code: 'KubeconfigUnsupported',
      field: 'users[u].user.auth-provider',
      says: /not supported/,
      hint: /token/,
    },
    'inline data that is not base64': {
      text: kubeconfigText(server, { user: { ...valid, 'client-key-data': '-----BEGIN' } }),
      code: 'KubeconfigInvalid',
      field: 'users[u].user.client-key-data',
      says: /not base64/,
      hint: /base64/,
    },
    'a certificate without key': {
      text: kubeconfigText(server, { user: { 'client-certificate-data': base64(node.cert) } }),
      code: 'KubeconfigInvalid',
      field: 'users[u].user.client-key',
      says: /missing/,
      hint: /./,
    },
    "another certificate's key": {
      text: kubeconfigText(server, { user: { ...valid, 'client-key-data': base64(other.key) } }),
      code: 'KubeconfigInvalid',
      field: 'users[u].user.client-key-data',
      says: /is not the key of .*CN=system:node:a/,
      hint: /./,
    },
    'an expired client certificate': {
      text: kubeconfigText(server, { user: identity(expired) }),
      code: 'ClientCertificateExpired',
      field: 'users[u].user.client-certificate-data',
      says: /CN=system:node:a\) expired at \d{4}-/,
      hint: /clock/,
    },
    'a client certificate from the future, as a clock two days off sees it': {
      text: kubeconfigText(server, { user: identity(future) }),
      code: 'ClientCertificateExpired',
      field: 'users[u].user.client-certificate-data',
      says: /valid only from .*the clock says/,
      hint: /clock/,
    },
    'an authority that is no certificate': {
      text: kubeconfigText(server, { cluster: { 'certificate-authority-data': base64('hello') } }),
      code: 'KubeconfigInvalid',
      field: 'clusters[c].cluster.certificate-authority-data',
      says: /no PEM certificate/,
      hint: /BEGIN CERTIFICATE/,
    },
    'a certificate file that is not there': {
      text: kubeconfigText(server, { user: { 'client-certificate': 'pki/gone.crt', 'client-key': 'pki/gone.key' } }),
      code: 'KubeconfigUnreadable',
      field: 'users[u].user.client-certificate',
      says: /\/pki\/gone.crt cannot be read: ENOENT/,
      hint: /relative/,
    },
    'a token over plain HTTP': {
      text: kubeconfigText('http://192.0.2.1', { user: { token: 't0psecret' } }),
      code: 'KubeconfigInvalid',
      field: 'clusters[c].cluster.server',
      says: /^(?!.*t0psecret).*in clear/,
      hint: /https/,
    },
    'an authority together with insecure-skip-tls-verify': {
      text: kubeconfigText(server, { cluster: { 'insecure-skip-tls-verify': true } }),
      code: 'KubeconfigInvalid',
      field: 'clusters[c].cluster.insecure-skip-tls-verify',
      says: /although/,
      hint: /remove/,
    },
  };
  for (const [sentence, { text, code, field, says, hint }] of Object.entries(cases)) {
    it(sentence, async () => {
      await using dir = await scratchDir();
      const file = await dir.write('config', text);
      await assert.rejects(loadCredentials(file, realNow()), (error: unknown) => {
        assert.ok(error instanceof KubeconfigError, String(error));
        assert.deepEqual({ code: error.code, field: error.field }, { code, field });
        assert.match(error.message, says);
        assert.ok(error.message.startsWith(file));
        assert.match(error.hint ?? '', hint);
        return true;
      });
    });
  }

  it('a file that is not there', async () => {
    await assert.rejects(loadCredentials('/nonexistent/kubeconfig', realNow()), {
      code: 'KubeconfigUnreadable',
      message: '/nonexistent/kubeconfig: cannot be read: ENOENT',
    });
  });
});

describe('credentials', () => {
  it('come from files beside the kubeconfig, in one file even', async () => {
    await using dir = await scratchDir();
    await dir.write('both.pem', node.cert + node.key);
    await dir.write('ca.crt', pki.ca);
    const user = { 'client-certificate': 'both.pem', 'client-key': 'both.pem' };
    const cluster = {
      'certificate-authority-data': undefined,
      'certificate-authority': 'ca.crt',
      'tls-server-name': 'kubernetes',
    };
    const credentials = await loadCredentials(
      await dir.write('config', kubeconfigText(server, { cluster, user })),
      realNow(),
    );
    const { material } = await credentials.tls();
    assert.equal(material.ca, pki.ca);
    assert.equal(material.servername, 'kubernetes');
    assert.equal(material.rejectUnauthorized, true);
    assert.ok(material.cert?.includes(node.cert));
  });

  it('trust the public authorities when the kubeconfig names none', async () => {
    await using dir = await scratchDir();
    const cluster = { 'certificate-authority-data': undefined };
    const credentials = await loadCredentials(
      await dir.write('config', kubeconfigText(server, { cluster })),
      realNow(),
    );
    const { material } = await credentials.tls();
    assert.ok((material.ca?.length ?? 0) > 50);
  });

  it('prefer a token file to a token, trim it, and read it again within a minute', async () => {
    await using dir = await scratchDir();
    const file = await dir.write('token', 'first\n');
    const clock = realNow();
    const access = parseKubeconfig(
      `${dir.path}/config`,
      kubeconfigText(server, { user: { token: 'inline', tokenFile: 'token' } }),
    );
    const credentials = new KubeconfigCredentials(access, clock);
    assert.equal(await credentials.token(), 'first');
    await dir.write('token', 'other\n');
    await utimes(file, 1, 1);
    assert.equal(await credentials.token(), 'first', 'not looked at again at once');
    await clock.advance(60_000);
    assert.equal(await credentials.token(), 'other');
    await dir.write('token', 'third\n');
    credentials.invalidate();
    assert.equal(await credentials.token(), 'third', 'after a refusal the file is read at once');
  });

  it('follow a rotated client certificate, and keep the old one while the files do not fit together', async () => {
    await using dir = await scratchDir();
    const clock = realNow();
    const log = memoryLog();
    const renewed = pki.client('system:node:a', ['system:nodes']);
    await dir.write('c.crt', node.cert);
    await dir.write('c.key', node.key);
    const user = { 'client-certificate': 'c.crt', 'client-key': 'c.key' };
    const credentials = await loadCredentials(await dir.write('config', kubeconfigText(server, { user })), clock, log);
    const first = await credentials.tls();
    await dir.write('c.crt', renewed.cert);
    await clock.advance(10_000);
    assert.equal((await credentials.tls()).version, first.version);
    assert.deepEqual(
      log.lines.map((line) => line.message),
      ['rotated credentials cannot be used yet'],
    );
    await dir.write('c.key', renewed.key);
    await clock.advance(10_000);
    const second = await credentials.tls();
    assert.equal(second.version, first.version + 1);
    assert.equal(second.material.cert, renewed.cert);
  });

  it('are an error from the moment the client certificate expires, until a new one is there', async () => {
    await using dir = await scratchDir();
    const clock = realNow();
    const soon = pki.client('system:node:a', [], { notAfter: new Date(clock.now() + 3_600_000) });
    await dir.write('c.crt', soon.cert);
    await dir.write('c.key', soon.key);
    const user = { 'client-certificate': 'c.crt', 'client-key': 'c.key' };
    const credentials = await loadCredentials(await dir.write('config', kubeconfigText(server, { user })), clock);
    await clock.advance(3_602_000);
    await assert.rejects(credentials.tls(), { code: 'ClientCertificateExpired' });
    const renewed = Pki.create('another').client('system:node:a');
    await dir.write('c.crt', renewed.cert);
    await dir.write('c.key', renewed.key);
    assert.equal((await credentials.tls()).material.cert, renewed.cert);
  });
});
