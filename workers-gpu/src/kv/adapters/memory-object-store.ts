import { type ObjectInfo, type ObjectStore, type ReadOptions, StoreError } from '../ports.ts';

/** Objects in this process's memory: the oracle of the contract suite, and a store for tests. Not bounded, not shared. */
export function createMemoryObjectStore(date: () => Date = () => new Date()): ObjectStore & {
  objects: Map<string, { bytes: Uint8Array; modifiedAt: Date }>;
} {
  const objects = new Map<string, { bytes: Uint8Array; modifiedAt: Date }>();
  const infoOf = (key: string): ObjectInfo | undefined => {
    const object = objects.get(key);
    return object && { key, size: object.bytes.length, modifiedAt: object.modifiedAt };
  };
  return {
    objects,
    tier: 'host',
    async put(key, body) {
      objects.set(key, { bytes: new Uint8Array(body), modifiedAt: date() });
    },
    async head(key) {
      return infoOf(key);
    },
    async readInto(key, target, { offset = 0, signal, onProgress }: ReadOptions = {}) {
      if (signal?.aborted) throw new StoreError('cancelled', 'reading was cancelled');
      const object = objects.get(key);
      if (!object) throw new StoreError('missing', `no object ${key}`);
      const part = object.bytes.subarray(offset, offset + target.length);
      if (part.length < target.length) throw new StoreError('truncated', `object ${key} is too short`);
      target.set(part);
      onProgress?.(target.length);
    },
    async list(prefix, after, limit) {
      return [...objects.keys()]
        .filter((key) => key.startsWith(prefix) && (after === undefined || key > after))
        .sort()
        .slice(0, limit)
        .map((key) => infoOf(key)!);
    },
    async delete(key) {
      objects.delete(key);
    },
    async close() {},
  };
}
