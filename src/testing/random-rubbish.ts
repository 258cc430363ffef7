type Random = (below: number) => number;

const rubbish: readonly unknown[] = [
  ...[null, undefined, '', 'x', '../../etc', 'a/b', 'x'.repeat(100_000), 0, -1, 1.5, 1e300, true, false],
  ...[[], [null], ['x'], [5], {}, { name: null }, { x: { y: 1 } }, '2026-01-01T00:00:00Z', '::1'],
];

/** A copy of an object from the wire with one to three fields of any depth dropped, emptied, or of another type. */
export function mutated(object: object, random: Random): unknown {
  let result: unknown = structuredClone(object);
  for (let left = 1 + random(3); left > 0; left--) result = mutatedOnce(result, random);
  // As the wire brings it: nothing is undefined.
  return JSON.parse(JSON.stringify(result ?? null));
}

function mutatedOnce(value: unknown, random: Random): unknown {
  if (typeof value !== 'object' || value === null) return rubbish[random(rubbish.length)];
  const keys = Object.keys(value);
  const key = keys[random(keys.length)];
  // The deeper, the less often something as a whole.
  if (key === undefined || random(12) === 0) return rubbish[random(rubbish.length)];
  const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>;
  if (random(8) === 0) delete copy[key];
  else copy[key] = random(4) === 0 ? rubbish[random(rubbish.length)] : mutatedOnce(copy[key], random);
  return copy;
}

const types = ['ADDED', 'MODIFIED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'WEIRD', '', null, 5];

/** A watch event about such an object. One that says the end of `spared`, and means it, is none of them. */
export function mutatedEvent(object: object, random: Random, spared: string): unknown {
  for (;;) {
    const event = { type: types[random(types.length)], object: mutated(object, random) };
    const { metadata } = (event.object ?? {}) as { metadata?: { name?: unknown } | null };
    if (metadata?.name !== spared) return random(20) === 0 ? mutated(event, random) : event;
  }
}
