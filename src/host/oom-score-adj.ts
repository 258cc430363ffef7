import { writeFile } from 'node:fs/promises';
import { messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

/**
 * How readily the kernel ends this process when memory runs out, −1000 (never) to 1000; the programs that it starts
 * inherit it. Only root may lower it: where that fails the process goes on as it is, as upstream.
 */
export async function setOomScoreAdj(value: number, log: Log, procDir = '/proc'): Promise<void> {
  try {
    await writeFile(`${procDir}/self/oom_score_adj`, `${value}`, { flag: 'r+' });
  } catch (error) {
    log.debug({ oomScoreAdj: value, err: messageOf(error) }, 'cannot set the OOM score of keelson');
  }
}
