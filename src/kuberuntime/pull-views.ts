import type { Pod } from '../api/core-v1.ts';
import type { Clock } from '../lib/clock.ts';
import type { PullBackoff } from './pull-backoff.ts';
import { howFar, type PulledBytes } from './pull-progress.ts';

/** What somebody waits for whose image is not there. */
export interface PullView {
  /** As the pod names it. */
  readonly image: string;
  /** For a place among the pulls, for the runtime, or for the end of a back-off. */
  readonly phase: 'waiting' | 'pulling' | 'backOff';
  /** Since when, milliseconds since the epoch. */
  readonly since: number;
  /** How much is here, once that is known. */
  readonly bytes?: number;
  readonly totalBytes?: number;
  /** In a back-off: when it ends, milliseconds since the epoch. */
  readonly retryAt?: number;
}

interface Seeker {
  readonly pod: Pod;
  /** A container's name, or a volume's. */
  readonly owner: string;
  readonly image: string;
}

interface State {
  readonly image: string;
  readonly phase: 'waiting' | 'pulling' | 'stopped';
  readonly since: number;
  readonly pulled?: PulledBytes;
}

/** Views kept of pulls that failed: pods that are gone leave theirs behind, the oldest go first. */
const maxKept = 1000;

/** Who waits for which image, for those who explain why a pod is not ready. Decides nothing. */
export class PullViews {
  readonly #clock: Clock;
  readonly #backoff: PullBackoff;
  readonly #states = new Map<string, State>();

  constructor(clock: Clock, backoff: PullBackoff) {
    this.#clock = clock;
    this.#backoff = backoff;
  }

  waits(seeker: Seeker): void {
    this.#set(seeker, { image: seeker.image, phase: 'waiting', since: this.#clock.now() });
  }

  pulls(seeker: Seeker): void {
    this.#set(seeker, { image: seeker.image, phase: 'pulling', since: this.#clock.now() });
  }

  looked(seeker: Seeker, pulled: PulledBytes): void {
    const state = this.#states.get(keyOf(seeker));
    if (state) this.#states.set(keyOf(seeker), { ...state, pulled });
  }

  /** Without an image: from now on it is the back-off that is waited for, if there is one. */
  stopped(seeker: Seeker): void {
    this.#set(seeker, { image: seeker.image, phase: 'stopped', since: this.#clock.now() });
  }

  done(seeker: Seeker): void {
    this.#states.delete(keyOf(seeker));
  }

  view(uid: string, owner: string): PullView | undefined {
    const state = this.#states.get(`${uid}/${owner}`);
    if (!state) return undefined;
    const { image, phase, since, pulled } = state;
    if (phase !== 'stopped') {
      return { image, phase, since, ...(pulled ? { bytes: pulled.bytes, totalBytes: pulled.totalBytes } : {}) };
    }
    const waiting = this.#backoff.waiting(`${uid}/${image}`);
    return waiting && { image, phase: 'backOff', since, retryAt: this.#clock.now() + waiting.leftMs };
  }

  /** How far the pull of an image is, for whichever pod, in words: '12 MiB of 30 MiB'. Undefined when nobody knows. */
  words(image: string): string | undefined {
    for (const state of this.#states.values()) {
      if (state.image !== image || state.phase === 'stopped') continue;
      if (state.phase === 'waiting') return 'waits until other pulls are done';
      if (state.pulled) return howFar(state.pulled);
    }
    return undefined;
  }

  #set(seeker: Seeker, state: State): void {
    const key = keyOf(seeker);
    this.#states.delete(key);
    this.#states.set(key, state);
    const oldest = this.#states.keys().next().value;
    if (this.#states.size > maxKept && oldest !== undefined) this.#states.delete(oldest);
  }
}

const keyOf = ({ pod, owner }: Seeker): string => `${pod.metadata.uid}/${owner}`;
