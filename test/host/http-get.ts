import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';

/*
 * Run inside a host's network: prints the body of the first answer, after trying for as long as it is
 * told (milliseconds). Connections are new each time, so that every attempt meets the rules of the moment.
 */
const [url = '', timeoutMs = '10000'] = process.argv.slice(2);
const deadline = performance.now() + Number(timeoutMs);
for (;;) {
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      get(url, { agent: false, timeout: 2000 }, resolve).once('error', reject).once('timeout', reject);
    });
    process.stdout.write(await text(response));
    process.exit(response.statusCode === 200 ? 0 : 1);
  } catch (error) {
    if (performance.now() > deadline) {
      process.stderr.write(`GET ${url}: ${error instanceof Error ? error.message : 'no answer in time'}\n`);
      process.exit(1);
    }
    await delay(20);
  }
}
