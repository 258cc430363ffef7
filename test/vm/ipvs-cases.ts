import { systemClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/lib/log.ts';
import type { IpvsSettings } from '../../src/proxy/ipvs/ipvs-backend.ts';
import { IpvsBackend } from '../../src/proxy/ipvs/ipvs-backend.ts';
import { describeCases } from '../proxy-case-run.ts';

const settings: IpvsSettings = {
  ...{ scheduler: 'rr', excludeCIDRs: [], strictARP: false },
  ...{ tcpTimeoutMs: 0, tcpFinTimeoutMs: 0, udpTimeoutMs: 0 },
};

/** IPVS drops packets whose source is a loopback address and whose endpoint is elsewhere: the kernel's own rule. */
const isLoopback = (sentence: string): boolean => sentence.endsWith(' on 127.0.0.1');

describeCases(
  'IPVS',
  (exec, family) => new IpvsBackend({ exec, log: silentLog, clock: systemClock, family, settings }),
  (sentence) => !isLoopback(sentence),
  { patience: { dropTimeoutMs: 3_000, answerTimeoutMs: 20_000 } },
);
