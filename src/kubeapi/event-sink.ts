import type { ObjectReference } from '../api/core-v1.ts';

/** Where events go: what consumers of the recorder need of it. Never throws, never waits. */
export interface EventSink {
  /** `about` needs kind, name, namespace and uid; `fieldPath` names the container: `spec.containers{web}`. */
  event(about: ObjectReference, type: 'Normal' | 'Warning', reason: string, message: string): void;
}
