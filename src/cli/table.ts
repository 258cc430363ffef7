/** Rows as kubectl prints them: columns as wide as their longest cell, three spaces apart, nothing behind the last. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  const lines = rows.map((row) => row.map((cell, i) => cell.padEnd((widths[i] ?? 0) + 3)).join(''));
  return lines.map((line) => line.trimEnd()).join('\n');
}
