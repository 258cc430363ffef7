import type { ObjectMeta } from '../api/meta-v1.ts';
import { type Faults, invalid, isDnsLabel, required } from './validate-pod-faults.ts';

const label = '[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?';
const labelKey = new RegExp(`^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?${label}$`);
const labelValue = new RegExp(`^(?:${label})?$`);
/** All annotations of an object together, in bytes. */
const maxAnnotationBytes = 256 * 1024;

/** Name, namespace, labels and annotations of any object; `isName` says which names its kind may have. */
export function validateMetadata(metadata: ObjectMeta, faults: Faults, isName: (name: string) => boolean): void {
  const { name, namespace, labels = {}, annotations = {} } = metadata;
  if (!name) faults.add(['metadata', 'name'], required);
  else if (!isName(name)) {
    faults.add(
      ['metadata', 'name'],
      invalid(name, 'a name has lower-case letters, digits and dashes, and begins and ends with a letter or digit'),
    );
  }
  if (namespace !== undefined && !isDnsLabel(namespace)) {
    faults.add(
      ['metadata', 'namespace'],
      invalid(namespace, 'a namespace has at most 63 lower-case letters, digits and dashes'),
    );
  }
  for (const [key, value] of Object.entries(labels)) {
    if (!labelKey.test(key)) faults.add(['metadata', 'labels', key], invalid(key, 'not a label key'));
    if (!labelValue.test(value)) {
      faults.add(
        ['metadata', 'labels', key],
        invalid(value, 'a label value has at most 63 letters, digits, dashes, underscores and dots'),
      );
    }
  }
  const bytes = Object.entries(annotations).reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );
  if (bytes > maxAnnotationBytes)
    faults.add(['metadata', 'annotations'], `Too long: must have at most ${maxAnnotationBytes} bytes`);
}
