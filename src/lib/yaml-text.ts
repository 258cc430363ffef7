import { stringify } from 'yaml';

/** Plain data as YAML, for people: long lines stay whole. */
export const yamlText = (value: unknown): string => stringify(value, { lineWidth: 0 });
