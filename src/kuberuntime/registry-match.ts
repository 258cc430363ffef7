/**
 * Which images an entry of a Docker configuration, or of a credential provider, is meant for. Entries and
 * images are compared as URLs without a scheme: host with port, then path.
 */

interface Location {
  readonly host: string;
  readonly port: string;
  /** '' or with its slash. */
  readonly path: string;
}

/**
 * What an entry is filed under: without scheme, and without the /v1/ and /v2/ that old clients wrote.
 * 'https://index.docker.io/v1/' → 'index.docker.io'.
 */
export function registryKey(entry: string): string {
  const bare = entry.replace(/^https?:\/\//, '').replace(/[?#].*$/, '');
  const slash = bare.indexOf('/');
  if (slash < 0) return bare;
  const path = bare.slice(slash).replace(/^\/v[12](?=\/)/, '');
  return bare.slice(0, slash) + (path === '/' ? '' : path);
}

/**
 * Whether an image ('registry.test/team/app', no tag) belongs to an entry. Hosts have the same number of
 * labels, in which `*` may stand for others; ports are equal; the path is a prefix.
 */
export function matchesImage(entry: string, image: string): boolean {
  const [wanted, target] = [locationOf(entry), locationOf(image)];
  const [patterns, labels] = [wanted.host.split('.'), target.host.split('.')];
  return (
    wanted.port === target.port &&
    patterns.length === labels.length &&
    target.path.startsWith(wanted.path) &&
    patterns.every((pattern, i) => labelPattern(pattern).test(labels[i] ?? ''))
  );
}

/** The registry of an image, with its port. */
export const registryOf = (image: string): string => image.split('/', 1)[0] ?? '';

function locationOf(text: string): Location {
  const slash = text.indexOf('/');
  const authority = slash < 0 ? text : text.slice(0, slash);
  const path = slash < 0 ? '' : text.slice(slash);
  const [, host = authority, port = ''] = /^(.*):(\d*)$/.exec(authority) ?? [];
  return { host, port, path };
}

function labelPattern(label: string): RegExp {
  const source = label.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*');
  return new RegExp(`^${source}$`);
}
