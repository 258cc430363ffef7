import { readFileSync } from 'node:fs';

/** Our own version, as in package.json. A bundle has it built in. */
export function keelsonVersion(): string {
  const builtIn = process.env.KEELSON_VERSION;
  if (builtIn) return builtIn;
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return String(version);
}
