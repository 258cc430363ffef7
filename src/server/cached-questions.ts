import type { Clock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';
import { Semaphore } from '../lib/semaphore.ts';

export interface CachedQuestionsOptions<Q, A> {
  /** Asks; has a deadline of its own. */
  readonly ask: (question: Q, signal: AbortSignal) => Promise<A>;
  /** How long an answer counts, milliseconds. An error is never kept. */
  readonly ttl: (answer: A) => number;
  readonly clock: Clock;
}

const maxEntries = 4096;
/** Strangers must not keep the API server busy through us, nor fill our memory while it is slow. */
const maxAsking = 16;
const maxWaiting = 256;

/**
 * Questions to the API server whose answers are kept for a while. The same question of several clients
 * at once is asked once, and goes on when one of them goes away.
 */
export class CachedQuestions<Q, A> {
  readonly #o: CachedQuestionsOptions<Q, A>;
  readonly #answers = new ExpiringCache<A>(maxEntries);
  readonly #open = new Map<string, Promise<A>>();
  readonly #turns = new Semaphore(maxAsking);

  constructor(options: CachedQuestionsOptions<Q, A>) {
    this.#o = options;
  }

  /** `key` stands for the question; it is kept, so it must not be a secret. The signal is that of the server's life. */
  async answer(key: string, question: Q, signal: AbortSignal): Promise<A> {
    const { clock } = this.#o;
    const known = this.#answers.get(key, clock.monotonic());
    if (known !== undefined) return known;
    const open = this.#open.get(key);
    if (open) return open;
    if (this.#open.size >= maxAsking + maxWaiting) {
      throw new AgentError('TooManyQuestions', 'too many questions to the API server are waiting', { retryable: true });
    }
    const asked = this.#ask(key, question, signal).finally(() => this.#open.delete(key));
    this.#open.set(key, asked);
    return asked;
  }

  async #ask(key: string, question: Q, signal: AbortSignal): Promise<A> {
    const { ask, ttl, clock } = this.#o;
    const answer = await this.#turns.run(signal, () => ask(question, signal));
    this.#answers.set(key, answer, clock.monotonic() + ttl(answer));
    return answer;
  }
}
