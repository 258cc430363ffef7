import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errnoOf, errorFields, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { DirectoryWatch } from '../pod/manifest-dir-watch.ts';
import { type KeyPair, keepSelfSigned } from './self-signed.ts';

/** What the listener shows, and whom it believes; PEM. */
export interface ServingMaterial extends KeyPair {
  /** Authorities of client certificates; absent when none are configured: then no client certificate counts. */
  readonly clientCa?: string;
}

export interface ServingFilesOptions {
  /** Both or none; without them a self-signed certificate is kept in `certDir`. */
  readonly certFile: string;
  readonly keyFile: string;
  readonly certDir: string;
  /** Names and addresses for the self-signed certificate. */
  readonly hosts: readonly string[];
  /** Empty: none. */
  readonly clientCaFile: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Events can be missed, as when a folder is mounted over: the files are looked at this often anyway. */
const rereadMs = 60_000;
/** Several files are replaced together, and one of them in several writes. */
const settleMs = 200;

/**
 * The files behind the node's port, read when they change. Files that cannot be used, half-written
 * maybe, leave what was good before in use.
 */
export class ServingFiles {
  readonly #o: ServingFilesOptions;
  /** What was said of files that cannot be used: once is enough. */
  #said = '';

  constructor(options: ServingFilesOptions) {
    this.#o = options;
  }

  /** Throws an AgentError that names the file and what is wrong with it. */
  async read(): Promise<ServingMaterial> {
    const { certFile, keyFile, certDir, hosts, clientCaFile, clock } = this.#o;
    const pair =
      certFile && keyFile
        ? { cert: await readText('tlsCertFile', certFile), key: await readText('tlsPrivateKeyFile', keyFile) }
        : await keepSelfSigned(certDir, hosts, clock.now()).catch((cause: unknown) => {
            throw new AgentError('ServingFiles', `no self-signed certificate can be kept in ${certDir}`, { cause });
          });
    const certificate = certificateIn('tlsCertFile', certFile, pair.cert);
    if (!certificate.checkPrivateKey(keyIn(keyFile, pair.key))) {
      throw wrong('tlsPrivateKeyFile', keyFile, `is not the key of ${certFile}`);
    }
    if (!clientCaFile) return pair;
    const clientCa = await readText('authentication.x509.clientCAFile', clientCaFile);
    certificateIn('authentication.x509.clientCAFile', clientCaFile, clientCa);
    return { ...pair, clientCa };
  }

  /** Calls `changed` with what is new until the signal is aborted. */
  async watch(
    known: ServingMaterial,
    changed: (material: ServingMaterial) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { certFile, keyFile, clientCaFile, clock } = this.#o;
    const folders = new Set([certFile, keyFile, clientCaFile].filter(Boolean).map((file) => dirname(file)));
    let wake = () => {};
    const onAbort = () => wake();
    signal.addEventListener('abort', onAbort);
    const watches = [...folders].map((folder) => new DirectoryWatch(folder, () => wake()));
    let current = known;
    try {
      while (!signal.aborted) {
        const { promise: woken, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        for (const watch of watches) await watch.refresh();
        const material = await this.#reread();
        if (material && JSON.stringify(material) !== JSON.stringify(current)) {
          current = material;
          changed(material);
        }
        using _reread = clock.after(rereadMs, resolve);
        if (!signal.aborted) await woken;
        await clock.sleep(settleMs, signal).catch(() => {});
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      for (const watch of watches) watch.close();
    }
  }

  async #reread(): Promise<ServingMaterial | undefined> {
    try {
      const material = await this.read();
      this.#said = '';
      return material;
    } catch (error) {
      const message = messageOf(error);
      if (message !== this.#said) {
        this.#o.log.warn(errorFields(error), "files of the node's port cannot be used: the old ones stay in use");
      }
      this.#said = message;
      return undefined;
    }
  }
}

async function readText(field: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'latin1');
  } catch (cause) {
    throw wrong(field, file, `cannot be read: ${errnoOf(cause) ?? messageOf(cause)}`, cause);
  }
}

function certificateIn(field: string, file: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw wrong(field, file, 'holds no PEM certificate', cause);
  }
}

function keyIn(file: string, pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw wrong('tlsPrivateKeyFile', file, 'holds no PEM private key, or an encrypted one', cause);
  }
}

function wrong(field: string, file: string, message: string, cause?: unknown): AgentError {
  return new AgentError('ServingFiles', `${field}: ${file} ${message}`, {
    hint: 'put a good PEM file in place: it is read again without a restart',
    ...(cause === undefined ? {} : { cause }),
  });
}
