export * from './bootstrap.ts';
export * from './client.ts';
export * from './key-wrap.ts';
export * from './queries/data-keys.ts';
export * from './queries/kv-objects.ts';
export * from './queries/kv-sweep.ts';
export * from './queries/leases.ts';
export * from './queries/sessions.ts';
export * as schema from './schema.ts';
