import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { issueCertificate } from '../../src/lib/certificate.ts';

/** A certificate and its private key, both PEM. */
export interface Credential {
  readonly cert: string;
  readonly key: string;
}

export interface Validity {
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

const DAY = 24 * 3600 * 1000;

/** A certificate that was good once: for tests of expired credentials. */
export const EXPIRED: Validity = {
  notBefore: new Date(Date.now() - 3 * DAY),
  notAfter: new Date(Date.now() - 2 * DAY),
};

/**
 * A certificate authority of the tests' own with everything a cluster needs from one. It works in
 * this process (P-256 keys), so making one costs milliseconds.
 */
export class Pki {
  /** The authority's certificate, PEM: what goes into a kubeconfig. */
  readonly ca: string;
  readonly #name: string;
  readonly #key: KeyObject;

  private constructor(name: string, key: KeyObject, ca: string) {
    this.#name = name;
    this.#key = key;
    this.ca = ca;
  }

  static create(name = 'test-ca', validity: Validity = {}): Pki {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const issuer = { commonName: name, privateKey };
    const ca = issueCertificate({ commonName: name, publicKey, use: 'ca', ...periodOf(validity, 3650) }, issuer);
    return new Pki(name, privateKey, ca);
  }

  /** The authority kept in `dir` (ca.crt, ca.key), made there when there is none yet. */
  static openOrCreate(dir: string, name = 'test-ca'): Pki {
    const [certFile, keyFile] = [join(dir, 'ca.crt'), join(dir, 'ca.key')];
    if (existsSync(certFile) && existsSync(keyFile)) {
      return new Pki(name, createPrivateKey(readFileSync(keyFile)), readFileSync(certFile, 'utf8'));
    }
    const pki = Pki.create(name);
    mkdirSync(dir, { recursive: true });
    writeFileSync(certFile, pki.ca);
    writeFileSync(keyFile, toPem(pki.#key), { mode: 0o600 });
    return pki;
  }

  /** A serving certificate for DNS names and IP addresses; the first host is also the common name. */
  serving(hosts: readonly string[], validity: Validity = {}): Credential {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    return this.#issue(privateKey, {
      commonName: hosts[0] ?? 'localhost',
      publicKey,
      hosts,
      use: 'server',
      ...periodOf(validity, 365),
    });
  }

  /** A client certificate: the user as CN, the groups as O. */
  client(user: string, groups: readonly string[] = [], validity: Validity = {}): Credential {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    return this.#issue(privateKey, {
      commonName: user,
      organizations: groups,
      publicKey,
      use: 'client',
      ...periodOf(validity, 365),
    });
  }

  #issue(privateKey: KeyObject, request: Parameters<typeof issueCertificate>[0]): Credential {
    const issuer = { commonName: this.#name, privateKey: this.#key };
    return { cert: issueCertificate(request, issuer), key: toPem(privateKey) };
  }
}

/** A P-256 key pair in PEM, as service-account tokens are signed with. */
export function signingKey(): { readonly privateKey: string; readonly publicKey: string } {
  const privateKey = toPem(generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey);
  return { privateKey, publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString() };
}

const toPem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

/** An hour of slack at the start: clocks of machines in a test need not agree to the second. */
function periodOf(validity: Validity, days: number): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: validity.notBefore ?? new Date(Date.now() - 3600_000),
    notAfter: validity.notAfter ?? new Date(Date.now() + days * DAY),
  };
}
