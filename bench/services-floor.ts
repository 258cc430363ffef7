import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { FloorTask } from './services.ts';

/* Gives texts to a bare program, one by one, and says how long each took. Ends with the connection to its parent. */

process.on('disconnect', () => process.exit());
process.on('message', (task: FloorTask) => {
  void perform(task).then((took) => process.send?.(took));
});
process.send?.('ready');

async function perform({ command: [file = '', ...args], texts, path }: FloorTask): Promise<readonly number[]> {
  const took: number[] = [];
  for (const text of path === undefined ? texts : [await readFile(path)]) {
    const from = performance.now();
    const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'inherit'] });
    child.stdin.end(text);
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`${file} ended with ${code}`);
    took.push(performance.now() - from);
  }
  return took;
}
