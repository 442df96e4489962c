// Throughput of any S3: node test/peers/object_store.mjs <endpoint> <bucket>, keys from S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY.
// Writes and reads 16 objects of 8 MiB one at a time and four at a time, twice, and prints the second round as one JSON line per
// measurement in MB/s. Leaves nothing behind.
import { randomBytes } from 'node:crypto';
import { cpus } from 'node:os';
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';

const [endpoint, Bucket] = process.argv.slice(2);
const OBJECTS = 16;
const BYTES = 8 << 20;
const client = new S3Client({
  endpoint,
  region: 'us-east-1',
  forcePathStyle: true,
  credentials: { accessKeyId: process.env.S3_ACCESS_KEY_ID, secretAccessKey: process.env.S3_SECRET_ACCESS_KEY },
  requestChecksumCalculation: 'WHEN_REQUIRED',
  responseChecksumValidation: 'WHEN_REQUIRED',
});
const Body = randomBytes(BYTES);
const key = (index) => `bench/object-${index}`;

const operations = {
  put: (index) => client.send(new PutObjectCommand({ Bucket, Key: key(index), Body })),
  async get(index) {
    const answer = await client.send(new GetObjectCommand({ Bucket, Key: key(index) }));
    let bytes = 0;
    for await (const chunk of answer.Body) bytes += chunk.length;
    if (bytes !== BYTES) throw new Error(`object ${index} came back with ${bytes} bytes`);
  },
};

async function megabytesPerSecond(operation, parallel) {
  let next = 0;
  const started = performance.now();
  const lane = async () => {
    while (next < OBJECTS) await operation(next++);
  };
  await Promise.all(Array.from({ length: parallel }, lane));
  return (OBJECTS * BYTES) / 1000 / (performance.now() - started);
}

for (const parallel of [1, 4]) {
  for (const round of ['warm-up', 'measured']) {
    for (const [name, operation] of Object.entries(operations)) {
      const speed = await megabytesPerSecond(operation, parallel);
      if (round === 'measured') {
        console.log(
          JSON.stringify({
            bench: `s3_${name}`,
            parallel,
            bytes: BYTES,
            mb_per_s: Math.round(speed),
            cpu: cpus()[0].model,
          }),
        );
      }
    }
  }
}
for (let index = 0; index < OBJECTS; index++) await client.send(new DeleteObjectCommand({ Bucket, Key: key(index) }));
client.destroy();
