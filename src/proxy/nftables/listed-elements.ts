/** A listing without its elements, and these in pieces. */
export interface SplitListing {
  /** The listing with, in place of each list of elements, a list of one number: which of `lists` it is. */
  readonly frame: string;
  /** Each list of elements as pieces of JSON without the brackets around them. */
  readonly lists: readonly (readonly string[])[];
}

/** Characters parsed at once, about: many enough to be quick, few enough to be garbage soon. */
const usualPiece = 64 * 1024;

const [quote, backslash, comma] = [0x22, 0x5c, 0x2c];
const [openList, closeList, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Takes the lists of elements out of the output of `nft -j list` (schema: libnftables-json(5)). A table of 40,000
 * Services has a quarter of a million of them, and parsed in one go they take several times the memory of what is made
 * of them. What is no JSON comes back as it is, for the parser to complain of.
 */
export function splitListing(json: string, pieceLength = usualPiece): SplitListing {
  const lists: (readonly string[])[] = [];
  const frame: string[] = [];
  // Within a text of the listing its quotes would be escaped.
  const begin = /"elem":\s*\[/g;
  let kept = 0;
  while (begin.exec(json)) {
    const from = begin.lastIndex;
    const list = cutList(json, from, pieceLength);
    if (!list) break;
    frame.push(json.slice(kept, from), `${lists.length}`);
    lists.push(list.pieces);
    kept = list.end;
    begin.lastIndex = kept;
  }
  return { frame: frame.join('') + json.slice(kept), lists };
}

/** The elements of one list, parsed piece by piece; throws SyntaxError. */
export function* elementsOf(pieces: readonly string[]): Generator<unknown, void, void> {
  for (const piece of pieces) yield* JSON.parse(`[${piece}]`) as unknown[];
}

/** The list that begins at `from`, after its bracket: cut between elements, up to the bracket at `end`. */
function cutList(json: string, from: number, pieceLength: number) {
  const pieces: string[] = [];
  let depth = 0;
  let start = from;
  for (let at = from; at < json.length; at++) {
    const char = json.charCodeAt(at);
    if (char === quote) at = endOfText(json, at);
    else if (char === openList || char === openObject) depth++;
    else if (char === comma && depth === 0 && at - start >= pieceLength) {
      pieces.push(json.slice(start, at));
      start = at + 1;
    } else if (char === closeObject || char === closeList) {
      if (depth === 0) return { pieces: [...pieces, json.slice(start, at)], end: at };
      depth--;
    }
  }
  return undefined;
}

/** The quote that ends the text which begins with the one at `from`. */
function endOfText(json: string, from: number): number {
  for (let at = json.indexOf('"', from + 1); at >= 0; at = json.indexOf('"', at + 1)) {
    let slashes = 0;
    while (json.charCodeAt(at - 1 - slashes) === backslash) slashes++;
    if (slashes % 2 === 0) return at;
  }
  return json.length;
}
