import { startTcpProxy } from './tcp-proxy.ts';

/**
 * What happens to the bodies that the server sends: nothing; every connection falls silent, breaks, or has one bit of what it carries
 * changed. Small answers (below `BODY_BYTES` in one piece) pass as they are.
 */
type Breakage = 'none' | 'stall' | 'reset' | 'bit_flip';

export interface BrokenProxy {
  port: number;
  /** May be changed while connections are open. */
  breakage: Breakage;
  /** Pieces that were held back, cut off or changed. */
  readonly broken: number;
  close(): Promise<void>;
}

const BODY_BYTES = 8192;

/** A TCP proxy on 127.0.0.1 that breaks what the server sends. It knows nothing of what passes through. */
export async function startBrokenProxy(targetPort: number): Promise<BrokenProxy> {
  const state = { breakage: 'none' as Breakage, broken: 0 };
  const proxy = await startTcpProxy(targetPort, (client, upstream) => {
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      if (state.breakage === 'none' || chunk.length < BODY_BYTES) return void client.write(chunk);
      state.broken++;
      if (state.breakage === 'stall') return void upstream.pause();
      if (state.breakage === 'reset') return void client.resetAndDestroy();
      chunk[chunk.length - 1]! ^= 1;
      client.write(chunk);
    });
  });
  return {
    port: proxy.port,
    close: () => proxy.close(),
    get breakage() {
      return state.breakage;
    },
    set breakage(breakage) {
      state.breakage = breakage;
    },
    get broken() {
      return state.broken;
    },
  };
}
