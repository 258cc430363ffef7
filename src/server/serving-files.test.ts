import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Pki } from '../../test/pki/pki.ts';
import { systemClock } from '../lib/clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { keepSelfSigned } from './self-signed.ts';
import { ServingFiles, type ServingMaterial } from './serving-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'serving-'));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);
const now = Date.UTC(2026, 5, 1);
const dayMs = 24 * 3600_000;

function put(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) writeFileSync(at(name), text);
}

const servingFiles = (log: Log = silentLog) =>
  new ServingFiles({
    certFile: at('tls.crt'),
    keyFile: at('tls.key'),
    certDir: at('pki'),
    hosts: ['node-a'],
    clientCaFile: at('ca.crt'),
    clock: systemClock,
    log,
  });

test('a self-signed certificate is kept, for the node and its addresses, and its key for root alone', async () => {
  const dir = at('own');
  const first = await keepSelfSigned(dir, ['node-a', '192.0.2.2', '2001:db8::1'], now);
  const certificate = new X509Certificate(first.cert);
  assert.equal(certificate.subjectAltName, 'DNS:node-a, IP Address:192.0.2.2, IP Address:2001:DB8:0:0:0:0:0:1');
  assert.equal(statSync(join(dir, 'kubelet.key')).mode & 0o777, 0o600);
  assert.deepEqual(await keepSelfSigned(dir, ['node-a'], now + dayMs), first);
});

test('one that cannot be used any more is made anew', async () => {
  const dir = at('anew');
  const first = await keepSelfSigned(dir, ['n'], now);
  const table: Record<string, [() => void, number]> = {
    'it expires soon': [() => {}, now + 340 * dayMs],
    'it is garbage': [() => writeFileSync(join(dir, 'kubelet.crt'), 'x'), now],
    'its key is gone': [() => rmSync(join(dir, 'kubelet.key')), now],
    'its key is garbage': [() => writeFileSync(join(dir, 'kubelet.key'), 'x'), now],
    'its key is that of another': [() => writeFileSync(join(dir, 'kubelet.key'), first.key), now],
  };
  let last = first;
  for (const [sentence, [spoil, moment]] of Object.entries(table)) {
    spoil();
    const made = await keepSelfSigned(dir, ['n'], moment);
    assert.notEqual(made.cert, last.cert, sentence);
    assert.equal(readFileSync(join(dir, 'kubelet.crt'), 'latin1'), made.cert, sentence);
    last = made;
  }
});

test('a file that cannot be used is named, with what is wrong', async () => {
  const pki = Pki.create();
  const { cert, key } = pki.serving(['n']);
  const good = { 'tls.crt': cert, 'tls.key': key, 'ca.crt': pki.ca };
  put(good);
  assert.deepEqual(await servingFiles().read(), { cert, key, clientCa: pki.ca });
  const table: Record<string, [Record<string, string>, RegExp]> = {
    'no certificate in it': [{ 'tls.crt': 'x' }, /^tlsCertFile: .*tls\.crt holds no PEM certificate/],
    'no key in it': [{ 'tls.key': 'x' }, /^tlsPrivateKeyFile: .*tls\.key holds no PEM private key/],
    'a key of another': [{ 'tls.key': pki.serving(['n']).key }, /tls\.key is not the key of .*tls\.crt$/],
    'no authority in it': [{ 'ca.crt': '' }, /^authentication\.x509\.clientCAFile: .*ca\.crt holds no PEM certificate/],
  };
  for (const [sentence, [files, message]] of Object.entries(table)) {
    put({ ...good, ...files });
    await assert.rejects(servingFiles().read(), { message }, sentence);
  }
  put(good);
  rmSync(at('ca.crt'));
  await assert.rejects(servingFiles().read(), { message: /clientCAFile: .*ca\.crt cannot be read: ENOENT$/ });
});

test('changes are told as they happen, and broken files leave what there was', async () => {
  const pki = Pki.create();
  const [first, second] = [pki.serving(['n']), pki.serving(['n'])];
  put({ 'tls.crt': first.cert, 'tls.key': first.key, 'ca.crt': pki.ca });
  const warned = Promise.withResolvers<void>();
  const files = servingFiles({ ...silentLog, warn: () => warned.resolve() });
  // The watching itself keeps no process alive.
  const alive = setInterval(() => {}, 60_000);
  const end = new AbortController();
  const changes: ServingMaterial[] = [];
  let changed = Promise.withResolvers<void>();
  const watching = files.watch(
    await files.read(),
    (material) => {
      changes.push(material);
      changed.resolve();
    },
    end.signal,
  );
  put({ 'tls.crt': 'half' });
  await warned.promise;
  assert.equal(changes.length, 0);
  put({ 'tls.crt': second.cert, 'tls.key': second.key });
  await changed.promise;
  assert.equal(changes.at(-1)?.cert, second.cert);
  changed = Promise.withResolvers();
  const other = Pki.create();
  put({ 'ca.crt': other.ca });
  await changed.promise;
  assert.equal(changes.at(-1)?.clientCa, other.ca);
  end.abort();
  await watching;
  clearInterval(alive);
});
