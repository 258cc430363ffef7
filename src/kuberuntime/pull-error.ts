import { waitingReason } from '../api/reasons.ts';
import { CriError, isCriCode } from '../cri/services.ts';
import { isAbort, messageOf } from '../lib/errors.ts';

/** Go's names of the gRPC codes, as they stand in the messages that users know. */
const goCodes: Readonly<Record<string, string>> = {
  CANCELLED: 'Canceled',
  INVALID_ARGUMENT: 'InvalidArgument',
  DEADLINE_EXCEEDED: 'DeadlineExceeded',
  NOT_FOUND: 'NotFound',
  ALREADY_EXISTS: 'AlreadyExists',
  PERMISSION_DENIED: 'PermissionDenied',
  RESOURCE_EXHAUSTED: 'ResourceExhausted',
  FAILED_PRECONDITION: 'FailedPrecondition',
  ABORTED: 'Aborted',
  OUT_OF_RANGE: 'OutOfRange',
  UNIMPLEMENTED: 'Unimplemented',
  INTERNAL: 'Internal',
  UNAVAILABLE: 'Unavailable',
  DATA_LOSS: 'DataLoss',
  UNAUTHENTICATED: 'Unauthenticated',
};

/** How upstream tells of a pull's error: with gRPC's framing, unless the code says nothing. */
export function pullErrorText(error: unknown): string {
  if (!(error instanceof CriError)) return messageOf(error);
  const code = goCodes[error.grpcCode];
  return code ? `rpc error: code = ${code} desc = ${error.details}` : error.details;
}

/** One text for the errors of all credentials that were tried. */
export function pullErrorsText(errors: readonly unknown[]): string {
  const texts = [...new Set(errors.map(pullErrorText))];
  return texts.length === 1 ? (texts[0] ?? '') : `[${texts.join(', ')}]`;
}

/** The waiting reason and message for a failed pull: runtimes may say by the first word why it failed. */
export function judgePullError(image: string, text: string): { readonly reason: string; readonly message: string } {
  const rest = (word: string) => text.slice(word.length);
  if (text.startsWith(waitingReason.registryUnavailable)) {
    const message = `image pull failed for ${image} because the registry is unavailable${rest(waitingReason.registryUnavailable)}`;
    return { reason: waitingReason.registryUnavailable, message };
  }
  if (text.startsWith(waitingReason.signatureValidationFailed)) {
    const message = `image pull failed for ${image} because the signature validation failed${rest(waitingReason.signatureValidationFailed)}`;
    return { reason: waitingReason.signatureValidationFailed, message };
  }
  return { reason: waitingReason.errImagePull, message: text };
}

/** The runtime went away, or we are stopping: no fault of the image, and the whole sync is tried again. */
export const isNoFault = (error: unknown): boolean => isAbort(error) || isCriCode(error, 'UNAVAILABLE');

/** The runtime's own words for users; everything else by its message. */
export const detailsOf = (error: unknown): string => (error instanceof CriError ? error.details : messageOf(error));
