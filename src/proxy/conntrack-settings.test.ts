import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import type { Log } from '../lib/log.ts';
import { silentLog } from '../lib/log.ts';
import { applyConntrackSettings, type ConntrackConfig, computeConntrackSettings } from './conntrack-settings.ts';

const nothing: ConntrackConfig = {
  ...{ maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0, tcpCloseWaitTimeout: 0 },
  ...{ tcpBeLiberal: false, udpTimeout: 0, udpStreamTimeout: 0 },
};
const netfilter = 'net/netfilter/nf_conntrack_';
const hashSize = 'module/nf_conntrack/parameters/hashsize';

const cases: Readonly<Record<string, { config: Partial<ConntrackConfig>; cores?: number; wanted: object }>> = {
  'nothing is set where nothing is asked for': { config: {}, wanted: {} },
  'the limit grows with the processors': {
    config: { maxPerCore: 32_768, min: 131_072 },
    cores: 8,
    wanted: { max: 262_144, hash: 65_536 },
  },
  'and is never below the minimum': {
    config: { maxPerCore: 32_768, min: 131_072 },
    cores: 2,
    wanted: { max: 131_072, hash: 32_768 },
  },
  'maxPerCore 0 leaves the limit alone, whatever the minimum': { config: { min: 131_072 }, wanted: {} },
  'times are whole seconds': {
    config: { tcpEstablishedTimeout: 86_400_000, tcpCloseWaitTimeout: 3_600_500, udpTimeout: 250_000 },
    wanted: { tcp_timeout_established: 86_400, tcp_timeout_close_wait: 3_600, udp_timeout: 250 },
  },
  'streams of UDP and liberal TCP': {
    config: { udpStreamTimeout: 180_000, tcpBeLiberal: true },
    wanted: { tcp_be_liberal: 1, udp_timeout_stream: 180 },
  },
};

for (const [sentence, { config, cores = 4, wanted }] of Object.entries(cases)) {
  test(sentence, () => {
    const settings = computeConntrackSettings({ ...nothing, ...config }, cores);
    const named = settings.map(({ path, value }) => [path === hashSize ? 'hash' : path.replace(netfilter, ''), value]);
    assert.deepEqual(Object.fromEntries(named), wanted);
  });
}

const folders: string[] = [];
after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

async function setUp(present: Readonly<Record<string, number>>) {
  const folder = await mkdtemp(join(tmpdir(), 'conntrack-'));
  folders.push(folder);
  for (const [path, value] of Object.entries(present)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), `${value}\n`);
  }
  const lines: [string, Record<string, unknown>][] = [];
  const at = (fields: object, message: string) => void lines.push([message, fields as Record<string, unknown>]);
  const log: Log = { ...silentLog, info: at, warn: at };
  const read = async (path: string) => Number(await readFile(join(folder, path), 'utf8'));
  return { lines, read, place: { log, procSysDir: folder, sysDir: folder } };
}

const asked = computeConntrackSettings({ ...nothing, maxPerCore: 1_000, udpTimeout: 60_000 }, 4);

test('what is lower is raised, what is higher stays', async () => {
  const present = { [`${netfilter}max`]: 1_000, [hashSize]: 5_000, [`${netfilter}udp_timeout`]: 30 };
  const { place, read, lines } = await setUp(present);
  await applyConntrackSettings(asked, place);
  assert.equal(await read(`${netfilter}max`), 4_000);
  assert.equal(await read(hashSize), 5_000);
  assert.equal(await read(`${netfilter}udp_timeout`), 60);
  assert.equal(lines.length, 1);
});

test('what is in place is not mentioned', async () => {
  const { place, lines } = await setUp({
    ...{ [`${netfilter}max`]: 4_000, [hashSize]: 1_000, [`${netfilter}udp_timeout`]: 60 },
  });
  await applyConntrackSettings(asked, place);
  assert.deepEqual(lines, []);
});

test('what the kernel does not have is one warning with its remedy, and the rest is set', async () => {
  const { place, read, lines } = await setUp({ [`${netfilter}udp_timeout`]: 30 });
  await applyConntrackSettings(asked, place);
  assert.equal(await read(`${netfilter}udp_timeout`), 60);
  const warnings = lines.filter(([message]) => message.startsWith('some settings'));
  assert.equal(warnings.length, 1);
  assert.match(
    `${warnings[0]?.[1]['hint']}`,
    /sysctl -w net\.netfilter\.nf_conntrack_max=4000; echo 1000 > \/sys\/module/,
  );
});
