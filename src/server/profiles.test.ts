import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { HttpError } from './endpoint.ts';
import { profileEndpoint } from './profiles.ts';

const endpoint = profileEndpoint(systemClock);

async function ask(name: string, query: string, signal = new AbortController().signal): Promise<string> {
  let text = '';
  const end = (part: string) => {
    text = part;
  };
  const response = { writeHead: () => {}, end } as unknown as ServerResponse;
  const url = new URL(`https://node/debug/pprof/${name}?${query}`);
  const raw = {} as IncomingMessage;
  await endpoint.handle?.({ raw, url, params: { '*': name }, user: { username: 'a', groups: [] }, signal }, response);
  return text;
}

test('profiles are taken one at a time, and a client that goes away frees the place', async () => {
  const gone = new AbortController();
  const first = ask('profile', 'seconds=60', gone.signal);
  await assert.rejects(ask('heap', 'seconds=1'), (error) => error instanceof HttpError && error.status === 409);
  gone.abort();
  await assert.rejects(first, { name: 'AbortError' });
  assert.ok(JSON.parse(await ask('profile', 'seconds=0.01')).nodes.length > 0);
});

test('nonsense is refused, and takes no place', async () => {
  for (const query of ['seconds=0', 'seconds=-1', 'seconds=x', 'seconds=301', 'seconds=Infinity']) {
    await assert.rejects(ask('profile', query), (error) => error instanceof HttpError && error.status === 400, query);
  }
  await assert.rejects(ask('moon', ''), (error) => error instanceof HttpError && error.status === 404);
  assert.match(await ask('', ''), /profile\?seconds=30/);
});
