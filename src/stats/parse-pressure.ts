import type { Pressure, PressureLine } from './cgroup-stats.ts';

const none: PressureLine = { avg10: 0, avg60: 0, avg300: 0, total: 0 };

/** A *.pressure file, or one of /proc/pressure; the CPU's has no `full` before Linux 5.13. */
export function parsePressure(text: string): Pressure {
  return { some: lineOf(text, 'some '), full: lineOf(text, 'full ') };
}

function lineOf(text: string, word: string): PressureLine {
  const start = text.startsWith(word) ? 0 : text.indexOf(`\n${word}`) + 1;
  if (!text.startsWith(word, start)) return none;
  const field = (name: string) => Number.parseFloat(text.slice(text.indexOf(name, start) + name.length)) || 0;
  const total = text.slice(text.indexOf('total=', start) + 'total='.length);
  return {
    avg10: field('avg10='),
    avg60: field('avg60='),
    avg300: field('avg300='),
    total: Number.parseInt(total, 10),
  };
}
