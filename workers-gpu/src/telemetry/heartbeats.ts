import { HEARTBEAT_INTERVAL_MS, type Heartbeat } from '@longshore/core';

const TIMEOUT_MS = 900;

export interface HeartbeatOptions {
  /** The edge's base URL. */
  edgeUrl: string;
  poolToken: string;
  compose: () => Heartbeat;
  onFailure: (reason: string) => void;
}

/** Tells the edge once a second who this worker is and how loaded. A failure is counted, never fatal: the next one may arrive. */
export class Heartbeats {
  private readonly options: HeartbeatOptions;
  private readonly url: string;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(options: HeartbeatOptions) {
    this.options = options;
    this.url = new URL('/internal/heartbeats', options.edgeUrl).href;
  }

  start(): void {
    void this.tick();
  }

  private async tick(): Promise<void> {
    const started = Date.now();
    await this.beat();
    if (this.stopped) return;
    this.timer = setTimeout(() => void this.tick(), Math.max(100, HEARTBEAT_INTERVAL_MS - (Date.now() - started)));
    this.timer.unref();
  }

  /** Sends one now, e.g. because the state changed. Never rejects. */
  async beat(): Promise<void> {
    try {
      const response = await fetch(this.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${this.options.poolToken}` },
        body: JSON.stringify(this.options.compose()),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      await response.arrayBuffer();
      if (!response.ok) this.options.onFailure(`status ${response.status}`);
    } catch (error) {
      this.options.onFailure(error instanceof Error ? error.message : String(error));
    }
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }
}
