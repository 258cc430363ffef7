import { benchExec, execTable } from './exec.ts';
import { benchLogs, logsTable } from './logs.ts';
import { benchPods, podsTable } from './pods.ts';
import { benchProbes, probesTable } from './probes.ts';
import { benchServices, servicesTable } from './services.ts';
import { benchStats, statsTable } from './stats.ts';
import { benchWithdraw, withdrawTable } from './withdraw.ts';

/** `npm run bench -- <name>`: a readable table on stderr, one line of JSON on stdout. */
const benches: Readonly<
  Record<string, (args: readonly string[]) => Promise<{ readonly figures: object; readonly table: string }>>
> = {
  exec: async () => {
    const figures = await benchExec();
    return { figures, table: execTable(figures) };
  },
  logs: async () => {
    const figures = await benchLogs();
    return { figures, table: logsTable(figures) };
  },
  pods: async () => {
    const figures = await benchPods();
    return { figures, table: podsTable(figures) };
  },
  probes: async () => {
    const figures = await benchProbes();
    return { figures, table: probesTable(figures) };
  },
  services: async (args) => {
    const figures = await benchServices(args);
    return { figures, table: servicesTable(figures) };
  },
  stats: async () => {
    const figures = await benchStats();
    return { figures, table: statsTable(figures) };
  },
  withdraw: async () => {
    const figures = await benchWithdraw();
    return { figures, table: withdrawTable(figures) };
  },
};

const name = process.argv[2] ?? '';
const bench = benches[name];
if (!bench) {
  console.error(`usage: npm run bench -- ${Object.keys(benches).join('|')}`);
  process.exit(2);
}
const { figures, table } = await bench(process.argv.slice(3));
console.error(table);
console.log(JSON.stringify({ bench: name, ...figures }));
