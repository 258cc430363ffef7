/** Which part of a service's or file's log is meant (upstream's NodeLogQuery). */
export interface NodeLogQuery {
  readonly services: readonly string[];
  /** Below the folder of logs. */
  readonly file: string | undefined;
  readonly options: NodeLogOptions;
}

export interface NodeLogOptions {
  /** Milliseconds since the epoch. */
  readonly sinceTime?: number;
  readonly untilTime?: number;
  readonly tailLines?: number;
  readonly boot?: number;
  readonly pattern?: string;
}

/** Why a query is refused: what cannot be read is a bad request, what makes no sense is not acceptable. */
export interface QueryFault {
  readonly status: 400 | 406;
  readonly message: string;
}

const maxTailLines = 100_000;
const maxServiceLength = 256;
const maxServices = 4;
/** What may stand in a name that becomes an argument of a program. */
const serviceName = /^[a-zA-Z\-_0-9@]*$/;

/** The query in a request for `/logs/`, or what is wrong with it; undefined when the request has none. */
export function readNodeLogQuery(query: URLSearchParams): NodeLogQuery | QueryFault | undefined {
  const asked = query.getAll('query');
  const files = asked.filter((q) => /[/\\]/.test(q));
  const services = asked.filter((q) => !files.includes(q) && q.trim() !== '');
  const faults: string[] = [];
  const read = <T>(name: string, parse: (text: string) => T | string): T | undefined => {
    const text = query.get(name);
    if (!text) return undefined;
    const value = parse(text);
    if (typeof value !== 'string') return value;
    faults.push(invalid(name, JSON.stringify(text), value));
    return undefined;
  };
  if (query.has('query') && files.length + services.length === 0) {
    faults.push(invalid('query', list(asked), 'query cannot be empty'));
  }
  const sinceTime = read('sinceTime', time);
  const untilTime = read('untilTime', time);
  const boot = read('boot', integer);
  const tailLines = read('tailLines', integer);
  const pattern = query.get('pattern') || undefined;
  if (faults.length) return { status: 400, message: aggregate(faults) };
  const options: NodeLogOptions = {
    ...(sinceTime === undefined ? {} : { sinceTime }),
    ...(untilTime === undefined ? {} : { untilTime }),
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(boot === undefined ? {} : { boot }),
    ...(pattern === undefined ? {} : { pattern }),
  };
  const hasOptions = Object.keys(options).length > 0;
  if (!hasOptions && files.length + services.length === 0) return undefined;
  const senseless = [...wrongNames(services, files, hasOptions), ...wrongOptions(options)];
  if (senseless.length) return { status: 406, message: aggregate(senseless) };
  return { services, file: files[0]?.replaceAll('\\', '/'), options };
}

function wrongNames(services: readonly string[], files: readonly string[], hasOptions: boolean): string[] {
  const faults = services.flatMap((service) => {
    if (service.length > maxServiceLength)
      return [invalid('query', JSON.stringify(service), 'length must be less than 100')];
    if (serviceName.test(service)) return [];
    return [invalid('query', JSON.stringify(service), 'input contains unsupported characters')];
  });
  if (services.length > maxServices) {
    faults.push(`query: Too many: ${services.length}: must have at most ${maxServices} items`);
  }
  if (!services.length && !files.length) faults.push('query: Required value: cannot be empty with options');
  else if (services.length && files.length) {
    const both = JSON.stringify(`[${files.join(' ')}], [${services.join(' ')}]`);
    faults.push(invalid('query', both, 'cannot specify a file and service'));
  } else if (files.length > 1) faults.push(invalid('query', list(files), 'cannot specify more than one file'));
  else if (files.length === 1 && hasOptions) {
    faults.push(invalid('query', list(files), 'cannot specify file with options'));
  }
  return faults;
}

function wrongOptions({ sinceTime, untilTime, boot, tailLines, pattern }: NodeLogOptions): string[] {
  const faults: string[] = [];
  if (sinceTime !== undefined && untilTime !== undefined && sinceTime > untilTime) {
    const shown = new Date(untilTime).toISOString().replace('T', ' ').replace(/\..*/, ' +0000 UTC');
    faults.push(invalid('untilTime', shown, 'must be after `sinceTime`'));
  }
  if (boot !== undefined && boot > 0) faults.push(invalid('boot', `${boot}`, 'must be less than 1'));
  if (tailLines !== undefined && (tailLines < 0 || tailLines > maxTailLines)) {
    faults.push(invalid('tailLines', `${tailLines}`, `must be between 0 and ${maxTailLines}, inclusive`));
  }
  const why = pattern === undefined ? undefined : wrongPattern(pattern);
  if (why !== undefined) faults.push(invalid('pattern', JSON.stringify(pattern), why));
  return faults;
}

/** The journal reads its patterns itself; this is for what no regular expression can be, before a program is started. */
function wrongPattern(pattern: string): string | undefined {
  try {
    // Flags for the rest of an expression are unknown to this language alone.
    new RegExp(pattern.replace(/\(\?[a-zA-Z-]+\)/g, ''));
    return undefined;
  } catch {
    return `error parsing regexp: \`${pattern}\``;
  }
}

/** What journalctl is to be told. */
export function journalArguments(services: readonly string[], options: NodeLogOptions): string[] {
  const { sinceTime, untilTime, tailLines, boot, pattern } = options;
  return [
    '--utc',
    '--no-pager',
    '--output=short-precise',
    ...(sinceTime === undefined ? [] : [`--since=${journalTime(sinceTime)}`]),
    ...(untilTime === undefined ? [] : [`--until=${journalTime(untilTime)}`]),
    ...(tailLines === undefined ? [] : ['--pager-end', `--lines=${tailLines}`]),
    ...services.map((service) => `--unit=${service}`),
    ...(pattern === undefined ? [] : [`--grep=${pattern}`]),
    ...(boot === undefined ? [] : ['--boot', `${boot}`]),
  ];
}

const journalTime = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace('T', ' ');

const invalid = (field: string, value: string, why: string): string => `${field}: Invalid value: ${value}: ${why}`;
const list = (values: readonly string[]): string => `[]string{${values.map((v) => JSON.stringify(v)).join(', ')}}`;

function aggregate(faults: readonly string[]): string {
  const unique = [...new Set(faults)];
  return unique.length === 1 ? (unique[0] ?? '') : `[${unique.join(', ')}]`;
}

function time(text: string): number | string {
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? 'invalid time format' : ms;
}

function integer(text: string): number | string {
  if (/^[+-]?\d{1,18}$/.test(text)) return Number(text);
  const why = /^[+-]?\d+$/.test(text) ? 'value out of range' : 'invalid syntax';
  return `strconv.Atoi: parsing ${JSON.stringify(text)}: ${why}`;
}
