/**
 * The step that the work on a pod is in just now, told by whoever takes it: what people ask for while a
 * pod does not get ready. Telling costs nothing, and nobody acts on it.
 */
export type SyncStep =
  /** Its predecessor of the same name has to stop first. */
  | { readonly kind: 'namesake' }
  /** Others leave the node to make room for it. */
  | { readonly kind: 'room' }
  | { readonly kind: 'network' }
  | { readonly kind: 'volumes' }
  | { readonly kind: 'sandbox' }
  | { readonly kind: 'image'; readonly container: string; readonly image: string }
  | { readonly kind: 'create'; readonly container: string }
  | { readonly kind: 'postStart'; readonly container: string };

export type TellStep = (step: SyncStep) => void;

const order: readonly SyncStep['kind'][] = [
  'namesake',
  'room',
  'network',
  'volumes',
  'sandbox',
  'image',
  'create',
  'postStart',
];

/** Whether the work has got further than where it was. */
export const isLater = (step: SyncStep, than: SyncStep): boolean => order.indexOf(step.kind) > order.indexOf(than.kind);
