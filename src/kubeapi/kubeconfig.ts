import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { isMap, LineCounter, parseDocument } from 'yaml';
import { AgentError, errnoOf, messageOf } from '../lib/errors.ts';

/** A kubeconfig, or a file it names, that cannot be used as it is. */
export class KubeconfigError extends AgentError {
  /** The kubeconfig's path. */
  readonly file: string;
  /** The field at fault, such as `users[node].user.client-key`; '' for the file as a whole. */
  readonly field: string;

  constructor(
    problem: { file: string; field?: string; message: string },
    options: { hint: string; code?: string; cause?: unknown; retryable?: boolean },
  ) {
    const where = problem.field ? `${problem.file}: ${problem.field}` : problem.file;
    super(options.code ?? 'KubeconfigInvalid', `${where}: ${problem.message}`, options);
    this.file = problem.file;
    this.field = problem.field ?? '';
  }
}

/** Credentials are named by a file, which may be rotated, or given in the kubeconfig itself. */
export type Material = { readonly field: string } & ({ readonly file: string } | { readonly data: Buffer });

/** What the current context of a kubeconfig says; no file it names has been read yet. */
export interface ClusterAccess {
  /** The kubeconfig's path, for messages. */
  readonly file: string;
  readonly context: string;
  readonly server: URL;
  readonly certificateAuthority?: Material;
  readonly insecureSkipTlsVerify: boolean;
  /** The name to expect in the server's certificate instead of the URL's host. */
  readonly tlsServerName?: string;
  readonly client?: { readonly certificate: Material; readonly key: Material };
  readonly token?: string;
  /** Wins over `token`, as in client-go. */
  readonly tokenFile?: Material & { readonly file: string };
}

const remakeHint =
  'write the file anew, for example with `kubeadm kubeconfig user` or `kubectl config view --raw --minify`';

/** Reads a kubeconfig and resolves its current context. Throws KubeconfigError. */
export async function readKubeconfig(path: string): Promise<ClusterAccess> {
  const file = resolve(path);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new KubeconfigError(
      { file, message: `cannot be read: ${errnoOf(error) ?? messageOf(error)}` },
      {
        code: 'KubeconfigUnreadable',
        hint: 'check --kubeconfig, and that the file is there and readable by root',
      },
    );
  }
  return parseKubeconfig(file, text);
}

/** The pure half of `readKubeconfig`; relative paths count from the kubeconfig's folder. */
export function parseKubeconfig(file: string, text: string): ClusterAccess {
  const root = parseYaml(file, text);
  const context = stringAt(root, 'current-context');
  if (!context) {
    throw root.wrong('current-context', 'is missing', 'name one of the contexts: `kubectl config use-context NAME`');
  }
  const chosen = named(root, 'contexts', 'context', context, 'current-context');
  const clusterName = required(chosen, 'cluster');
  const cluster = named(root, 'clusters', 'cluster', clusterName, `${chosen.path}.cluster`);
  const userName = stringAt(chosen, 'user');
  const user = userName ? named(root, 'users', 'user', userName, `${chosen.path}.user`) : undefined;
  const server = serverOf(cluster);
  const access: ClusterAccess = {
    file,
    context,
    server,
    insecureSkipTlsVerify: flag(cluster, 'insecure-skip-tls-verify'),
    ...optional('tlsServerName', stringAt(cluster, 'tls-server-name')),
    ...optional('certificateAuthority', material(cluster, 'certificate-authority')),
    ...(user ? identityOf(user) : {}),
  };
  refuseContradictions(access, cluster, user);
  return access;
}

/** A mapping of the file with its path, so that complaints can name the field. */
interface Section {
  readonly file: string;
  readonly path: string;
  readonly fields: Readonly<Record<string, unknown>>;
  wrong(field: string, message: string, hint: string, code?: string): KubeconfigError;
}

function section(file: string, path: string, fields: Readonly<Record<string, unknown>>): Section {
  return {
    file,
    path,
    fields,
    wrong: (field, message, hint, code) =>
      new KubeconfigError(
        { file, field: path ? `${path}.${field}` : field, message },
        code === undefined ? { hint } : { hint, code },
      ),
  };
}

function parseYaml(file: string, text: string): Section {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error) {
    const { line, col } = lines.linePos(error.pos[0]);
    throw new KubeconfigError(
      { file: `${file}:${line}:${col}`, message: `is not YAML: ${error.message}` },
      { code: 'KubeconfigMalformed', hint: remakeHint },
    );
  }
  if (!isMap(document.contents)) {
    throw new KubeconfigError(
      { file, message: text.trim() === '' ? 'is empty' : 'is not a kubeconfig: expected a mapping' },
      { code: 'KubeconfigMalformed', hint: remakeHint },
    );
  }
  const root = section(file, '', document.toJS() as Record<string, unknown>);
  const kind = root.fields['kind'];
  if (kind !== undefined && kind !== 'Config') {
    throw root.wrong(
      'kind',
      `is ${JSON.stringify(kind)}, expected "Config"`,
      'give a kubeconfig file',
      'KubeconfigMalformed',
    );
  }
  return root;
}

