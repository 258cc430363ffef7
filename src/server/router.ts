import type { Endpoint } from './endpoint.ts';

/** An endpoint, and what the placeholders of its path stand for. */
export interface Match {
  readonly endpoint: Endpoint;
  readonly params: Readonly<Record<string, string>>;
}

interface Route {
  readonly endpoint: Endpoint;
  readonly segments: readonly string[];
}

/**
 * Finds the endpoint of a path. A segment that is spelled out goes before a placeholder, and that before
 * the rest ('*'). A slash at the end of a path means nothing.
 */
export class Router {
  readonly #routes: readonly Route[];
  readonly #roots: ReadonlySet<string>;

  constructor(endpoints: readonly Endpoint[]) {
    const routes = endpoints.map((endpoint) => ({ endpoint, segments: segmentsOf(endpoint.path) }));
    this.#routes = routes.toSorted(bySpecificity);
    this.#roots = new Set(routes.map(({ segments }) => segments[0] ?? ''));
  }

  /** Whether anything is served below the path's first segment. */
  knows(path: string): boolean {
    return this.#roots.has(decode(segmentsOf(path)[0] ?? '') ?? '');
  }

  /** Every endpoint of the path, the most specific first; there are several when methods have endpoints of their own. */
  matches(path: string): Match[] {
    const decoded = segmentsOf(path).map(decode);
    // A broken escape is nobody's path.
    if (!decoded.every((segment) => segment !== undefined)) return [];
    return this.#routes.flatMap(({ endpoint, segments }) => {
      const params = paramsOf(segments, decoded);
      return params ? [{ endpoint, params }] : [];
    });
  }
}

const segmentsOf = (path: string): string[] => path.replace(/^\//, '').replace(/\/$/, '').split('/');

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

const isPlaceholder = (segment: string) => segment.startsWith('{') && segment.endsWith('}');

function paramsOf(pattern: readonly string[], path: readonly string[]): Record<string, string> | undefined {
  const params: Record<string, string> = {};
  for (const [i, segment] of pattern.entries()) {
    if (segment === '*') return { ...params, '*': path.slice(i).join('/') };
    const given = path[i];
    if (given === undefined) return undefined;
    if (isPlaceholder(segment)) {
      if (given === '') return undefined;
      params[segment.slice(1, -1)] = given;
    } else if (given !== segment) return undefined;
  }
  return path.length === pattern.length ? params : undefined;
}

const rank = (segment: string | undefined): number => {
  if (segment === undefined) return 0;
  if (segment === '*') return 3;
  return isPlaceholder(segment) ? 2 : 1;
};

function bySpecificity(a: Route, b: Route): number {
  for (let i = 0; i < Math.max(a.segments.length, b.segments.length); i++) {
    const order = rank(a.segments[i]) - rank(b.segments[i]);
    if (order !== 0) return order;
  }
  return 0;
}
