import { createHash, X509Certificate } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { parse, stringify } from 'yaml';
import { AgentError, messageOf } from '../src/lib/errors.ts';

/*
 * Makes a kubeconfig from an API server's address, a token and the hash of the cluster's CA key.
 *
 * The server says itself which CA it trusts: the ConfigMap kube-public/cluster-info is public. It is
 * fetched from a server that nobody has proved yet, so the answer counts only when the CA's key has the
 * hash that the operator brought along (RFC 7469's pin: SHA-256 of the SubjectPublicKeyInfo). The token is
 * sent only after that, over a connection which that CA vouches for.
 */

const CLUSTER_INFO = '/api/v1/namespaces/kube-public/configmaps/cluster-info';
const TIMEOUT_MS = 15_000;
const MAX_BODY_BYTES = 1024 * 1024;

export interface JoinOptions {
  /** 'https://host:port'; a path is ignored. */
  readonly server: string;
  readonly token: string;
  /** 'sha256:' and 64 hexadecimal digits. */
  readonly caCertHash: string;
}

/** What a host needs to be a node of the cluster. */
export interface Joined {
  /** The text of a kubeconfig. */
  readonly kubeconfig: string;
  /** The cluster's certificate authority, PEM: it vouches for the server, and for the server's certificate towards nodes. */
  readonly ca: string;
}

/** Throws an AgentError that says what is wrong and what to do. */
export async function makeKubeconfig(options: JoinOptions): Promise<Joined> {
  const server = parseServer(options.server);
  const hash = parseHash(options.caCertHash);
  if (!options.token) throw new AgentError('TokenMissing', 'the token is empty', { hint: 'give one with --token' });

  const bundle = caOfClusterInfo(await get(server, CLUSTER_INFO, { rejectUnauthorized: false }));
  const ca = certificatesWithKeyHash(bundle, hash);
  if (ca.length === 0) {
    throw new AgentError('CaHashMismatch', `the CA of ${server.origin} does not have the key hash sha256:${hash}`, {
      hint: 'compare --ca-cert-hash with what the cluster says; if they are the same, somebody else answers at that address',
    });
  }

  const authorization = `Bearer ${options.token}`;
  const { status } = await get(server, '/version', { ca: ca.join(''), headers: { authorization } });
  if (status === 401) {
    throw new AgentError('TokenRefused', `${server.origin} does not accept the token`, {
      hint: 'it may have expired: make a new one',
    });
  }
  return { kubeconfig: renderKubeconfig(server, ca.join(''), options.token), ca: ca.join('') };
}

function parseServer(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:') {
    throw new AgentError('ServerInvalid', `--server ${text} is not an address of the form https://host:port`);
  }
  return url;
}

function parseHash(text: string): string {
  const hash = /^sha256:([0-9a-f]{64})$/i.exec(text)?.[1];
  if (hash === undefined) {
    throw new AgentError('CaHashInvalid', `--ca-cert-hash ${text} is not sha256: and 64 hexadecimal digits`);
  }
  return hash.toLowerCase();
}

/** The PEM bundle that a cluster-info answer names. */
function caOfClusterInfo({ status, body }: Answer): string {
  const what = `the server's ${CLUSTER_INFO}`;
  if (status !== 200) {
    throw new AgentError('ClusterInfoMissing', `${what} cannot be read: HTTP ${status}`, {
      hint: 'the cluster must publish it, or write a kubeconfig yourself and give it with --kubeconfig',
    });
  }
  try {
    const kubeconfig = parse((JSON.parse(body) as { data: { kubeconfig: string } }).data.kubeconfig) as {
      clusters: { cluster: { 'certificate-authority-data': string } }[];
    };
    const data = kubeconfig.clusters[0]?.cluster['certificate-authority-data'];
    if (!data) throw new Error('no certificate-authority-data');
    return Buffer.from(data, 'base64').toString('utf8');
  } catch (cause) {
    throw new AgentError('ClusterInfoInvalid', `${what} holds no cluster with a certificate authority`, {
      cause,
      hint: 'is --server the address of a Kubernetes API server?',
    });
  }
}

/** Only what the operator vouched for may be trusted, whatever else the unproved server put beside it. */
export function certificatesWithKeyHash(bundle: string, hash: string): string[] {
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.flatMap((pem) => {
    try {
      const key = new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' });
      return createHash('sha256').update(key).digest('hex') === hash ? [`${pem}\n`] : [];
    } catch {
      return [];
    }
  });
}

function renderKubeconfig(server: URL, ca: string, token: string): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'cluster',
        cluster: {
          server: server.origin,
          'certificate-authority-data': Buffer.from(ca).toString('base64'),
        },
      },
    ],
    users: [{ name: 'node', user: { token } }],
    contexts: [{ name: 'node@cluster', context: { cluster: 'cluster', user: 'node' } }],
    'current-context': 'node@cluster',
  });
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

interface GetOptions {
  readonly ca?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly rejectUnauthorized?: boolean;
}

function get(server: URL, path: string, options: GetOptions): Promise<Answer> {
  return new Promise<Answer>((resolve, reject) => {
    const outgoing = request(
      new URL(path, server),
      { ...options, agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) },
      (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          body += chunk;
          if (body.length > MAX_BODY_BYTES) response.destroy(new Error(`more than ${MAX_BODY_BYTES} bytes`));
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
        response.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end();
  }).catch((cause: unknown) => {
    const timedOut = cause instanceof Error && cause.name === 'AbortError';
    throw new AgentError(
      'ServerUnreachable',
      timedOut ? `${server.origin} did not answer within ${TIMEOUT_MS / 1000} s` : `${server.origin} cannot be asked`,
      { cause: timedOut ? undefined : cause, hint: 'check the address, the network and the host clock' },
    );
  });
}

/** join.js FILE CA-FILE, with KEELSON_SERVER, KEELSON_TOKEN and KEELSON_CA_CERT_HASH in the environment (arguments are public). */
async function main(): Promise<void> {
  const [output, caFile] = process.argv.slice(2);
  const { KEELSON_SERVER: server = '', KEELSON_TOKEN: token = '', KEELSON_CA_CERT_HASH: caCertHash = '' } = process.env;
  if (output === undefined || caFile === undefined) throw new AgentError('Usage', 'usage: join FILE CA-FILE');
  const { kubeconfig, ca } = await makeKubeconfig({ server, token, caCertHash });
  await writeFile(`${output}.new`, kubeconfig, { mode: 0o600 });
  await writeFile(caFile, ca);
  await rename(`${output}.new`, output);
}

if (import.meta.main) {
  main().catch((error: unknown) => {
    const hint = error instanceof AgentError && error.hint !== undefined ? `; ${error.hint}` : '';
    console.error(`${messageOf(error)}${hint}`);
    process.exitCode = 1;
  });
}
