/**
 * A virtual server has one list of endpoints, but a Service whose external policy is Local has two: those for clients
 * from outside and those for all others. So packets from outside are marked on their way in, by the set
 * KEELSON-OUTSIDE, and IPVS finds a second virtual server by that mark, before it looks at addresses.
 *
 * A mark is a number of 23 bits, a byte that says it is one of these, and the bit that asks for masquerade left clear.
 */

/** The byte on top; the other one is for those who have put the masquerade bit into the first. */
const prefixes = [0x4b, 0xb4] as const;
/** What of a packet mark holds the prefix. */
export const prefixMask = 0xff000000;
const numberBits = 23;
const maxNumber = 2 ** numberBits;

/** The prefix in its place, for a given masquerade bit (0 … 31). */
export function markPrefix(masqueradeBit: number): number {
  const [usual, other] = prefixes;
  const taken = masqueradeBit >= 24 && ((usual >> (masqueradeBit - 24)) & 1) === 1;
  return ((taken ? other : usual) << 24) >>> 0;
}

/** Number 0 … 2^23-1 as a mark. */
export function markOf(number: number, masqueradeBit: number): number {
  const bit = Math.min(masqueradeBit, numberBits);
  const low = number & (2 ** bit - 1);
  return (markPrefix(masqueradeBit) + (number - low) * 2 + low) >>> 0;
}

/** Whether a mark is one of ours, whatever the masquerade bit was. */
export const isOutsideMark = (mark: number): boolean => prefixes.some((prefix) => mark >>> 24 === prefix);

/** Who has which mark; a frontend keeps its mark for as long as it wants one, also over a restart. */
export class OutsideMarks {
  readonly #masqueradeBit: number;
  readonly #byFrontend = new Map<string, number>();
  readonly #used = new Set<number>();
  /** By element, and kept from all others. */
  readonly #known: ReadonlyMap<string, number>;
  readonly #reserved: ReadonlySet<number>;
  #next = 0;

  /** `inKernel`: what the set holds, mark by element; a frontend that is asked for with that element gets it again. */
  constructor(masqueradeBit: number, inKernel: Iterable<readonly [element: string, mark: number]> = []) {
    this.#masqueradeBit = masqueradeBit;
    this.#known = new Map(inKernel);
    this.#reserved = new Set(this.#known.values());
  }

  /** The mark of a frontend, whose first element in the set is `element`. */
  take(frontend: string, element: string | undefined): number {
    const had = this.#byFrontend.get(frontend);
    if (had !== undefined) return had;
    const known = element === undefined ? undefined : this.#known.get(element);
    const mark = known !== undefined && this.#isFit(known) ? known : this.#free();
    this.#byFrontend.set(frontend, mark);
    this.#used.add(mark);
    return mark;
  }

  release(frontend: string): void {
    const mark = this.#byFrontend.get(frontend);
    if (mark === undefined) return;
    this.#byFrontend.delete(frontend);
    this.#used.delete(mark);
  }

  #isFit(mark: number): boolean {
    const isPrefixed = (mark & prefixMask) >>> 0 === markPrefix(this.#masqueradeBit);
    return isPrefixed && (mark & (1 << this.#masqueradeBit)) === 0 && !this.#used.has(mark);
  }

  #free(): number {
    for (let tries = 0; tries < maxNumber; tries++) {
      const mark = markOf(this.#next, this.#masqueradeBit);
      this.#next = (this.#next + 1) % maxNumber;
      if (!this.#used.has(mark) && !this.#reserved.has(mark)) return mark;
    }
    throw new Error('more frontends than marks');
  }
}
