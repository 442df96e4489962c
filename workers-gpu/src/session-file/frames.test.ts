import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FRAME, FrameReader, FrameWriter, fileKeyOf } from './frames.ts';
import { decodeKvPayload, encodeKvPayload } from './kv-payload.ts';
import { exactReads } from './read-exactly.ts';

const HEAD = Buffer.from('the head');
const KEY = fileKeyOf('12'.repeat(32));

function file(): Buffer {
  const writer = new FrameWriter(HEAD, KEY);
  return Buffer.concat([
    ...writer.frame(FRAME.session, Buffer.from('session')),
    ...writer.frame(FRAME.blocks, Buffer.from('blocks of KV')),
    ...writer.frame(FRAME.end, Buffer.alloc(0)),
  ]);
}

/** Hands the bytes over in pieces of `size`. */
function streamOf(bytes: Uint8Array, size: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.subarray(at, at + size));
      at += size;
    },
  });
}

async function readAll(bytes: Uint8Array, { head = HEAD, key = KEY, size = 7, max = 1e6 } = {}) {
  const reader = new FrameReader(head, exactReads(streamOf(bytes, size), max), key);
  const frames = [];
  do frames.push(await reader.next());
  while (frames.at(-1)!.type !== FRAME.end);
  return frames;
}

test('gives back every frame, however the stream is cut into pieces', async () => {
  for (const size of [1, 2, 5, 64, 1000]) {
    const frames = await readAll(file(), { size });
    assert.deepEqual(
      frames.map(({ payload }) => payload.toString()),
      ['session', 'blocks of KV', ''],
    );
    assert.ok(frames.every(({ isOurs }) => isOurs));
  }
});

test('refuses every single flipped bit', async () => {
  const bytes = file();
  for (let bit = 0; bit < 8 * bytes.length; bit += 3) {
    const copy = Buffer.from(bytes);
    copy[bit >> 3]! ^= 1 << (bit & 7);
    const frames = await readAll(copy).catch((error: Error) => error);
    // The seal alone proves nothing about damage: without it a frame is whole, but not ours.
    if (frames instanceof Error) assert.match(frames.message, /damaged|ends early/);
    else
      assert.ok(
        frames.some(({ isOurs }) => !isOurs),
        `bit ${bit} went unnoticed`,
      );
  }
});

test('refuses a file that ends early, lost a frame, swapped two, or belongs to another head', async () => {
  const bytes = file();
  for (const end of [0, 3, 40, bytes.length - 1]) await assert.rejects(readAll(bytes.subarray(0, end)), /ends early/);
  const first = 5 + 7 + 64;
  await assert.rejects(readAll(bytes.subarray(first)), /damaged in frame 0/);
  await assert.rejects(readAll(bytes, { head: Buffer.from('other') }), /damaged in frame 0/);
});

test('another platform’s file is whole, but not ours', async () => {
  const frames = await readAll(file(), { key: fileKeyOf('34'.repeat(32)) });
  assert.ok(frames.every(({ isOurs }) => !isOurs));
});

test('reads no more than its bound', async () => {
  await assert.rejects(readAll(file(), { max: 100 }), /at most 100 bytes/);
});

test('a payload of KV keeps its sections, and one whose lengths lie is refused', () => {
  const payload = {
    firstBlock: 3,
    tokenCount: 256,
    sections: [Buffer.from('abc'), Buffer.from(''), Buffer.from('de')],
  };
  const bytes = encodeKvPayload(payload);
  assert.deepEqual(decodeKvPayload(bytes), payload);
  for (const end of [0, 11, 20, bytes.length - 1]) assert.throws(() => decodeKvPayload(bytes.subarray(0, end)));
  const longer = Buffer.from(bytes);
  longer.writeUInt32LE(900, 12);
  assert.throws(() => decodeKvPayload(longer), /no worker wrote/);
  longer.writeUInt32LE(0xffffffff, 8);
  assert.throws(() => decodeKvPayload(longer), /no worker wrote/);
});
