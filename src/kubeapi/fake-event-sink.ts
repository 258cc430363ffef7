import type { ObjectReference } from '../api/core-v1.ts';
import type { EventSink } from './event-sink.ts';

/** Keeps the events it is told, each as a line such as 'Warning Failed spec.containers{web}: Error: no'. */
export class FakeEventSink implements EventSink {
  readonly lines: string[] = [];
  readonly about: ObjectReference[] = [];

  event(about: ObjectReference, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.about.push(about);
    this.lines.push(`${type} ${reason}${about.fieldPath ? ` ${about.fieldPath}` : ''}: ${message}`);
  }

  /** Only the reasons, in order. */
  get reasons(): readonly string[] {
    return this.lines.map((line) => line.split(/[ :]/)[1] ?? '');
  }
}