function stringAt(from: Section, field: string): string | undefined {
  const value = from.fields[field];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') throw from.wrong(field, `is a ${typeof value}, expected a string`, 'quote the value');
  return value;
}

function required(from: Section, field: string): string {
  const value = stringAt(from, field);
  if (value === undefined) throw from.wrong(field, 'is missing', remakeHint);
  return value;
}

function flag(from: Section, field: string): boolean {
  const value = from.fields[field] ?? false;
  if (typeof value !== 'boolean') throw from.wrong(field, `is ${JSON.stringify(value)}`, 'write true or false');
  return value;
}

const optional = <K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } =>
  value === undefined ? {} : ({ [key]: value } as { [key in K]?: V });

/** The entry of that name in one of the three lists, e.g. `clusters[name].cluster`. */
function named(root: Section, list: string, part: string, name: string, referredBy: string): Section {
  const entries = root.fields[list] ?? [];
  if (!Array.isArray(entries)) throw root.wrong(list, 'is not a list', remakeHint);
  const entry = entries.find((candidate) => isRecord(candidate) && candidate['name'] === name) as
    | Record<string, unknown>
    | undefined;
  if (!entry) {
    const known = entries.flatMap((candidate) => (isRecord(candidate) ? [String(candidate['name'])] : []));
    throw root.wrong(
      referredBy,
      `names "${name}", which is not among ${list}`,
      known.length > 0 ? `the file has: ${known.join(', ')}` : `the file has no ${list}`,
      'KubeconfigMissing',
    );
  }
  const fields = entry[part] ?? {};
  if (!isRecord(fields)) throw root.wrong(`${list}[${name}].${part}`, 'is not a mapping', remakeHint);
  return section(root.file, `${list}[${name}].${part}`, fields);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function serverOf(cluster: Section): URL {
  const value = required(cluster, 'server');
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw cluster.wrong('server', `is "${value}"`, 'give a URL such as https://192.0.2.1:6443');
  }
  if (cluster.fields['proxy-url']) {
    throw cluster.wrong(
      'proxy-url',
      `is "${redactedUrl(String(cluster.fields['proxy-url']))}", and proxies are not supported`,
      'remove the field and let the node reach the API server directly',
      'KubeconfigUnsupported',
    );
  }
  return url;
}

function redactedUrl(value: string): string {
  if (!URL.canParse(value)) return value;
  const url = new URL(value);
  url.password = url.password && 'redacted';
  return url.href;
}

function material(from: Section, field: string): Material | undefined {
  const name = `${from.path}.${field}`;
  const inline = stringAt(from, `${field}-data`);
  if (inline !== undefined) {
    // Buffer skips over what is not base64; a round trip shows that nothing was skipped.
    const data = Buffer.from(inline, 'base64');
    if (data.toString('base64').replace(/=+$/, '') !== inline.replace(/\s/g, '').replace(/=+$/, '')) {
      throw from.wrong(`${field}-data`, 'is not base64', `encode the PEM file with \`base64 -w0\``);
    }
    return { field: `${name}-data`, data };
  }
  const path = stringAt(from, field);
  return path === undefined ? undefined : { field: name, file: resolve(dirname(from.file), path) };
}

function identityOf(user: Section): Pick<ClusterAccess, 'client' | 'token' | 'tokenFile'> {
  refuseUnsupported(user);
  const certificate = material(user, 'client-certificate');
  const key = material(user, 'client-key');
  if (certificate && !key) throw user.wrong('client-key', 'is missing beside client-certificate', remakeHint);
  if (key && !certificate) throw user.wrong('client-certificate', 'is missing beside client-key', remakeHint);
  const tokenPath = stringAt(user, 'tokenFile');
  return {
    ...(certificate && key ? { client: { certificate, key } } : {}),
    ...optional('token', stringAt(user, 'token')),
    ...(tokenPath
      ? { tokenFile: { field: `${user.path}.tokenFile`, file: resolve(dirname(user.file), tokenPath) } }
      : {}),
  };
}

function refuseUnsupported(user: Section): void {
  const remedy = 'give the node a client certificate (client-certificate, client-key) or a token (token, tokenFile)';
  for (const field of ['exec', 'auth-provider', 'username', 'password', 'as', 'as-groups', 'as-uid', 'as-user-extra']) {
    if (user.fields[field]) throw user.wrong(field, 'is not supported', remedy, 'KubeconfigUnsupported');
  }
}

function refuseContradictions(access: ClusterAccess, cluster: Section, user: Section | undefined): void {
  if (access.insecureSkipTlsVerify && access.certificateAuthority) {
    throw cluster.wrong(
      'insecure-skip-tls-verify',
      'is true although a certificate-authority is given',
      'remove one of the two, better the first',
    );
  }
  if (access.server.protocol === 'http:' && user && (access.client || access.token || access.tokenFile)) {
    throw cluster.wrong(
      'server',
      `is "${access.server.href}", over which the credentials of ${user.path} would travel in clear`,
      'use an https:// URL',
    );
  }
}
