import type { ResourceKind } from './kinds.ts';

/** A Status body as the API server sends it; the order of the fields is the order on the wire. */
export interface StatusBody {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: Record<string, never>;
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: StatusDetails;
  readonly code?: number;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly Cause[];
  readonly retryAfterSeconds?: number;
}

export interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field?: string;
}

/** A refusal: thrown anywhere below the HTTP layer, which writes the body. */
export class StatusError extends Error {
  readonly body: StatusBody;
  readonly headers: Readonly<Record<string, string>>;

  constructor(body: StatusBody, headers: Readonly<Record<string, string>> = {}) {
    super(body.message ?? '');
    this.body = body;
    this.headers = headers;
  }

  get code(): number {
    return this.body.code ?? 500;
  }
}

export function failure(
  code: number,
  reason: string,
  message: string,
  details?: StatusDetails,
  headers?: Readonly<Record<string, string>>,
): StatusError {
  return new StatusError(
    {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      ...(details ? { details } : {}),
      code,
    },
    headers,
  );
}

export const success = (details?: StatusDetails, code?: number): StatusBody => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Success',
  ...(details ? { details } : {}),
  ...(code ? { code } : {}),
});

/** `pods`, or `leases.coordination.k8s.io` for a group with a name. */
export const qualified = (kind: Pick<ResourceKind, 'plural' | 'group'>): string =>
  kind.group ? `${kind.plural}.${kind.group}` : kind.plural;

const detailsOf = (kind: Pick<ResourceKind, 'plural' | 'group'>, name: string): StatusDetails => ({
  ...(name ? { name } : {}),
  ...(kind.group ? { group: kind.group } : {}),
  kind: kind.plural,
});

export const notFound = (kind: ResourceKind, name: string): StatusError =>
  failure(404, 'NotFound', `${qualified(kind)} "${name}" not found`, detailsOf(kind, name));

export const alreadyExists = (kind: ResourceKind, name: string): StatusError =>
  failure(409, 'AlreadyExists', `${qualified(kind)} "${name}" already exists`, detailsOf(kind, name));

const STALE = 'the object has been modified; please apply your changes to the latest version and try again';

export const conflict = (kind: ResourceKind, name: string, why = STALE): StatusError =>
  failure(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(kind)} "${name}": ${why}`,
    detailsOf(kind, name),
  );

/** A refusal by admission or by the authoriser; `why` ends the sentence. */
export const forbidden = (kind: Pick<ResourceKind, 'plural' | 'group'>, name: string, why: string): StatusError =>
  failure(
    403,
    'Forbidden',
    name ? `${qualified(kind)} "${name}" is forbidden: ${why}` : `${qualified(kind)} is forbidden: ${why}`,
    detailsOf(kind, name),
    { 'x-content-type-options': 'nosniff' },
  );

export function invalid(kind: ResourceKind, name: string, causes: readonly Required<Cause>[]): StatusError {
  const list = causes.map((cause) => `${cause.field}: ${cause.message}`);
  const what = kind.group ? `${kind.kind}.${kind.group}` : kind.kind;
  return failure(
    422,
    'Invalid',
    `${what} "${name}" is invalid: ${list.length === 1 ? list[0] : `[${list.join(', ')}]`}`,
    {
      ...(name ? { name } : {}),
      ...(kind.group ? { group: kind.group } : {}),
      kind: kind.kind,
      causes,
    },
  );
}

export const badRequest = (message: string): StatusError => failure(400, 'BadRequest', message);

export const unauthorized = (): StatusError => failure(401, 'Unauthorized', 'Unauthorized');

export const expired = (asked: number, oldest: number): StatusError =>
  failure(410, 'Expired', `too old resource version: ${asked} (${oldest})`);

/** The answer to a resourceVersion from the future, as after the loss of the server's storage. */
export const tooLargeVersion = (asked: number, current: number): StatusError =>
  failure(504, 'Timeout', `Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });

export const methodNotAllowed = (): StatusError =>
  failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {});

export const unsupportedMediaType = (accepted: readonly string[]): StatusError =>
  failure(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
  );

export const unknownResource = (): StatusError =>
  failure(404, 'NotFound', 'the server could not find the requested resource', {});

export const internalError = (message: string): StatusError =>
  failure(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ reason: '', message }] });

export const notImplemented = (message: string): StatusError => failure(501, 'NotImplemented', message);
