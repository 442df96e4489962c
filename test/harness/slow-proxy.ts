import { startTcpProxy } from './tcp-proxy.ts';

/** What lies between a client and a server: changed while connections are open, it holds for the next bytes. */
export interface Link {
  /** Of all connections together, from the server to the client. 0: unlimited. */
  bytesPerSecond: number;
  /** Added to whatever the client sends: once for each request. */
  latencyMs: number;
}

export interface SlowProxy {
  port: number;
  link: Link;
  /** Bytes from the server so far. */
  readonly bytes: number;
  close(): Promise<void>;
}

/** Timers are not finer than this: so much may be sent ahead of the rate. */
const SLACK_MS = 2;

/** A TCP proxy on 127.0.0.1 that is as slow as it is told. It knows nothing of what passes through. */
export async function startSlowProxy(targetPort: number, link: Link): Promise<SlowProxy> {
  let bytes = 0;
  /** When the last byte let through has left, at the rate. */
  let sentUntil = 0;

  const proxy = await startTcpProxy(targetPort, (client, upstream) => {
    client.on('data', (chunk) => {
      if (link.latencyMs === 0) upstream.write(chunk);
      else setTimeout(() => upstream.write(chunk), link.latencyMs);
    });
    upstream.on('data', (chunk) => {
      bytes += chunk.length;
      upstream.pause();
      const forward = () => {
        if (client.write(chunk)) upstream.resume();
        else client.once('drain', () => upstream.resume());
      };
      if (link.bytesPerSecond === 0) return forward();
      const now = performance.now();
      sentUntil = Math.max(now, sentUntil) + (1000 * chunk.length) / link.bytesPerSecond;
      const early = sentUntil - now;
      if (early <= SLACK_MS) forward();
      else setTimeout(forward, early);
    });
  });
  return {
    port: proxy.port,
    close: () => proxy.close(),
    link,
    get bytes() {
      return bytes;
    },
  };
}
