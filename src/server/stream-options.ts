import { HttpError } from './endpoint.ts';
import type { StreamOptions } from './exec-translator.ts';

/** The streams that a request for exec or attach asks for. Throws an HttpError of 400 when there are none. */
export function streamOptions(query: URLSearchParams): StreamOptions {
  const asked = (name: string) => query.get(name) === '1';
  const tty = asked('tty');
  // A terminal has one output.
  const [stdin, stdout, stderr] = [asked('input'), asked('output'), asked('error') && !tty];
  if (!stdin && !stdout && !stderr) throw new HttpError(400, 'you must specify at least 1 of stdin, stdout, stderr');
  return { stdin, stdout, stderr, tty };
}

/**
 * The ports that a WebSocket for port forwarding names; each has two channels there, so they must be
 * known before. Throws an HttpError of 400 when there are none, or something else.
 */
export function forwardedPorts(query: URLSearchParams): readonly number[] {
  const values = query.getAll('port');
  if (values.length === 0) throw new HttpError(400, 'query parameter "port" is required');
  return values.flatMap((value) => {
    if (value === '') throw new HttpError(400, 'query parameter "port" cannot be empty');
    return value.split(',').map((text) => parsePort(text, value));
  });
}

function parsePort(text: string, value: string): number {
  const parsing = `strconv.ParseUint: parsing ${JSON.stringify(text)}`;
  const refuse = (why: string) => new HttpError(400, `unable to parse ${JSON.stringify(value)} as a port: ${why}`);
  if (!/^\d+$/.test(text)) throw refuse(`${parsing}: invalid syntax`);
  const port = Number(text);
  if (port > 65_535) throw refuse(`${parsing}: value out of range`);
  if (port === 0) throw new HttpError(400, `port ${JSON.stringify(value)} must be > 0`);
  return port;
}
