import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { type ObjectStore, StoreError } from '../ports.ts';

/** What every ObjectStore promises; each adapter's test runs it against a real store. */
export function objectStoreContract(
  name: string,
  open: () => Promise<{ store: ObjectStore; stop: () => Promise<void> }>,
) {
  const bytesOf = (length: number, seed = 1) =>
    Uint8Array.from({ length }, (_, index) => (Math.imul(index + seed, 2654435761) >>> 13) & 255);
  const rejectsWith = (kind: string) => (error: unknown) => {
    assert.ok(error instanceof StoreError, String(error));
    assert.equal(error.kind, kind);
    return true;
  };

  describe(`object store contract: ${name}`, () => {
    let store: ObjectStore;
    let stop: () => Promise<void>;
    before(async () => {
      ({ store, stop } = await open());
    });
    after(() => stop());
    const put = (key: string, body: Uint8Array) => store.put(key, body, crc32(body));

    test('reads back what was put, whole and in ranges', async () => {
      const body = bytesOf(3_000_001);
      await put('kv/a/whole', body);
      const target = new Uint8Array(body.length);
      await store.readInto('kv/a/whole', target);
      assert.ok(Buffer.from(target).equals(body));
      for (const [offset, length] of [
        [0, 1],
        [1, 176],
        [2_999_990, 11],
      ] as const) {
        const part = new Uint8Array(length);
        await store.readInto('kv/a/whole', part, { offset });
        assert.deepEqual(part, body.slice(offset, offset + length));
      }
    });

    test('reports progress that only grows and ends with the whole target', async () => {
      await put('kv/a/progress', bytesOf(2_000_000));
      const seen: number[] = [];
      const target = new Uint8Array(2_000_000);
      await store.readInto('kv/a/progress', target, { onProgress: (filled) => seen.push(filled) });
      assert.equal(seen.at(-1), target.length);
      assert.ok(seen.every((filled, index) => index === 0 || filled > seen[index - 1]!));
    });

    test('what the reader throws ends the read and comes back unchanged', async () => {
      await put('kv/a/stop', bytesOf(2_000_000));
      const mine = Object.assign(new Error('enough'), { code: 'mine' });
      await assert.rejects(
        store.readInto('kv/a/stop', new Uint8Array(2_000_000), {
          onProgress: () => {
            throw mine;
          },
        }),
        (error) => error === mine,
      );
    });

    test('heads an object with its size and age, and nothing for what is not there', async () => {
      await put('kv/a/head', bytesOf(1234));
      const info = await store.head('kv/a/head');
      assert.equal(info?.size, 1234);
      assert.ok(Math.abs(info.modifiedAt.getTime() - Date.now()) < 60_000);
      assert.equal(await store.head('kv/a/none'), undefined);
    });

    test('rejects missing and truncated reads by kind', async () => {
      await put('kv/a/short', bytesOf(100));
      await assert.rejects(store.readInto('kv/a/none', new Uint8Array(1)), rejectsWith('missing'));
      await assert.rejects(store.readInto('kv/a/short', new Uint8Array(101)), rejectsWith('truncated'));
      await assert.rejects(store.readInto('kv/a/short', new Uint8Array(10), { offset: 95 }), rejectsWith('truncated'));
      await assert.rejects(store.readInto('kv/a/short', new Uint8Array(10), { offset: 500 }), rejectsWith('truncated'));
    });

    test('a cancelled read rejects as cancelled', async () => {
      await put('kv/a/cancel', bytesOf(100));
      const signal = AbortSignal.abort();
      await assert.rejects(store.readInto('kv/a/cancel', new Uint8Array(100), { signal }), rejectsWith('cancelled'));
    });

    test('lists a prefix in byte order, page by page, without gaps or repeats', async () => {
      const keys = ['kv/list/a', 'kv/list/a-b', 'kv/list/ab/c', 'kv/list/b/1', 'kv/list/b/2', 'kv/list/z'].sort();
      for (const key of keys) await put(key, bytesOf(key.length));
      await put('kv/lisu', bytesOf(1));
      for (const limit of [1, 2, 3, 100]) {
        const found: string[] = [];
        for (;;) {
          const page = await store.list('kv/list/', found.at(-1), limit);
          assert.ok(page.length <= limit);
          assert.ok(page.every((info) => info.size === info.key.length));
          found.push(...page.map((info) => info.key));
          if (page.length < limit) break;
        }
        assert.deepEqual(found, keys);
      }
      assert.deepEqual(await store.list('kv/nothing/', undefined, 10), []);
    });

    test('deletes, and deleting again is no error', async () => {
      await put('kv/a/gone', bytesOf(10));
      await store.delete('kv/a/gone');
      await store.delete('kv/a/gone');
      assert.equal(await store.head('kv/a/gone'), undefined);
      await assert.rejects(store.readInto('kv/a/gone', new Uint8Array(1)), rejectsWith('missing'));
    });

    test('many puts and reads at once do not mix', async () => {
      const keys = Array.from({ length: 12 }, (_, index) => `kv/many/${index}`);
      await Promise.all(keys.map((key, index) => put(key, bytesOf(200_000 + index, index))));
      await Promise.all(
        keys.map(async (key, index) => {
          const target = new Uint8Array(200_000 + index);
          await store.readInto(key, target);
          assert.ok(Buffer.from(target).equals(bytesOf(200_000 + index, index)));
        }),
      );
    });
  });
}
