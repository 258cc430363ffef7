import { Session } from 'node:inspector/promises';
import type { Clock } from '../lib/clock.ts';
import { answerText } from './answer.ts';
import { type Endpoint, HttpError } from './endpoint.ts';

const defaultSeconds = 30;
/** The longest that a profile takes. */
export const maxProfileSeconds = 300;
const plain = 'text/plain; charset=utf-8';
const index = `/debug/pprof/

Profiles of keelson, in the formats of Chrome's developer tools and Visual Studio Code:
profile?seconds=30  where processor time goes (save as .cpuprofile)
heap?seconds=30     who allocates memory that is still in use at the end (save as .heapprofile)
cmdline             how keelson was started
`;

export interface Profile {
  readonly text: string;
  readonly contentType: string;
}

/** What stands below `/debug/pprof/` at `name`. Throws an HttpError where nothing can be had. */
export type Profiles = (name: string, query: URLSearchParams, signal: AbortSignal) => Promise<Profile>;

/**
 * `/debug/pprof/`: at upstream's paths, in the formats of this runtime. Neither profile holds any value of
 * the program, only names of functions and figures. One is taken at a time.
 */
export function takeProfiles(clock: Clock): Profiles {
  let busy = false;
  const take = async (
    query: URLSearchParams,
    signal: AbortSignal,
    profile: (session: Session, wait: () => Promise<void>) => Promise<object>,
  ): Promise<Profile> => {
    if (busy) throw new HttpError(409, 'another profile is being taken\n');
    const seconds = secondsOf(query);
    busy = true;
    const session = new Session();
    session.connect();
    try {
      // Whoever goes away does not want the rest.
      const taken = await profile(session, () => clock.sleep(seconds * 1000, signal));
      return { text: JSON.stringify(taken), contentType: 'application/json' };
    } finally {
      session.disconnect();
      busy = false;
    }
  };
  return async (name, query, signal) => {
    switch (name) {
      case '':
        return { text: index, contentType: plain };
      case 'profile':
        return take(query, signal, cpuProfile);
      case 'heap':
        return take(query, signal, heapProfile);
      case 'cmdline':
        return { text: process.argv.join('\0'), contentType: plain };
      default:
        throw new HttpError(404, 'Unknown profile\n');
    }
  };
}

export function profileEndpoint(clock: Clock): Endpoint {
  const profiles = takeProfiles(clock);
  return {
    path: '/debug/pprof/*',
    methods: ['GET'],
    handle: async ({ params, url, signal }, response) => {
      const { text, contentType } = await profiles(params['*'] ?? '', url.searchParams, signal);
      answerText(response, 200, text, { 'content-type': contentType });
    },
  };
}

function secondsOf(query: URLSearchParams): number {
  const seconds = Number(query.get('seconds') ?? `${defaultSeconds}`);
  if (!(seconds > 0 && seconds <= maxProfileSeconds))
    throw new HttpError(400, `seconds must be above 0 and at most ${maxProfileSeconds}\n`);
  return seconds;
}

async function cpuProfile(session: Session, wait: () => Promise<void>): Promise<object> {
  await session.post('Profiler.enable');
  await session.post('Profiler.start');
  await wait();
  return (await session.post('Profiler.stop')).profile;
}

async function heapProfile(session: Session, wait: () => Promise<void>): Promise<object> {
  await session.post('HeapProfiler.startSampling');
  await wait();
  return (await session.post('HeapProfiler.stopSampling')).profile;
}
