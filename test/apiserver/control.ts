import type { FaultMatch, FaultRule } from './faults.ts';
import { isFields } from './objects.ts';
import type { Reply } from './reply.ts';
import type { StandInApiServer } from './server.ts';

let blackhole: Disposable | undefined;

/**
 * The endpoint for tests that run the server as a process of its own (administrators only):
 *
 *     GET    /_faults              the faults in force, with their hits
 *     POST   /_faults              a FaultRule; answers {id}
 *     DELETE /_faults, /_faults/N  all of them, one of them
 *     GET    /_requests            what was asked; DELETE forgets it
 *     POST   /_control             {action, match?, downMs?, node?}
 *
 * Actions: restart, cut, cutWatches, silenceWatches, expireWatches, compact, blackhole, heal,
 * autoBind, watchList, save. These paths are served during a blackhole too.
 */
export function control(server: StandInApiServer, method: string, path: string, body: unknown, reply: Reply): boolean {
  const [, root, id] = path.split('/');
  const request = `${method} /${root}`;
  switch (request) {
    case 'GET /_faults':
      reply.json(200, server.faults.list());
      return true;
    case 'POST /_faults': {
      const { id: added } = server.faults.add(body as FaultRule);
      reply.json(201, { id: added });
      return true;
    }
    case 'DELETE /_faults':
      if (id) server.faults.remove(Number(id));
      else server.faults.clear();
      reply.json(200, {});
      return true;
    case 'GET /_requests':
      reply.json(200, server.requests);
      return true;
    case 'DELETE /_requests':
      server.requests.length = 0;
      reply.json(200, {});
      return true;
    case 'POST /_control': {
      const known = isFields(body) && act(server, body);
      reply.json(known ? 200 : 400, { known });
      return true;
    }
    default:
      return false;
  }
}

/** Carries out an action; what breaks connections happens after the answer is on its way. */
function act(server: StandInApiServer, body: Record<string, unknown>): boolean {
  const match = (isFields(body['match']) ? body['match'] : {}) as FaultMatch;
  switch (body['action']) {
    case 'restart':
      setTimeout(() => void server.restart({ downMs: Number(body['downMs'] ?? 0) }), 50);
      return true;
    case 'cut':
      setTimeout(() => server.cutConnections(), 50);
      return true;
    case 'cutWatches':
      server.watches.cut(match);
      return true;
    case 'silenceWatches':
      server.watches.silence(match);
      return true;
    case 'expireWatches':
      server.watches.expire(match);
      return true;
    case 'compact':
      server.store.compact();
      return true;
    case 'blackhole':
      blackhole ??= server.blackhole(match);
      return true;
    case 'heal': {
      const healed = blackhole;
      blackhole = undefined;
      setTimeout(() => healed?.[Symbol.dispose](), 50);
      return true;
    }
    case 'autoBind':
      server.autoBind = typeof body['node'] === 'string' ? body['node'] : undefined;
      return true;
    case 'watchList':
      server.watches.options.watchList = body['on'] !== false;
      return true;
    case 'save':
      server.save();
      return true;
    default:
      return false;
  }
}
