import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import { UserspaceBackend } from '../src/proxy/userspace/userspace-backend.ts';
import { describeCases } from './proxy-case-run.ts';
import { nodeName, zone } from './proxy-cases.ts';
import { bridgeIp, bridgeIp6 } from './proxy-lab.ts';
import { UserspaceProcess } from './userspace-process.ts';

describeCases(
  'userspace',
  (exec, family) => new UserspaceBackend({ exec, family, log: silentLog, clock: systemClock }),
  () => true,
  {
    start: async (lab, worlds) => {
      const child = new UserspaceProcess(lab);
      await child.order({
        settings: {
          node: { metadata: { name: nodeName, labels: { 'topology.kubernetes.io/zone': zone } } },
          ...worlds[0]?.settings,
        },
        services: worlds.flatMap((world) => world.services),
        slices: worlds.flatMap((world) => world.slices),
      });
      return child;
    },
    // The relay is the endpoint's client: nobody's own address gets through.
    adjust: (one, { family }) =>
      one.seen === undefined ? one : { ...one, seen: family === 'IPv4' ? bridgeIp : bridgeIp6 },
  },
);
