import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

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
  const sockets = new Set<Socket>();
  const state = { breakage: 'none' as Breakage, broken: 0 };
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: targetPort, host: '127.0.0.1', noDelay: true });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
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
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    get breakage() {
      return state.breakage;
    },
    set breakage(breakage) {
      state.breakage = breakage;
    },
    get broken() {
      return state.broken;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
