import { eventReason } from '../api/reasons.ts';
import type { ContentStore } from '../cri/containerd-content.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errorFields } from '../lib/errors.ts';
import { goDuration } from '../lib/go-duration.ts';
import type { ImageName } from '../lib/image-name.ts';
import type { Log } from '../lib/log.ts';
import { howFar, type PulledBytes, PullProgress } from './pull-progress.ts';

export interface WatchedPull {
  /** As the pod names it. */
  readonly image: string;
  readonly name: ImageName;
  /** Undefined: nobody knows how far a pull is. */
  readonly content: ContentStore | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly event: (type: 'Normal', reason: string, message: string) => void;
  /** Called with what is here, each time that was looked at. */
  readonly look: (pulled: PulledBytes) => void;
}

/** A short pull is never looked at. */
const lookEveryMs = 10_000;
const sayEveryMs = 30_000;
/** A layer of which nothing more comes for so long does not come; the runtime itself gives up sooner, as a rule. */
const stalledMs = 5 * 60_000;
/** The same where no bytes are to be seen: while the runtime unpacks a large image, or is none that tells. */
const silentMs = 60 * 60_000;

/** Runs a pull and tells from time to time how far it is. One that makes no progress is ended, and fails with code PullStalled. */
export async function watchPull<T>(
  watched: WatchedPull,
  pull: (signal: AbortSignal) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const stalled = new AbortController();
  const over = new AbortController();
  const watching = watch(watched, stalled, AbortSignal.any([signal, over.signal])).catch((error: unknown) => {
    if (!signal.aborted && !over.signal.aborted) {
      watched.log.warn({ image: watched.image, ...errorFields(error) }, 'nobody watches a pull any more');
    }
  });
  try {
    return await pull(AbortSignal.any([signal, stalled.signal]));
  } finally {
    over.abort();
    await watching;
  }
}

async function watch(watched: WatchedPull, stalled: AbortController, signal: AbortSignal): Promise<void> {
  const { image, name, content, clock, log, event, look } = watched;
  const progress = content && new PullProgress(content, name);
  let sight = '';
  let movedAt = clock.monotonic();
  let saidAt = movedAt;
  for (;;) {
    await clock.sleep(lookEveryMs, signal);
    const pulled = await progress?.look(signal);
    const now = clock.monotonic();
    if (pulled) look(pulled);
    const seen = pulled ? `${pulled.bytes} ${pulled.fetching}` : '';
    if (seen !== sight) movedAt = now;
    sight = seen;
    const limitMs = pulled?.fetching ? stalledMs : silentMs;
    if (now - movedAt >= limitMs) {
      const how = `${pulled ? `${howFar(pulled)}, ` : ''}no progress for ${goDuration(limitMs)}`;
      return stalled.abort(new AgentError('PullStalled', `pull of image "${image}" given up: ${how}`));
    }
    if (now - saidAt < sayEveryMs) continue;
    saidAt = now;
    log.info(
      { image, ...(pulled ? { bytes: pulled.bytes, totalBytes: pulled.totalBytes } : {}) },
      'image is being pulled',
    );
    if (pulled) event('Normal', eventReason.pulling, `Pulling image "${image}": ${howFar(pulled)}`);
  }
}
