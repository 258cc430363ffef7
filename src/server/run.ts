import type { RuntimeService } from '../cri/services.ts';
import { type Endpoint, HttpError, type ServedRequest } from './endpoint.ts';
import { type StreamTargets, streamRefusal } from './stream-targets.ts';

/** /run: a command without streams; its output, both kinds one after the other, is the answer. */
export function runEndpoints(runtime: RuntimeService, targets: StreamTargets): Endpoint[] {
  const paths = ['/run/{namespace}/{pod}/{container}', '/run/{namespace}/{pod}/{uid}/{container}'];
  return paths.map((path) => ({
    path,
    methods: ['POST'],
    handle: async (request, response) => {
      const output = await runCommand(runtime, targets, request);
      if (output.length > 0) response.setHeader('content-type', 'application/json');
      response.end(output);
    },
  }));
}

async function runCommand(runtime: RuntimeService, targets: StreamTargets, request: ServedRequest): Promise<Buffer> {
  const { namespace = '', pod: name = '', uid, container = '' } = request.params;
  const pod = targets.pod(namespace, name);
  const command = (request.url.searchParams.get('cmd') ?? '').split(' ');
  try {
    const id = await targets.runningContainer(pod, uid, container, request.signal);
    if (id === undefined) throw new HttpError(500, `container not found (${JSON.stringify(container)})`);
    // As long as the client waits.
    const { stdout, stderr, exitCode = 0 } = await runtime.execSync(id, command, 0, request.signal);
    const [out, err] = [Buffer.from(stdout ?? []), Buffer.from(stderr ?? [])];
    if (exitCode !== 0) throw new HttpError(500, `command '${command.join(' ')}' exited with ${exitCode}: ${err}`);
    return Buffer.concat([out, err]);
  } catch (error) {
    throw internal(streamRefusal(error));
  }
}

/** Unlike the streams' endpoints, this one calls whatever the runtime refuses an error of its own. */
const internal = (error: unknown): unknown =>
  error instanceof HttpError ? new HttpError(500, error.message, { cause: error }) : error;
