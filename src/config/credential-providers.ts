import { accessSync, constants, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, messageOf, unreadableText } from '../lib/errors.ts';
import { boolean, type Complain, isRecord, list, object, oneOf, pathText, quote, string, text } from '../lib/schema.ts';
import { parseYaml, type YamlDocument } from '../lib/yaml-source.ts';
import type { ConfigProblem } from './config-error.ts';
import { duration, isQualifiedName } from './values.ts';

/** A program that knows credentials for images, as CredentialProviderConfig describes it. */
export interface CredentialProvider {
  readonly name: string;
  readonly matchImages: readonly string[];
  /** Milliseconds. */
  readonly defaultCacheDuration: number;
  readonly apiVersion: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly tokenAttributes?: TokenAttributes;
}

/** What of a pod's service account the program is given. */
export interface TokenAttributes {
  readonly audience: string;
  readonly cacheType: 'ServiceAccount' | 'Token';
  readonly requireServiceAccount: boolean;
  readonly requiredAnnotationKeys: readonly string[];
  readonly optionalAnnotationKeys: readonly string[];
}

/** The providers, and the folder in which their programs lie. */
export interface CredentialProviders {
  readonly binDir: string;
  readonly providers: readonly CredentialProvider[];
}

const kind = 'CredentialProviderConfig';
const group = 'kubelet.config.k8s.io';
const versions = ['v1', 'v1beta1', 'v1alpha1'] as const;
const requestVersions = versions.map((version) => `credentialprovider.kubelet.k8s.io/${version}`);
const [tokenVersion] = requestVersions;

const tokenAttributes = object({
  serviceAccountTokenAudience: string,
  cacheType: oneOf('ServiceAccount', 'Token'),
  requireServiceAccount: boolean,
  requiredServiceAccountAnnotationKeys: list(string),
  optionalServiceAccountAnnotationKeys: list(string),
});

const schema = object({
  kind: string,
  apiVersion: string,
  providers: list(
    object({
      name: text(
        'the name of a program: no slash, no space, not . or ..',
        (v) => v !== '' && !/[/ ]/.test(v) && !/^\.{1,2}$/.test(v),
      ),
      matchImages: list(
        text('a registry such as *.example.com or registry.example:5000/team, without https://', isImagePattern),
      ),
      defaultCacheDuration: duration(),
      apiVersion: oneOf(...requestVersions),
      args: list(string),
      env: list(object({ name: string, value: string })),
      tokenAttributes,
    }),
  ),
});

type Draft = NonNullable<NonNullable<ReturnType<typeof schema.read>>['providers']>[number];

function isImagePattern(value: string): boolean {
  return (
    value !== '' &&
    !value.includes('://') &&
    !/\s/.test(value) &&
    URL.canParse(`https://${value.replace(/[*?]/g, 'x')}`)
  );
}

/**
 * Reads a CredentialProviderConfig, or every one in a folder (*.json, *.yaml, *.yml by name), and looks
 * whether the programs are there. Every problem found is added to `problems`.
 */
export function readCredentialProviders(path: string, binDir: string, problems: ConfigProblem[]): CredentialProviders {
  const drafts = configFiles(path, problems).flatMap((file) => readFile(file, problems));
  const first = new Map<string, string>();
  const providers = drafts.flatMap(({ file, document, at, draft }) => {
    const refuse: Refuse = (field, message, hint) => {
      const steps = [...at, ...field];
      problems.push({ file, ...document.position(steps), path: pathText(steps), message, ...(hint ? { hint } : {}) });
    };
    const provider = complete(draft, refuse);
    if (!provider) return [];
    const before = first.get(provider.name);
    if (before)
      refuse(['name'], `a second provider "${provider.name}"; the first is in ${before}`, 'leave one of them out');
    first.set(provider.name, before ?? file);
    checkProgram(join(binDir, provider.name), refuse);
    return [provider];
  });
  return { binDir, providers };
}

type Refuse = (field: readonly (string | number)[], message: string, hint?: string) => void;

function configFiles(path: string, problems: ConfigProblem[]): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    const names = readdirSync(path, { withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && /\.(json|yaml|yml)$/.test(entry.name))
      .map((entry) => entry.name)
      .sort();
    if (names.length === 0) {
      problems.push({
        file: path,
        path: '',
        message: 'has no *.json, *.yaml or *.yml in it',
        hint: 'check --image-credential-provider-config',
      });
    }
    return names.map((name) => join(path, name));
  } catch (error) {
    problems.push(unreadable(path, error));
    return [];
  }
}

function unreadable(file: string, error: unknown): ConfigProblem {
  return { file, path: '', message: unreadableText(error), hint: 'check --image-credential-provider-config' };
}

interface Found {
  readonly file: string;
  readonly document: YamlDocument;
  /** Where the provider stands in the document. */
  readonly at: readonly (string | number)[];
  readonly draft: Draft;
}

function readFile(file: string, problems: ConfigProblem[]): Found[] {
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (error) {
    problems.push(unreadable(file, error));
    return [];
  }
  const documents = parseYaml(content);
  const [document] = documents;
  if (!document || documents.length > 1) {
    problems.push({ file, path: '', message: `should hold one ${kind}, and holds ${documents.length} documents` });
    return [];
  }
  if (!('value' in document)) {
    for (const problem of document.problems) problems.push({ file, path: '', ...problem });
    return [];
  }
  return readDocument(file, document, problems);
}

