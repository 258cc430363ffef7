import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '../lib/log.ts';
import { setOomScoreAdj } from './oom-score-adj.ts';

test('the score is set where it can be, and nothing stops where it cannot', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'oom-'));
  try {
    await setOomScoreAdj(-999, silentLog, folder);
    await mkdir(join(folder, 'self'));
    await writeFile(join(folder, 'self/oom_score_adj'), '0');
    await setOomScoreAdj(-999, silentLog, folder);
    assert.equal(await readFile(join(folder, 'self/oom_score_adj'), 'utf8'), '-999');
  } finally {
    await rm(folder, { recursive: true });
  }
});
