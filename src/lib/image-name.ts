import { AgentError } from './errors.ts';

/** An image reference, taken apart and completed: docker.io and library/ where they were left out. */
export interface ImageName {
  /** 'docker.io', 'registry.example:5000' */
  readonly registry: string;
  /** 'library/busybox' */
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
  /** Registry and repository: what credentials are looked up by, and what a record of a pull is kept under. */
  readonly base: string;
  /**
   * What to ask the runtime for: the reference as it was written, with :latest where it has neither tag nor
   * digest. Short names stay short, because what they stand for is the runtime's to say.
   */
  readonly asked: string;
  /** The same, completed: what the runtime lists the image under. */
  readonly full: string;
}

const hostLabel = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const registryPattern = new RegExp(`^(?:${hostLabel}(?:\\.${hostLabel})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?$`);
const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const pathPattern = new RegExp(`^${component}(?:/${component})*$`);
const tagPattern = /^[\w][\w.-]{0,127}$/;
const digestPattern = /^[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
const digestLengths: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };
const maxNameLength = 255;

/**
 * Parses an image reference by the grammar of the distribution project; the default registry is
 * docker.io, as for every Kubernetes runtime. Throws an AgentError of code InvalidImageName.
 */
export function parseImageName(image: string): ImageName {
  const [name, digest] = splitOnce(image, '@');
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const hasRegistry = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  const written = hasRegistry ? first : 'docker.io';
  const registry = written === 'index.docker.io' ? 'docker.io' : written;
  const [path, tag] = splitOnce(hasRegistry ? name.slice(slash + 1) : name, ':');
  const repository = registry === 'docker.io' && !path.includes('/') ? `library/${path}` : path;
  const problem = problemOf({ image, registry, repository, tag, digest });
  if (problem) throw new AgentError('InvalidImageName', `couldn't parse image name "${image}": ${problem}`);
  const bare = tag === undefined && digest === undefined;
  const suffix = `${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
  const base = `${registry}/${repository}`;
  const asked = bare ? `${image}:latest` : image;
  return { registry, repository, tag, digest, base, asked, full: `${base}${bare ? ':latest' : suffix}` };
}

interface Parts extends Pick<ImageName, 'registry' | 'repository' | 'tag' | 'digest'> {
  readonly image: string;
}

/** In the words of the distribution project, which users know and look up. */
function problemOf({ image, registry, repository, tag, digest }: Parts): string | undefined {
  if (/^[a-f0-9]{64}$/.test(image)) {
    return `invalid repository name (${image}), cannot specify 64-byte hexadecimal strings`;
  }
  const invalid = 'invalid reference format';
  if (repository !== repository.toLowerCase()) return `${invalid}: repository name (${repository}) must be lowercase`;
  const valid =
    registryPattern.test(registry) &&
    pathPattern.test(repository) &&
    (tag === undefined || tagPattern.test(tag)) &&
    (digest === undefined || digestPattern.test(digest));
  if (!valid) return invalid;
  if (registry.length + 1 + repository.length > maxNameLength) {
    return `repository name must not be more than ${maxNameLength} characters`;
  }
  if (digest === undefined) return undefined;
  const [algorithm, hex] = splitOnce(digest, ':');
  const length = digestLengths[algorithm];
  if (length === undefined) return 'unsupported digest algorithm';
  if (hex?.length !== length) return 'invalid checksum digest length';
  return /^[a-f0-9]+$/.test(hex) ? undefined : 'invalid checksum digest format';
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
