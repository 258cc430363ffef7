import { anything, boolean, integer, list, number, object, scalar, string } from '../lib/schema.ts';
import { key, pointer } from './keys.ts';
import { asDuration, count, duration, quantity } from './values.ts';

/** A duration, or a bare number of nanoseconds as older files have it. */
const flushFrequency = asDuration(
  scalar('a duration such as 5s', (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= 0
      ? value / 1e6
      : duration().read(value, [], () => {}),
  ),
);

/** logging, as both upstream kinds have it. */
export const loggingKeys = (verbosity: 'now' | 'later') => ({
  format: key(string, 'text', 'later'),
  flushFrequency: key(flushFrequency, 5_000, 'later'),
  verbosity: key(count, 0, verbosity),
  vmodule: key(list(object({ filePattern: string, verbosity: integer(0) })), [], 'later'),
  options: {
    text: { splitStream: key(boolean, false, 'later'), infoBufferSize: key(infoBufferSize(), '0', 'later') },
    json: { splitStream: key(boolean, false, 'later'), infoBufferSize: key(infoBufferSize(), '0', 'later') },
  },
});

function infoBufferSize() {
  return scalar('a quantity such as 0 or 64Ki', (value) => quantity.read(String(value), [], () => {}));
}

export const clientConnectionKeys = {
  kubeconfig: key(string, '', 'now'),
  acceptContentTypes: key(string, '', 'later'),
  contentType: key(string, 'application/vnd.kubernetes.protobuf', 'later'),
  qps: key(number, 5, 'later'),
  burst: key(count, 10, 'later'),
};

export const tracingKeys = {
  endpoint: pointer(string, undefined, 'later'),
  samplingRatePerMillion: pointer(count, undefined, 'later'),
};

export const anyList = list(anything);
