import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { getCACertificates } from 'node:tls';
import type { Clock } from '../lib/clock.ts';
import { errnoOf, errorFields, messageOf } from '../lib/errors.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { type ClusterAccess, KubeconfigError, type Material, readKubeconfig } from './kubeconfig.ts';

/** What a TLS connection to the API server is made with. */
export interface TlsMaterial {
  readonly ca?: string | readonly string[];
  readonly cert?: string;
  readonly key?: string;
  readonly servername?: string;
  readonly rejectUnauthorized: boolean;
}

/**
 * Who we are and whom we trust. Files are read again when they change, so that a rotated certificate
 * or token comes into use without a restart. Files that are broken after a change (half-written, say)
 * leave the old certificate in use for as long as it is valid, and are looked at again in seconds.
 */
export interface Credentials {
  readonly server: URL;
  /** For messages: the kubeconfig's path. */
  readonly origin: string;
  /** A changed `version` means that connections made before carry an old identity. Throws KubeconfigError. */
  tls(): Promise<{ readonly version: number; readonly material: TlsMaterial }>;
  /** The bearer token, if any. Throws KubeconfigError. */
  token(): Promise<string | undefined>;
  /** The server refused us: look at every file again at the next call, without waiting for the interval. */
  invalidate(): void;
}

/** Token files are read at least this often, as client-go does; certificate files are looked at more often, by stat. */
const tokenMaxAgeMs = 60_000;
const statIntervalMs = 5_000;

const rotateHint = 'put a valid certificate and its key in place; they are read again without a restart';

/** Reads the kubeconfig and everything it names once, so that what is wrong shows at start. Throws KubeconfigError. */
export async function loadCredentials(kubeconfig: string, clock: Clock, log: Log = silentLog): Promise<Credentials> {
  const credentials = new KubeconfigCredentials(await readKubeconfig(kubeconfig), clock, log);
  await credentials.tls();
  await credentials.token();
  return credentials;
}

/** Credentials as one context of a kubeconfig gives them. */
export class KubeconfigCredentials implements Credentials {
  readonly server: URL;
  readonly origin: string;
  readonly #access: ClusterAccess;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #files: readonly string[];
  #tls: { version: number; material: TlsMaterial; fingerprint: string; clientNotAfter: number } | undefined;
  #tlsCheckedAt = Number.NEGATIVE_INFINITY;
  #brokenRotation = '';
  #token: { value: string; readAt: number; fingerprint: string } | undefined;

  constructor(access: ClusterAccess, clock: Clock, log: Log = silentLog) {
    this.#access = access;
    this.#clock = clock;
    this.#log = log;
    this.server = access.server;
    this.origin = access.file;
    const materials = [access.certificateAuthority, access.client?.certificate, access.client?.key];
    this.#files = materials.flatMap((material) => (material && 'file' in material ? [material.file] : []));
  }

