import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { ExecError, notFound } from '../../host/exec.ts';
import type { Follow } from '../../host/follow-program.ts';
import { FakeClock } from '../../lib/fake-clock.ts';
import type { Log } from '../../lib/log.ts';
import { silentLog } from '../../lib/log.ts';
import { RulesetWatch } from './ruleset-watch.ts';

/** One life of a follower, as the test leads it. */
interface Life {
  readonly file: string;
  say(...lines: string[]): void;
  end(error: unknown): void;
}

function rig() {
  const clock = new FakeClock();
  const lives: Life[] = [];
  let born = Promise.withResolvers<Life>();
  const follow: Follow = (file, _, { signal, onLine }) => {
    const ended = Promise.withResolvers<void>();
    signal.addEventListener('abort', () => ended.resolve());
    const say = (...lines: string[]) => {
      for (const line of lines) onLine(line);
    };
    const life = { file, say, end: ended.reject };
    lives.push(life);
    born.resolve(life);
    born = Promise.withResolvers();
    return ended.promise;
  };
  const warned: string[] = [];
  const log: Log = { ...silentLog, warn: (_, message) => void warned.push(message) };
  const watch = new RulesetWatch({ follow, clock, log });
  const heard: string[] = [];
  const stop = new AbortController();
  const listening = watch.listen(stop.signal, (change) => heard.push(change ? [...change].sort().join() : 'look'));
  /** Whatever is gathered is told. */
  const told = async () => {
    await clock.advance(300);
    return heard.splice(0);
  };
  return { clock, watch, lives, next: () => born.promise, heard, told, warned, stop, listening };
}

const end = (program = 'nft') => `NEWGEN: GENID=1 PID=2 NAME=${program}`;
const flushed = ' EVENT: -4 -t keelson -D prerouting -p tcp';
const elsewhere = ' EVENT: -4 -t filter -D INPUT -p tcp';

test('that it begins to listen is reason for a look', async () => {
  const { told, lives, stop, listening } = rig();
  assert.deepEqual(await told(), ['look']);
  assert.equal(lives[0]?.file, 'stdbuf');
  stop.abort();
  await listening;
});

const foreign: Record<string, { lines: string[]; told: string[] }> = {
  'a rule of ours removed: told at once, by table': { lines: [flushed, end()], told: ['ip keelson', 'look'] },
  'a rule of another table: elements of ours may be gone too': {
    lines: [elsewhere, end()],
    told: ['ip filter', 'look'],
  },
  'several tables in one transaction': { lines: [elsewhere, flushed, end()], told: ['ip filter,ip keelson', 'look'] },
  'elements of somebody’s, of which nothing is said': { lines: [end()], told: ['look'] },
  'many transactions in a row: one look': { lines: [end(), end('firewalld'), end()], told: ['look'] },
  'no end yet': { lines: [flushed], told: [] },
  'lines that nobody knows': { lines: ['# hello', ''], told: [] },
};
for (const [sentence, { lines, told: expected }] of Object.entries(foreign)) {
  test(`foreign: ${sentence}`, async () => {
    const { told, lives } = rig();
    await told();
    lives[0]?.say(...lines);
    assert.deepEqual(await told(), expected);
  });
}

const ours: Record<string, { changesRules: boolean; lines: string[]; told: string[] }> = {
  elements: { changesRules: false, lines: [end()], told: [] },
  rules: { changesRules: true, lines: [flushed, end()], told: [] },
  'elements while a firewall is at work': { changesRules: false, lines: [end('firewalld'), end()], told: ['look'] },
  'elements while another nft flushes a chain, which is heard first': {
    changesRules: false,
    lines: [flushed, end(), end()],
    told: ['ip keelson', 'look'],
  },
  'rules while another nft flushes a chain: one of both is taken for foreign': {
    changesRules: true,
    lines: [flushed, end(), flushed, end()],
    told: ['ip keelson', 'look'],
  },
};
for (const [sentence, { changesRules, lines, told: expected }] of Object.entries(ours)) {
  for (const when of ['while it runs', 'after it ran']) {
    test(`our own transaction, heard ${when}: ${sentence}`, async () => {
      const { told, lives, watch } = rig();
      await told();
      const say = async () => lives[0]?.say(...lines);
      await watch.own(changesRules, when === 'while it runs' ? say : async () => {});
      if (when === 'after it ran') await say();
      assert.deepEqual(await told(), expected);
    });
  }
}

