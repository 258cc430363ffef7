import { apiVersionOf, KINDS, type ResourceKind } from './kinds.ts';

export const VERSION = {
  major: '1',
  minor: '36',
  gitVersion: 'v1.36.2',
  gitCommit: '0000000000000000000000000000000000000000',
  gitTreeState: 'clean',
  buildDate: '2026-01-01T00:00:00Z',
  goVersion: 'go1.26',
  compiler: 'gc',
  platform: 'linux/amd64',
};

/** What a path outside the resources answers with: an object, a text, or nothing known. */
export function discover(path: string): object | string | undefined {
  const parts = path.split('/').filter(Boolean);
  const [root = '', first, second] = parts;
  if (['healthz', 'livez', 'readyz'].includes(root)) return 'ok';
  if (root === 'version') return VERSION;
  if (root === 'api' && parts.length === 1)
    return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
  if (root === 'api' && parts.length === 2 && first === 'v1') return resourceList('', 'v1');
  if (root === 'apis' && parts.length === 1) {
    return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups().map((name) => groupOf(name)) };
  }
  if (root === 'apis' && first && parts.length === 2 && groups().includes(first)) {
    return { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(first) };
  }
  if (root === 'apis' && first && second && parts.length === 3) return resourceList(first, second);
  if (root === 'openapi' && first === 'v3') return openApi(parts.slice(2).join('/'));
  return undefined;
}

const groups = (): string[] => [...new Set(KINDS.map((kind) => kind.group))].filter(Boolean);

function groupOf(name: string): object {
  const version = KINDS.find((kind) => kind.group === name)?.version ?? 'v1';
  const entry = { groupVersion: `${name}/${version}`, version };
  return { name, versions: [entry], preferredVersion: entry };
}

const ALL_VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

function resourceList(group: string, version: string): object | undefined {
  const kinds = KINDS.filter((kind) => kind.group === group && kind.version === version);
  if (kinds.length === 0) return undefined;
  const resources = kinds.flatMap((kind) => [
    {
      name: kind.plural,
      singularName: kind.kind.toLowerCase(),
      namespaced: kind.namespaced,
      kind: kind.kind,
      verbs: kind.virtual ? ['create'] : ALL_VERBS,
      ...(kind.shortNames.length > 0 ? { shortNames: kind.shortNames } : {}),
      ...(['pods', 'services'].includes(kind.plural) ? { categories: ['all'] } : {}),
    },
    ...Object.entries(kind.subresources).map(([name, verbs]) => ({
      name: `${kind.plural}/${name}`,
      singularName: '',
      namespaced: kind.namespaced,
      kind: kind.kind,
      verbs,
    })),
  ]);
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: group ? `${group}/${version}` : version,
    resources,
  };
}

const pathOf = (kind: Pick<ResourceKind, 'group' | 'version'>): string =>
  kind.group ? `apis/${apiVersionOf(kind)}` : `api/${kind.version}`;

/**
 * No schemas, only what kubectl asks before it creates something: whether a PATCH of the kind knows
 * `fieldValidation`, in which case it leaves validation to the server.
 */
function openApi(document: string): object | undefined {
  if (!document) {
    const paths = [...new Set(KINDS.map(pathOf))].map((path) => [
      path,
      { serverRelativeURL: `/openapi/v3/${path}?hash=0` },
    ]);
    return { paths: Object.fromEntries(paths) };
  }
  const kinds = KINDS.filter((kind) => pathOf(kind) === document);
  if (kinds.length === 0) return undefined;
  const paths = kinds.map((kind) => {
    const scope = kind.namespaced ? 'namespaces/{namespace}/' : '';
    const patch = {
      'x-kubernetes-action': 'patch',
      'x-kubernetes-group-version-kind': { group: kind.group, version: kind.version, kind: kind.kind },
      parameters: [{ name: 'fieldValidation', in: 'query', schema: { type: 'string', uniqueItems: true } }],
      responses: {},
    };
    return [`/${document}/${scope}${kind.plural}/{name}`, { patch }];
  });
  const info = { title: 'Kubernetes', version: VERSION.gitVersion };
  return { openapi: '3.0.0', info, paths: Object.fromEntries(paths) };
}