  async tls(): Promise<{ version: number; material: TlsMaterial }> {
    const now = this.#clock.monotonic();
    const current = this.#tls;
    if (current && now - this.#tlsCheckedAt < statIntervalMs) return current;
    const fingerprint = await fingerprintOf(this.#files);
    // An expired certificate is not sent to the server, whose answer would only be a TLS alert.
    if (current && current.fingerprint === fingerprint && this.#clock.now() <= current.clientNotAfter) {
      this.#tlsCheckedAt = now;
      return current;
    }
    this.#tlsCheckedAt = now;
    try {
      const { material, clientNotAfter } = await this.#readTls();
      const changed = JSON.stringify(current?.material) !== JSON.stringify(material);
      this.#tls = { version: (current?.version ?? 0) + (changed ? 1 : 0), material, fingerprint, clientNotAfter };
      this.#brokenRotation = '';
      return this.#tls;
    } catch (error) {
      if (!current || this.#clock.now() > current.clientNotAfter) throw this.#forgetCheck(error);
      const message = messageOf(error);
      if (message !== this.#brokenRotation)
        this.#log.warn(errorFields(error), 'rotated credentials cannot be used yet');
      this.#brokenRotation = message;
      return current;
    }
  }

  /** Nothing usable is in memory: the next call must read again. */
  #forgetCheck(error: unknown): unknown {
    this.#tlsCheckedAt = Number.NEGATIVE_INFINITY;
    return error;
  }

  async token(): Promise<string | undefined> {
    const { token, tokenFile } = this.#access;
    if (!tokenFile) return token;
    const now = this.#clock.monotonic();
    if (this.#token && now - this.#token.readAt < statIntervalMs) return this.#token.value;
    const fingerprint = await fingerprintOf([tokenFile.file]);
    const known = this.#token;
    if (known && known.fingerprint === fingerprint && now - known.readAt < tokenMaxAgeMs) return known.value;
    const value = (await readMaterial(this.#access, tokenFile)).trim();
    if (value === '' || /[^\x21-\x7e]/.test(value)) {
      throw this.#wrong(tokenFile, value === '' ? 'is empty' : 'is not a token', 'write the bearer token into it');
    }
    this.#token = { value, readAt: now, fingerprint };
    return value;
  }

  invalidate(): void {
    this.#tlsCheckedAt = Number.NEGATIVE_INFINITY;
    if (this.#token) this.#token = { ...this.#token, readAt: Number.NEGATIVE_INFINITY };
  }

  async #readTls(): Promise<{ material: TlsMaterial; clientNotAfter: number }> {
    const { certificateAuthority, client, tlsServerName, insecureSkipTlsVerify } = this.#access;
    const ca = certificateAuthority
      ? await readMaterial(this.#access, certificateAuthority)
      : [...new Set([...getCACertificates('default'), ...getCACertificates('system')])];
    if (certificateAuthority) this.#parseCertificate(certificateAuthority, String(ca));
    const identity = client ? await this.#readClient(client) : undefined;
    return {
      clientNotAfter: identity?.notAfter ?? Number.POSITIVE_INFINITY,
      material: {
        rejectUnauthorized: !insecureSkipTlsVerify,
        ca,
        ...(identity ? { cert: identity.cert, key: identity.key } : {}),
        ...(tlsServerName === undefined ? {} : { servername: tlsServerName }),
      },
    };
  }

  async #readClient(client: { certificate: Material; key: Material }) {
    const cert = await readMaterial(this.#access, client.certificate);
    const key = await readMaterial(this.#access, client.key);
    const x509 = this.#parseCertificate(client.certificate, cert);
    const privateKey = this.#parseKey(client.key, key);
    if (!x509.checkPrivateKey(privateKey)) {
      throw this.#wrong(
        client.key,
        `is not the key of ${this.#nameOf(client.certificate)} (${subjectOf(x509)})`,
        rotateHint,
      );
    }
    const notBefore = x509.validFromDate.getTime();
    const notAfter = x509.validToDate.getTime();
    const now = this.#clock.now();
    if (now > notAfter || now < notBefore) {
      const problem = now > notAfter ? `expired at ${iso(notAfter)}` : `is valid only from ${iso(notBefore)}`;
      throw this.#wrong(
        client.certificate,
        `the client certificate (${subjectOf(x509)}) ${problem}; the clock says ${iso(now)}`,
        `check the clock; ${rotateHint}`,
        'ClientCertificateExpired',
      );
    }
    return { cert, key, notAfter };
  }

  #parseCertificate(material: Material, pem: string): X509Certificate {
    try {
      return new X509Certificate(pem);
    } catch (error) {
      throw this.#wrong(
        material,
        'holds no PEM certificate',
        'a PEM file starts with -----BEGIN CERTIFICATE-----',
        undefined,
        error,
      );
    }
  }

  #parseKey(material: Material, pem: string): KeyObject {
    try {
      return createPrivateKey(pem);
    } catch {
      const encrypted = /ENCRYPTED/.test(pem);
      throw this.#wrong(
        material,
        encrypted ? 'is encrypted with a passphrase' : 'holds no PEM private key',
        encrypted ? 'store it without one: `openssl pkey -in KEY -out KEY`' : rotateHint,
      );
    }
  }

  #nameOf(material: Material): string {
    return 'file' in material ? material.file : material.field;
  }

  #wrong(material: Material, message: string, hint: string, code?: string, cause?: unknown): KubeconfigError {
    return new KubeconfigError(
      {
        file: this.#access.file,
        field: material.field,
        message: 'file' in material ? `${material.file} ${message}` : message,
      },
      {
        hint,
        ...(code === undefined ? {} : { code }),
        ...(cause === undefined ? {} : { cause }),
        retryable: 'file' in material,
      },
    );
  }
}

const iso = (ms: number): string => new Date(ms).toISOString();

const subjectOf = (certificate: X509Certificate): string => certificate.subject.replaceAll('\n', ', ');

async function readMaterial(access: ClusterAccess, material: Material): Promise<string> {
  if ('data' in material) return material.data.toString('latin1');
  try {
    return await readFile(material.file, 'latin1');
  } catch (error) {
    throw new KubeconfigError(
      {
        file: access.file,
        field: material.field,
        message: `${material.file} cannot be read: ${errnoOf(error) ?? messageOf(error)}`,
      },
      {
        code: 'KubeconfigUnreadable',
        retryable: true,
        hint: 'put the file in place, readable by root; relative paths count from the kubeconfig',
      },
    );
  }
}

/** Changes when a file is written, replaced, or its symbolic link moved on; '' stands for a file that is not there. */
async function fingerprintOf(files: readonly string[]): Promise<string> {
  const parts = await Promise.all(
    files.map(async (file) => {
      const found = await stat(file, { bigint: true }).catch(() => undefined);
      return found ? `${found.dev}:${found.ino}:${found.size}:${found.mtimeNs}` : '';
    }),
  );
  return parts.join('|');
}
