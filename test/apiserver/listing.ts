import { apiVersionOf, type ResourceKind } from './kinds.ts';
import type { ApiObject } from './objects.ts';
import { matches, type Selection } from './selectors.ts';
import { badRequest, failure, tooLargeVersion } from './status.ts';
import { itemJsonOf, type Store } from './store.ts';

/**
 * A list answer as JSON. A page goes on after the last key of the one before it; the objects are
 * those of now, not of the first page, and the token dies with the history it started in.
 */
export function listJson(store: Store, kind: ResourceKind, selection: Selection, query: URLSearchParams): string {
  const asked = Number(query.get('resourceVersion') ?? 0);
  if (Number.isNaN(asked)) throw badRequest(`invalid resourceVersion: ${query.get('resourceVersion')}`);
  if (asked > store.version) throw tooLargeVersion(asked, store.version);
  const token = readToken(store, kind, query.get('continue'));
  const found = store
    .list(kind)
    .filter((object) => matches(object, selection) && (!token || keyOf(object) > token.after));
  const limit = Number(query.get('limit') ?? 0) || found.length;
  const items = found.slice(0, limit);
  const version = token?.version ?? store.version;
  const last = items.at(-1);
  const metadata = {
    resourceVersion: `${version}`,
    ...(last && found.length > limit
      ? { continue: writeToken({ version, after: keyOf(last) }), remainingItemCount: found.length - limit }
      : {}),
  };
  const head = { kind: `${kind.kind}List`, apiVersion: apiVersionOf(kind), metadata };
  return `${JSON.stringify(head).slice(0, -1)},"items":[${items.map(itemJsonOf).join(',')}]}`;
}

interface PageToken {
  readonly version: number;
  readonly after: string;
}

const keyOf = ({ metadata }: ApiObject): string =>
  metadata.namespace ? `${metadata.namespace}/${metadata.name}` : metadata.name;

const writeToken = (token: PageToken): string => Buffer.from(JSON.stringify(token)).toString('base64url');

function readToken(store: Store, kind: ResourceKind, text: string | null): PageToken | undefined {
  if (!text) return undefined;
  let token: PageToken;
  try {
    token = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as PageToken;
  } catch {
    throw badRequest('continue key is not valid');
  }
  if (!store.remembers(token.version)) {
    throw failure(
      410,
      'Expired',
      'The provided continue parameter is too old to display a consistent list result. You can start a new list ' +
        `without the continue parameter to get the newest ${kind.plural}.`,
    );
  }
  return token;
}
