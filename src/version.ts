import description from '../package.json' with { type: 'json' };

/** keelson's own version; the bundle carries it inside. */
export const version: string = description.version;
