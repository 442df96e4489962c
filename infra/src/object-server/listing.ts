import type { ObjectFiles } from './object-files.ts';
import { S3Error } from './s3-error.ts';
import type { XmlElement } from './xml.ts';

/** ListObjectsV2: at most 1,000 keys or common prefixes a page; the continuation token is the last one in base64. */
export async function listObjects(files: ObjectFiles, bucket: string, query: URLSearchParams): Promise<XmlElement> {
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const maxKeys = Number(query.get('max-keys') ?? 1000);
  if (!Number.isInteger(maxKeys) || maxKeys < 0) throw new S3Error(400, 'InvalidArgument', 'max-keys is no number');
  const token = query.get('continuation-token');
  const after = token === null ? (query.get('start-after') ?? '') : Buffer.from(token, 'base64url').toString('utf8');
  const limit = Math.min(maxKeys, 1000);

  const contents: XmlElement[] = [];
  const prefixes: XmlElement[] = [];
  let last = '';
  let truncated = false;
  for (const key of await files.keys(bucket, prefix)) {
    const cut = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    const name = cut < 0 ? key : key.slice(0, cut + delimiter.length);
    if (name === last || Buffer.compare(Buffer.from(name), Buffer.from(after)) <= 0) continue;
    if (contents.length + prefixes.length === limit) {
      truncated = true;
      break;
    }
    if (cut >= 0) prefixes.push({ Prefix: name });
    else {
      const facts = await files.facts(bucket, key);
      // Deleted since its folder was read.
      if (facts === undefined) continue;
      contents.push({
        Key: key,
        LastModified: new Date(facts.modified).toISOString(),
        ETag: facts.etag,
        Size: facts.size,
        StorageClass: 'STANDARD',
      });
    }
    last = name;
  }
  return {
    ListBucketResult: {
      Name: bucket,
      Prefix: prefix,
      KeyCount: contents.length + prefixes.length,
      MaxKeys: maxKeys,
      IsTruncated: truncated,
      ...(truncated ? { NextContinuationToken: Buffer.from(last).toString('base64url') } : {}),
      Contents: contents,
      CommonPrefixes: prefixes,
    },
  };
}
