/**
 * The part of pino that we use. Fixed message, varying fields: `log.info({ podUid }, 'killing container')`.
 * Components take a Log and bind their own fields with `child`.
 */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(bindings: object): Log;
}

/** For tests and for code that has nobody to tell. */
export const silentLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLog,
};
