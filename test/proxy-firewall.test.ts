import { silentLog } from '../src/lib/log.ts';
import { IptablesBackend } from '../src/proxy/iptables/iptables-backend.ts';
import { describeFirewall } from './proxy-firewall-run.ts';

for (const variant of ['-nft', '-legacy'] as const) {
  describeFirewall(
    `iptables${variant}`,
    (exec, family) => new IptablesBackend({ exec, family, log: silentLog }),
    variant,
  );
}