test('our own transaction that failed, or was not heard of for long, excuses nobody else', async () => {
  const { told, lives, watch, clock } = rig();
  await told();
  await assert.rejects(watch.own(true, () => Promise.reject(new Error('no'))));
  lives[0]?.say(flushed, end());
  assert.deepEqual(await told(), ['ip keelson', 'look']);
  await watch.own(true, async () => {});
  await clock.advance(3_000);
  lives[0]?.say(flushed, end());
  assert.deepEqual(await told(), ['ip keelson', 'look']);
});

const died = new ExecError('stdbuf', 'exited with status 1', {
  ...{ code: 'ExecFailed', exitCode: 1, stderr: 'No buffer space available', timedOut: false },
});

test('a follower that dies is started again, with a look for what was missed', async () => {
  const { told, lives, clock, warned, next } = rig();
  for (let i = 0; i < 8; i++) {
    // Each lives long, so that its end is always the first.
    await clock.advance(11_000);
    await told();
    const born = next();
    lives.at(-1)?.end(died);
    await setImmediate();
    await clock.advance(200);
    await born;
    assert.deepEqual(await told(), ['look']);
  }
  assert.deepEqual(warned, []);
});

test('one that dies in the middle of a transaction has named the table', async () => {
  const { told, lives } = rig();
  await told();
  lives[0]?.say(' EVENT: -4 -t keelson ');
  lives[0]?.end(died);
  await setImmediate();
  assert.equal((await told())[0], 'ip keelson');
  const { told: toldOurs, lives: oursLives, watch: ours } = rig();
  await toldOurs();
  await ours.own(true, async () => oursLives[0]?.say(' EVENT: -4 -t keelson '));
  oursLives[0]?.end(died);
  await setImmediate();
  assert.ok(!(await toldOurs()).includes('ip keelson'));
});

test('a transaction of ours that the next follower hears of is ours', async () => {
  for (const end of ['under way when the one before died', 'begun while nobody followed'] as const) {
    const { told, lives, clock, watch, next } = rig();
    await told();
    const done = Promise.withResolvers<void>();
    const isEarly = end === 'under way when the one before died';
    const early = isEarly ? watch.own(true, () => done.promise) : undefined;
    const born = next();
    lives[0]?.end(died);
    await setImmediate();
    const ours = early ?? watch.own(true, () => done.promise);
    await clock.advance(200);
    const second = await born;
    second.say(' EVENT: -4 -t keelson ');
    second.end(died);
    await setImmediate();
    done.resolve();
    await ours;
    assert.ok(!(await told()).includes('ip keelson'), end);
  }
});

test('one that does not live is tried less and less often, with one warning', async () => {
  const { lives, clock, warned, next } = rig();
  for (const delay of [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]) {
    const born = next();
    const before = lives.length;
    lives.at(-1)?.end(died);
    await setImmediate();
    await clock.advance(delay - 1);
    assert.equal(lives.length, before);
    await clock.advance(1);
    await born;
  }
  assert.deepEqual(warned, ['changes of the ruleset cannot be followed; trying again']);
});

for (const [sentence, error] of [
  ['stdbuf', notFound('stdbuf')],
  ['xtables-monitor', new ExecError('stdbuf', '', { code: 'ExecFailed', exitCode: 127, stderr: '', timedOut: false })],
] as const) {
  test(`without ${sentence}, nft monitor is used, which tells of elements too`, async () => {
    const { told, lives, warned, next, stop, listening } = rig();
    await told();
    const born = next();
    lives[0]?.end(error);
    assert.equal((await born).file, 'nft');
    await told();
    lives[1]?.say('delete element ip other a { 1 }', '# new generation 1 by process 2 (nft)');
    assert.deepEqual(await told(), ['ip other', 'look']);
    lives[1]?.say('delete element ip keelson a { 1 }', '# new generation 1 by process 2 (x)');
    assert.deepEqual(await told(), ['ip keelson', 'look']);
    lives[1]?.say('# ERROR: We lost some netlink events!');
    assert.deepEqual(await told(), ['look']);
    lives[1]?.end(notFound('nft'));
    await setImmediate();
    assert.equal(warned.length, 1);
    stop.abort();
    await listening;
    assert.equal(lives.length, 2);
  });
}
