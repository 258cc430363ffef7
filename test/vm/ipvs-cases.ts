import { after, before } from 'node:test';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/lib/log.ts';
import { IpvsBackend } from '../../src/proxy/ipvs/ipvs-backend.ts';
import { describeCases } from '../proxy-case-run.ts';
import { describeIpvsContract, ipvsSettings as settings } from '../proxy-cases-ipvs.ts';
import { Lab } from '../proxy-lab.ts';

/** Run in the virtual machine, because few machines' kernels have IPVS. */

/** IPVS drops what has a loopback address for its source and an endpoint elsewhere: a rule of the kernel. */
const isLoopback = (sentence: string): boolean => sentence.endsWith(' on 127.0.0.1');

let lab: Lab;
before(async () => {
  lab = await Lab.create();
});
after(() => lab?.[Symbol.asyncDispose]());
describeIpvsContract('the real IPVS', () => lab.exec);

describeCases(
  'IPVS',
  (exec, family) => new IpvsBackend({ exec, log: silentLog, clock: systemClock, family, settings }),
  (sentence) => !isLoopback(sentence),
  { patience: { dropTimeoutMs: 3_000, answerTimeoutMs: 20_000 } },
);
