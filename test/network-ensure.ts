import { hostExec } from '../src/host/exec.ts';
import { silentLog } from '../src/lib/log.ts';
import { PodNetwork } from '../src/network/pod-network.ts';

/** Makes the pod network of the network namespace it runs in: argv is the options and the pod CIDR. */
const [options = '{}', podCidr = ''] = process.argv.slice(2);
const network = new PodNetwork({ ...JSON.parse(options), exec: hostExec, log: silentLog });
process.stdout.write(await network.ensure([podCidr], new AbortController().signal));
