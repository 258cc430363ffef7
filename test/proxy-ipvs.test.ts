import { FakeIpvs } from '../src/proxy/ipvs/fake-ipvs.ts';
import { describeIpvsContract } from './proxy-cases-ipvs.ts';

const fake = new FakeIpvs();
describeIpvsContract('the fake IPVS', () => fake);
