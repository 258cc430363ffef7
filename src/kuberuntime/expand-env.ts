export * from '../lib/expand-env.ts';
