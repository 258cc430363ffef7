const known = new Set(['level', 'time', 'msg']);

/** A log line as people read it, from one of JSON: time, level, message, then the fields as key=value. */
export function textLine(json: string): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(json);
  } catch {
    return json;
  }
  const fields = Object.entries(entry).filter(([name]) => !known.has(name));
  const head = `${entry['time']} ${String(entry['level']).toUpperCase().padEnd(5)} ${entry['msg'] ?? ''}`;
  return `${[head, ...fields.map(([name, value]) => `${name}=${plain(value)}`)].join(' ')}\n`;
}

function plain(value: unknown): string {
  return typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}
