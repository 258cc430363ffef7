import { silentLog } from '../src/lib/log.ts';
import { IptablesBackend } from '../src/proxy/iptables/iptables-backend.ts';
import { describeCases } from './proxy-case-run.ts';

for (const variant of ['nft', 'legacy'] as const) {
  describeCases(
    `iptables-${variant}`,
    (exec, family) => new IptablesBackend({ exec, family, variant, log: silentLog }),
  );
}
