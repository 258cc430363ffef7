import { type TokenTable, type User, userOfToken } from './authentication.ts';
import { authorize, type Verdict } from './authorization.ts';
import { apiVersionOf, type ResourceKind, SELF_SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS } from './kinds.ts';
import { type DraftObject, type Fields, isFields, stringAt, valueAt } from './objects.ts';
import type { Store } from './store.ts';
import { ISSUER, type TokenIssuer } from './tokens.ts';

export interface ReviewContext {
  readonly store: Store;
  readonly tokens: TokenTable;
  readonly issuer: TokenIssuer;
  readonly user: User;
}

/** Answers the kinds that are questions: TokenReview, SubjectAccessReview, SelfSubjectAccessReview. */
export function answerReview(kind: ResourceKind, body: DraftObject, context: ReviewContext): Fields {
  const status = kind === TOKEN_REVIEWS ? reviewToken(body, context) : reviewAccess(kind, body, context);
  const spec = isFields(body['spec']) ? body['spec'] : {};
  return { kind: kind.kind, apiVersion: apiVersionOf(kind), metadata: body.metadata ?? {}, spec, status };
}

function reviewToken(body: DraftObject, { tokens, issuer }: ReviewContext): Fields {
  const token = stringAt(body, 'spec.token');
  const asked = valueAt(body, 'spec.audiences');
  const audience = Array.isArray(asked) && asked.length > 0 ? String(asked[0]) : ISSUER;
  const account = issuer.verify(token, audience);
  const user = account
    ? { ...account, groups: [...account.groups, 'system:authenticated'] }
    : userOfToken(token, tokens, issuer);
  if (!user) return { user: {}, error: 'invalid bearer token' };
  const { name, uid, groups, extra } = user;
  return {
    authenticated: true,
    user: { username: name, ...(uid ? { uid } : {}), groups, ...(extra ? { extra } : {}) },
    audiences: [audience],
  };
}

function reviewAccess(kind: ResourceKind, body: DraftObject, { store, user }: ReviewContext): Fields {
  const groups = valueAt(body, 'spec.groups');
  const subject: User =
    kind === SELF_SUBJECT_ACCESS_REVIEWS
      ? user
      : { name: stringAt(body, 'spec.user'), groups: Array.isArray(groups) ? groups.map(String) : [] };
  const { allowed, reason } = verdictOn(store, subject, body);
  return { allowed, ...(reason ? { reason } : {}) };
}

function verdictOn(store: Store, user: User, body: DraftObject): Verdict {
  const text = (key: string) => stringAt(body, `spec.resourceAttributes.${key}`);
  if (isFields(valueAt(body, 'spec.resourceAttributes'))) {
    return authorize(store, {
      user,
      verb: text('verb'),
      group: text('group'),
      resource: text('resource'),
      subresource: text('subresource'),
      namespace: text('namespace'),
      name: text('name'),
    });
  }
  const path = stringAt(body, 'spec.nonResourceAttributes.path');
  return authorize(store, { user, verb: stringAt(body, 'spec.nonResourceAttributes.verb'), path });
}
