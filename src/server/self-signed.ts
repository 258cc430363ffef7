import { createPrivateKey, generateKeyPair, type KeyObject, X509Certificate } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { issueCertificate } from '../lib/certificate.ts';

/** A certificate and its private key, both PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

const dayMs = 24 * 3600_000;
/** One that has less time left is made anew; nobody else would replace it. */
const renewBeforeMs = 30 * dayMs;
const lifetimeMs = 365 * dayMs;

/**
 * The certificate that the node serves with when the operator has given none: kept in `dir` under the
 * kubelet's names, so that it outlives restarts and another agent finds it. `hosts` are the names and
 * addresses it is for, `now` is in milliseconds since the epoch.
 */
export async function keepSelfSigned(dir: string, hosts: readonly string[], now: number): Promise<KeyPair> {
  const [certFile, keyFile] = [join(dir, 'kubelet.crt'), join(dir, 'kubelet.key')];
  const kept = await readPair(certFile, keyFile);
  if (kept && isGood(kept, now)) return kept;
  const made = await makeSelfSigned(hosts, now);
  await mkdir(dir, { recursive: true, mode: 0o755 });
  await replace(keyFile, made.key, 0o600);
  await replace(certFile, made.cert, 0o644);
  return made;
}

async function readPair(certFile: string, keyFile: string): Promise<KeyPair | undefined> {
  try {
    return { cert: await readFile(certFile, 'latin1'), key: await readFile(keyFile, 'latin1') };
  } catch {
    return undefined;
  }
}

function isGood({ cert, key }: KeyPair, now: number): boolean {
  try {
    const certificate = new X509Certificate(cert);
    // Throws for a key that is none.
    return (
      certificate.checkPrivateKey(createPrivateKey(key)) && certificate.validToDate.getTime() - now > renewBeforeMs
    );
  } catch {
    return false;
  }
}

async function makeSelfSigned(hosts: readonly string[], now: number): Promise<KeyPair> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'prime256v1' });
  // Names that differ from one certificate to the next keep clients from mixing them up.
  const commonName = `${hosts[0] ?? 'node'}@${Math.floor(now / 1000)}`;
  const cert = issueCertificate(
    {
      commonName,
      publicKey,
      hosts,
      use: 'server',
      // Clocks need not agree to the hour.
      notBefore: new Date(now - 3600_000),
      notAfter: new Date(now + lifetimeMs),
    },
    { commonName, privateKey },
  );
  return { cert, key: pem(privateKey) };
}

const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

/** Nobody ever sees half a file. */
async function replace(file: string, text: string, mode: number): Promise<void> {
  await writeFile(`${file}.new`, text, { mode });
  await rename(`${file}.new`, file);
}