function readDocument(file: string, document: YamlDocument, problems: ConfigProblem[]): Found[] {
  const value = isRecord(document.value) ? document.value : {};
  const refuse = (path: string, message: string) =>
    problems.push({ file, ...document.position(path ? [path] : []), path, message });
  if (value['kind'] !== kind) {
    refuse('kind', `${quote(value['kind'] ?? '')} is not ${kind}`);
    return [];
  }
  if (!versions.some((version) => value['apiVersion'] === `${group}/${version}`)) {
    refuse(
      'apiVersion',
      `${quote(value['apiVersion'] ?? '')} is not one of ${versions.map((v) => `${group}/${v}`).join(', ')}`,
    );
    return [];
  }
  const complain: Complain = (c) =>
    problems.push({
      file,
      ...(c.about === 'unknown' ? document.keyPosition(c.path) : document.position(c.path)),
      path: pathText(c.path),
      message: c.message,
      ...(c.hint ? { hint: c.hint } : {}),
    });
  const before = problems.length;
  const read = schema.read(value, [], complain);
  if (problems.length > before) return [];
  const drafts = read?.providers ?? [];
  if (drafts.length === 0) refuse('providers', 'names no provider');
  return drafts.map((draft, index) => ({ file, document, at: ['providers', index], draft }));
}

/** The provider with nothing left open, or undefined after a complaint. */
function complete(draft: Draft, refuse: Refuse): CredentialProvider | undefined {
  const { name, apiVersion, matchImages = [], defaultCacheDuration, args = [], env = [] } = draft;
  if (name === undefined) refuse([], 'has no name', 'name is the name of the program');
  if (apiVersion === undefined) refuse([], 'has no apiVersion', `write apiVersion: ${tokenVersion}`);
  if (matchImages.length === 0) refuse([], 'has no matchImages', 'say for which registries it knows credentials');
  if (defaultCacheDuration === undefined) refuse([], 'has no defaultCacheDuration', 'write 0s to keep nothing');
  const token = draft.tokenAttributes ? completeToken(draft, refuse) : undefined;
  if (name === undefined || apiVersion === undefined || defaultCacheDuration === undefined) return undefined;
  return {
    ...{ name, apiVersion, matchImages, defaultCacheDuration, args },
    env: Object.fromEntries(env.map((variable) => [variable.name ?? '', variable.value ?? ''])),
    ...(token ? { tokenAttributes: token } : {}),
  };
}

function completeToken({ apiVersion, tokenAttributes: given }: Draft, refuse: Refuse): TokenAttributes | undefined {
  const at = (field: string) => ['tokenAttributes', field];
  const { serviceAccountTokenAudience: audience, cacheType, requireServiceAccount } = given ?? {};
  const required = given?.requiredServiceAccountAnnotationKeys ?? [];
  const optional = given?.optionalServiceAccountAnnotationKeys ?? [];
  if (!audience) refuse(['tokenAttributes'], 'has no serviceAccountTokenAudience');
  if (cacheType === undefined) refuse(['tokenAttributes'], 'has no cacheType', 'write ServiceAccount or Token');
  if (requireServiceAccount === undefined) refuse(['tokenAttributes'], 'has no requireServiceAccount');
  if (apiVersion !== undefined && apiVersion !== tokenVersion) {
    refuse(['tokenAttributes'], `needs apiVersion ${tokenVersion}`, 'change apiVersion of the provider');
  }
  if (requireServiceAccount === false && required.length > 0) {
    refuse(at('requiredServiceAccountAnnotationKeys'), 'needs requireServiceAccount: true');
  }
  for (const [field, keys] of Object.entries({
    requiredServiceAccountAnnotationKeys: required,
    optionalServiceAccountAnnotationKeys: optional,
  })) {
    for (const [index, key] of keys.entries()) {
      const here = [...at(field), index];
      if (!isQualifiedName(key.toLowerCase())) refuse(here, `${quote(key)} is not the key of an annotation`);
      if (keys.indexOf(key) < index) refuse(here, `${quote(key)} stands there twice`);
    }
  }
  for (const key of required.filter((name) => optional.includes(name))) {
    refuse(['tokenAttributes'], `${quote(key)} cannot be both required and optional`);
  }
  if (!audience || cacheType === undefined || requireServiceAccount === undefined) return undefined;
  return {
    audience,
    cacheType,
    requireServiceAccount,
    requiredAnnotationKeys: required,
    optionalAnnotationKeys: optional,
  };
}

function checkProgram(program: string, refuse: Refuse): void {
  try {
    accessSync(program, constants.X_OK);
    if (statSync(program).isFile()) return;
    refuse(['name'], `${program} is not a program`, 'check --image-credential-provider-bin-dir');
  } catch (error) {
    const missing = errnoOf(error) === 'ENOENT';
    refuse(
      ['name'],
      missing ? `there is no program ${program}` : `${program} cannot be run: ${errnoOf(error) ?? messageOf(error)}`,
      missing ? 'check --image-credential-provider-bin-dir' : `make it executable: chmod +x ${program}`,
    );
  }
}
