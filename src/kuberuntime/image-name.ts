import { AgentError } from '../lib/errors.ts';

/** An image reference, taken apart and completed: docker.io and library/ where they were left out, :latest likewise. */
export interface ImageName {
  /** 'docker.io', 'registry.example:5000' */
  readonly registry: string;
  /** 'library/busybox' */
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
  /** What to ask the runtime for. */
  readonly full: string;
}

const hostLabel = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const registryPattern = new RegExp(`^(?:${hostLabel}(?:\\.${hostLabel})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?$`);
const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const pathPattern = new RegExp(`^${component}(?:/${component})*$`);
const tagPattern = /^[\w][\w.-]{0,127}$/;
const digestPattern = /^[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;

/**
 * Parses an image reference by the grammar of the distribution project; the default registry is
 * docker.io, as for every Kubernetes runtime. Throws an AgentError of code InvalidImageName.
 */
export function parseImageName(image: string): ImageName {
  const [name, digest] = splitOnce(image, '@');
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const hasRegistry = first.includes('.') || first.includes(':') || first === 'localhost';
  const registry = hasRegistry ? first : 'docker.io';
  const rest = hasRegistry ? name.slice(slash + 1) : name;
  const [path, tag] = splitOnce(rest, ':');
  const repository = registry === 'docker.io' && !path.includes('/') ? `library/${path}` : path;
  const valid =
    registryPattern.test(registry) &&
    pathPattern.test(repository) &&
    (tag === undefined || tagPattern.test(tag)) &&
    (digest === undefined || digestPattern.test(digest));
  if (!valid)
    throw new AgentError('InvalidImageName', `couldn't parse image name "${image}": invalid reference format`);
  const suffix = digest === undefined ? `:${tag ?? 'latest'}` : `${tag ? `:${tag}` : ''}@${digest}`;
  return { registry, repository, tag, digest, full: `${registry}/${repository}${suffix}` };
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
