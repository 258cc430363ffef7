import { Session } from 'node:inspector/promises';
import type { Clock } from '../lib/clock.ts';
import { answerJson, answerText } from './answer.ts';
import { type Endpoint, HttpError, type ServedRequest } from './endpoint.ts';

const defaultSeconds = 30;
const maxSeconds = 300;
const index = `/debug/pprof/

Profiles of keelson, in the formats of Chrome's developer tools and Visual Studio Code:
profile?seconds=30  where processor time goes (save as .cpuprofile)
heap?seconds=30     who allocates memory that is still in use at the end (save as .heapprofile)
cmdline             how keelson was started
`;

/**
 * `/debug/pprof/`: at upstream's paths, in the formats of this runtime. Neither profile holds any value of
 * the program, only names of functions and figures. One is taken at a time.
 */
export function profileEndpoint(clock: Clock): Endpoint {
  let busy = false;
  const take = async (
    request: ServedRequest,
    profile: (session: Session, wait: () => Promise<void>) => Promise<object>,
  ) => {
    if (busy) throw new HttpError(409, 'another profile is being taken\n');
    const seconds = secondsOf(request);
    busy = true;
    const session = new Session();
    session.connect();
    try {
      // Whoever goes away does not want the rest.
      return JSON.stringify(await profile(session, () => clock.sleep(seconds * 1000, request.signal)));
    } finally {
      session.disconnect();
      busy = false;
    }
  };
  return {
    path: '/debug/pprof/*',
    methods: ['GET'],
    handle: async (request, response) => {
      switch (request.params['*']) {
        case '':
          return answerText(response, 200, index);
        case 'profile':
          return answerJson(response, await take(request, cpuProfile));
        case 'heap':
          return answerJson(response, await take(request, heapProfile));
        case 'cmdline':
          return answerText(response, 200, process.argv.join('\0'));
        default:
          throw new HttpError(404, 'Unknown profile\n');
      }
    },
  };
}

function secondsOf({ url }: ServedRequest): number {
  const text = url.searchParams.get('seconds') ?? `${defaultSeconds}`;
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= maxSeconds))
    throw new HttpError(400, `seconds must be above 0 and at most ${maxSeconds}\n`);
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
