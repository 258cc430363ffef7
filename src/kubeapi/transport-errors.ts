import { AgentError } from '../lib/errors.ts';

/**
 * The connection to the API server cannot be made or is lost. Codes: ApiUnreachable, ApiNameUnknown,
 * ApiTimeout, ApiConnectionLost, ApiCertificateUntrusted, ApiCertificateExpired,
 * ApiCertificateWrongName, ApiClientCertificateRefused, NotAnApiServer.
 */
export class ApiConnectionError extends AgentError {
  /** The client has told of it in the log: whoever asked need not. */
  said = false;
}

interface Explanation {
  readonly code: string;
  readonly problem: string;
  readonly hint: string;
  readonly retryable: boolean;
}

const untrusted: Explanation = {
  code: 'ApiCertificateUntrusted',
  problem: 'its certificate is not signed by the authority in the kubeconfig',
  hint: 'put the CA of this cluster into certificate-authority-data, and check that server names the right cluster',
  retryable: false,
};
const certificateTime: Explanation = {
  code: 'ApiCertificateExpired',
  problem: "its certificate, or its authority's, is expired or not valid yet",
  hint: 'compare the clock of this host (`timedatectl`), then renew the certificates of the API server',
  retryable: false,
};
const wrongName: Explanation = {
  code: 'ApiCertificateWrongName',
  problem: 'its certificate was issued for another name',
  hint: 'use a server URL with one of the names in the certificate, or set tls-server-name in the kubeconfig',
  retryable: false,
};
const clientRefused: Explanation = {
  code: 'ApiClientCertificateRefused',
  problem: 'it refused our client certificate',
  hint: 'check that the client certificate of the kubeconfig was issued by this cluster and is not expired',
  retryable: false,
};
const notTls: Explanation = {
  code: 'NotAnApiServer',
  problem: 'what listens there does not speak TLS as an API server does',
  hint: 'check scheme and port of the server URL: usually https and 6443 or 443',
  retryable: false,
};
const notHttp: Explanation = { ...notTls, problem: 'what listens there does not speak HTTP' };
const refused: Explanation = {
  code: 'ApiUnreachable',
  problem: 'nothing accepts connections there',
  hint: 'check the server URL in the kubeconfig, that the API server runs, and the firewalls in between',
  retryable: true,
};
const unreachable: Explanation = { ...refused, problem: 'the host cannot be reached' };
const unknownName: Explanation = {
  code: 'ApiNameUnknown',
  problem: 'its name does not resolve',
  hint: 'check the server URL in the kubeconfig, and the DNS of this host',
  retryable: true,
};
const lost: Explanation = {
  code: 'ApiConnectionLost',
  problem: 'the connection broke',
  hint: 'nothing to do if it happens now and then: the request is made again',
  retryable: true,
};

const byCode: Readonly<Record<string, Explanation>> = {
  ECONNREFUSED: refused,
  EHOSTUNREACH: unreachable,
  ENETUNREACH: unreachable,
  ETIMEDOUT: unreachable,
  UND_ERR_CONNECT_TIMEOUT: unreachable,
  EADDRNOTAVAIL: unreachable,
  ENOTFOUND: unknownName,
  EAI_AGAIN: unknownName,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  UNABLE_TO_GET_ISSUER_CERT: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  CERT_SIGNATURE_FAILURE: untrusted,
  INVALID_CA: untrusted,
  CERT_UNTRUSTED: untrusted,
  CERT_HAS_EXPIRED: certificateTime,
  CERT_NOT_YET_VALID: certificateTime,
  ERR_TLS_CERT_ALTNAME_INVALID: wrongName,
  HOSTNAME_MISMATCH: wrongName,
  ERR_SSL_WRONG_VERSION_NUMBER: notTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: notTls,
  ERR_SSL_HTTP_REQUEST: notTls,
};

/** Turns what undici, TLS or the socket threw into one error that says what to do. */
export function explainTransportError(error: unknown, doing: string, server: URL): ApiConnectionError {
  if (error instanceof ApiConnectionError) return error;
  const found = codesOf(error)
    .map(explanationOf)
    .find((explanation) => explanation !== undefined);
  const { code, problem, hint, retryable } = found ?? lost;
  return new ApiConnectionError(code, `${doing} at ${server.origin}: ${problem}`, { cause: error, hint, retryable });
}

/** The codes of an error and of what caused it; Node tries several addresses and reports them together. */
function codesOf(error: unknown, depth = 0): string[] {
  if (!(error instanceof Error) || depth > 5) return [];
  const { code } = error as NodeJS.ErrnoException;
  const inner = error instanceof AggregateError ? error.errors : [];
  return [
    ...(typeof code === 'string' ? [code] : []),
    ...[...inner, error.cause].flatMap((cause) => codesOf(cause, depth + 1)),
    ...(/wrong version number|packet length too long/.test(error.message) ? ['ERR_SSL_WRONG_VERSION_NUMBER'] : []),
  ];
}

function explanationOf(code: string): Explanation | undefined {
  if (/^ERR_SSL_.*ALERT.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/.test(code)) return clientRefused;
  return code.startsWith('HPE_') ? notHttp : byCode[code];
}

/** The server did not answer, or stopped in the middle of an answer, for `ms`. */
export function timeoutError(doing: string, server: URL, ms: number): ApiConnectionError {
  return new ApiConnectionError('ApiTimeout', `${doing} at ${server.origin}: no answer within ${ms / 1000} s`, {
    hint: 'check the network between this host and the API server, and the load of the latter',
    retryable: true,
  });
}

/** Somebody answers, but not as a Kubernetes API server would. */
export function notAnApiServer(
  doing: string,
  server: URL,
  answer: { status: number; contentType: string; text: string },
): ApiConnectionError {
  // JSON is not quoted: it may be somebody's data. A page of a web server or proxy says who answers.
  const prose = /json/.test(answer.contentType) ? '' : answer.text;
  const excerpt = prose
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 80);
  const plainHttp = /HTTP request to an HTTPS server/i.test(answer.text);
  return new ApiConnectionError(
    'NotAnApiServer',
    `${doing} at ${server.origin}: the answer is not from a Kubernetes API server ` +
      `(HTTP ${answer.status}, ${answer.contentType || 'no content type'}${excerpt ? `: ${excerpt}` : ''})`,
    {
      hint: plainHttp
        ? 'the server speaks HTTPS: write https:// in the server URL of the kubeconfig'
        : 'check the server URL in the kubeconfig: host, port and path',
      retryable: answer.status >= 500,
    },
  );
}
