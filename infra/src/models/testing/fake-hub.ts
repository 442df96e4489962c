import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';

/**
 * A model hub of one repository for tests: lists files and serves them with ranges. It knows no branches, accounts (beyond one
 * optional token), Xet or redirects, and treats every .gguf and .safetensors file as an LFS file.
 */
export class FakeHub {
  readonly requests: Array<{ path: string; range: string | undefined }> = [];
  /** Breaks each connection off after this many bytes of a file. */
  breakAfter = Number.POSITIVE_INFINITY;
  token: string | undefined;
  private readonly files: Record<string, Buffer>;
  private readonly listed: Record<string, Buffer> = {};
  private readonly server: Server;

  constructor(files: Record<string, Buffer>) {
    this.files = files;
    this.server = createServer((request, response) => {
      const { pathname } = new URL(request.url!, 'http://hub');
      this.requests.push({ path: pathname, range: request.headers.range });
      if (this.token && request.headers.authorization !== `Bearer ${this.token}`) {
        return void response.writeHead(401).end();
      }
      if (pathname.startsWith('/api/models/owner/name/tree/')) {
        return void response.setHeader('content-type', 'application/json').end(JSON.stringify(this.tree()));
      }
      const name = pathname.replace(/^\/owner\/name\/resolve\/[^/]+\//, '');
      const body = this.files[name];
      if (!body) return void response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
      const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
      const start = Number(match?.[1] ?? 0);
      const end = match?.[2] ? Math.min(Number(match[2]), body.length - 1) : body.length - 1;
      response.writeHead(match ? 206 : 200, {
        etag: '"x"',
        'content-length': end - start + 1,
        ...(match ? { 'content-range': `bytes ${start}-${end}/${body.length}` } : {}),
      });
      const part = body.subarray(start, end + 1);
      if (part.length <= this.breakAfter) response.end(part);
      else response.write(part.subarray(0, this.breakAfter), () => setTimeout(() => response.destroy(), 50));
    });
  }

  private tree(): unknown[] {
    return Object.entries({ ...this.files, ...this.listed }).map(([path, body]) => ({
      type: 'file',
      path,
      size: body.length,
      ...(/\.(gguf|safetensors)$/.test(path)
        ? { lfs: { oid: createHash('sha256').update(body).digest('hex'), size: body.length, pointerSize: 130 } }
        : { oid: createHash('sha1').update(`blob ${body.length}\0`).update(body).digest('hex') }),
    }));
  }

  /** Serves other bytes than the listing says. */
  corrupt(name: string): void {
    this.listed[name] = this.files[name]!;
    this.files[name] = Buffer.alloc(this.files[name]!.length, 7);
  }

  async listen(): Promise<string> {
    await new Promise<void>((done) => this.server.listen(0, '127.0.0.1', done));
    return `http://127.0.0.1:${(this.server.address() as { port: number }).port}`;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}
