import { parseArgs } from 'node:util';
import { ObjectFiles } from './object-files.ts';
import { createObjectServer } from './server.ts';

/** The local S3 as its own process: `main.ts --port N --folder DIR --bucket NAME`, keys from S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY. */
const { values } = parseArgs({
  options: { port: { type: 'string' }, folder: { type: 'string' }, bucket: { type: 'string' } },
});
const { S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey } = process.env;
if (!values.port || !values.folder || !values.bucket || !accessKeyId || !secretAccessKey) {
  console.error('usage: S3_ACCESS_KEY_ID=… S3_SECRET_ACCESS_KEY=… main.ts --port N --folder DIR --bucket NAME');
  process.exit(2);
}

const files = new ObjectFiles(values.folder);
await files.open();
await files.createBucket(values.bucket);
const server = createObjectServer(files, { accessKeyId, secretAccessKey });
server.listen(Number(values.port), '127.0.0.1', () => console.log(`object server on 127.0.0.1:${values.port}`));
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 2000).unref();
  });
}
