import { type FileHandle, mkdir, open, rm, statfs, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { Breaker } from '../domain/breaker.ts';
import { TierIndex } from '../domain/tier-index.ts';
import { type ReadOptions, StoreError, type Tier } from '../ports.ts';
import { within } from '../tiers/deadline.ts';
import { tierCounters, tierStats } from '../tiers/tier-counters.ts';
import { decodeDiskTierHeader, encodeDiskTierHeader, fileNameOf, MAX_HEADER_BYTES } from './disk-tier-file.ts';
import { scanDiskTier } from './disk-tier-scan.ts';
import { writeDurably } from './durable-file.ts';

export interface DiskTierOptions {
  /** Of this tier alone: every file in it that is not ours is deleted. Made when it is not there. */
  folder: string;
  /** Of the files' bytes. */
  budgetBytes: number;
  /** Of the budget, what pins may hold at most. Default: half. */
  pinnedBytes?: number;
  /** How long an object stays after its last use, restarts included. */
  ttlMs: number;
  /** Milliseconds, monotonic. */
  now: () => number;
  /** Milliseconds since 1970: the files' times, which outlive the process. */
  wallClock: () => number;
  /** Left free on the disk, whatever the budget says. Default 1 GiB. */
  minFreeBytes?: number;
  /** Of one read without its body; a body may take a second per 16 MiB longer. Default 2,000. */
  timeoutMs?: number;
}

const READ_BYTES = 1024 * 1024;
const SLOWEST_BYTES_PER_MS = 16 * 1024;
const FILL_TIMEOUT_MS = 30_000;
/** Bodies that wait to be written, in memory. */
const MAX_PENDING_BYTES = 64 * 1024 * 1024;
const MAX_FILES = 200_000;
const BREAKER_FAILURES = 4;
/** After so many failures, or a full disk: nothing is read or written for so long. */
const PAUSE_MS = 30_000;
/** A file's time is renewed at most so often. */
const RENEW_MS = 60_000;

/**
 * Sealed objects as files. A file is written aside, synced and renamed, so that neither SIGKILL nor a power failure leaves half of one
 * under its name; length and checksums find what is torn or foreign all the same, at the start or when it is read, and it is
 * deleted. A full or broken disk stops the tier for a while, never a request. One process per folder.
 * Rejects with the file system's error when the folder cannot be made or listed.
 */
export async function openDiskTier(options: DiskTierOptions): Promise<Tier> {
  await mkdir(options.folder, { recursive: true, mode: 0o700 });
  const tier = new DiskTier(options);
  await tier.rebuild();
  return tier;
}

class DiskTier implements Tier {
  readonly name = 'disk';
  private readonly options: DiskTierOptions;
  private readonly index: TierIndex;
  private readonly counters = tierCounters();
  private readonly readBreaker = new Breaker(BREAKER_FAILURES, PAUSE_MS);
  private fillsPausedUntil = Number.NEGATIVE_INFINITY;
  private pendingBytes = 0;
  /** Changes of the folder, one after the other. */
  private changes: Promise<unknown> = Promise.resolve();
  private readonly renewedAt = new Map<string, number>();
  private readonly undeleted = new Set<string>();
  private closed = false;

  constructor(options: DiskTierOptions) {
    const { budgetBytes, ttlMs, pinnedBytes = Math.floor(budgetBytes / 2) } = options;
    this.options = options;
    this.index = new TierIndex({ budgetBytes, pinnedBytes, ttlMs });
  }

  /** The index from the files, longest unused first; what the budget or the time to live no longer covers is deleted. */
  async rebuild(): Promise<void> {
    const { folder, now, wallClock, budgetBytes } = this.options;
    const { files, deleted } = await scanDiskTier(folder, MAX_FILES);
    this.counters.badCopies += deleted;
    let excess = files.reduce((sum, file) => sum + file.fileBytes, 0) - budgetBytes;
    for (const file of files) {
      const { key, fileBytes, costMs } = file;
      const usedAt = now() - Math.max(0, wallClock() - file.usedAt);
      if (excess > 0) {
        excess -= fileBytes;
        this.counters.evictions++;
        await rm(this.pathOf(key), { force: true });
      } else this.index.add({ key, bytes: fileBytes, cost: costMs }, usedAt);
    }
    await this.expire(MAX_FILES);
  }

  has(key: string): boolean {
    return this.index.has(key, this.options.now());
  }

  async readInto(key: string, target: Uint8Array, options: ReadOptions = {}): Promise<boolean> {
    const { now, timeoutMs = 2000 } = this.options;
    if (options.signal?.aborted) throw new StoreError('cancelled', 'reading was cancelled');
    const endRead = this.has(key) && this.readBreaker.allows(now()) ? this.index.beginRead(key, now()) : undefined;
    if (!endRead) {
      this.counters.misses++;
      return false;
    }
    const reading = this.readFile(key, target, options).finally(endRead);
    try {
      const late = () => new StoreError('timeout', 'the disk tier did not answer in time');
      const whole = await within(timeoutMs + target.length / SLOWEST_BYTES_PER_MS, reading, late);
      this.readBreaker.succeeded();
      if (whole) this.served(key, target.length);
      else this.discardBad(key);
      return whole;
    } catch (error) {
      if (isFileSystemError(error)) {
        this.readBreaker.failed(now());
        this.discardBad(key);
        return false;
      }
      if (error instanceof StoreError && error.kind === 'timeout') this.readBreaker.failed(now());
      throw error;
    }
  }

  /** False: not whole. */
  private async readFile(key: string, target: Uint8Array, options: ReadOptions): Promise<boolean> {
    const { offset = 0, signal, onProgress } = options;
    let file: FileHandle | undefined;
    try {
      file = await open(this.pathOf(key));
      const front = Buffer.alloc(MAX_HEADER_BYTES);
      const [{ size }, { bytesRead }] = await Promise.all([file.stat(), file.read(front, 0, front.length, 0)]);
      const header = decodeDiskTierHeader(front.subarray(0, bytesRead), fileNameOf(key), size);
      if (!header || offset + target.length > header.bodyBytes) return false;
      const wholeBody = offset === 0 && target.length === header.bodyBytes;
      for (let filled = 0; filled < target.length; ) {
        if (signal?.aborted) throw new StoreError('cancelled', 'reading was cancelled');
        const length = Math.min(READ_BYTES, target.length - filled);
        const piece = await file.read(target, filled, length, header.headerBytes + offset + filled);
        if (piece.bytesRead === 0) return false;
        filled += piece.bytesRead;
        // The checksum covers the whole body: only then is the end reported.
        if (filled < target.length) onProgress?.(filled);
      }
      if (wholeBody && crc32(target) !== header.bodyCrc32) return false;
      onProgress?.(target.length);
      return true;
    } finally {
      await file?.close();
    }
  }

  private served(key: string, bytes: number): void {
    const { now, wallClock } = this.options;
    this.counters.hits++;
    this.counters.servedBytes += bytes;
    this.index.touch(key, now());
    if (now() - (this.renewedAt.get(key) ?? Number.NEGATIVE_INFINITY) < RENEW_MS) return;
    this.renewedAt.set(key, now());
    const time = wallClock() / 1000;
    void utimes(this.pathOf(key), time, time).catch(() => {});
  }

  /** At once no longer found; the reader does not wait for its deletion. */
  private discardBad(key: string): void {
    this.counters.badCopies++;
    void this.remove(key);
  }

  accepts(key: string, bytes: number): boolean {
    if (this.closed || bytes > this.options.budgetBytes || this.has(key)) return false;
    if (this.options.now() >= this.fillsPausedUntil && this.pendingBytes + bytes <= MAX_PENDING_BYTES) return true;
    this.counters.fillFailures++;
    return false;
  }

  async fill(key: string, body: Uint8Array, costMs: number): Promise<boolean> {
    this.pendingBytes += body.length;
    try {
      const change = this.inOrder(() => this.write(key, body, costMs));
      return await within(
        FILL_TIMEOUT_MS,
        change,
        () => new StoreError('timeout', 'the disk tier did not write in time'),
      );
    } catch {
      // Most often there is no space: trying again with every object would only load a full disk.
      this.counters.fillFailures++;
      this.fillsPausedUntil = this.options.now() + PAUSE_MS;
      return false;
    } finally {
      this.pendingBytes -= body.length;
    }
  }

  private async write(key: string, body: Uint8Array, costMs: number): Promise<boolean> {
    const { now } = this.options;
    if (this.has(key)) return true;
    if (this.closed || now() < this.fillsPausedUntil) return false;
    if (this.index.leave(key)) await this.unlinkLeaving(key);
    const header = encodeDiskTierHeader(key, body, costMs);
    await this.checkSpace(header.length + body.length);
    const candidate = { key, bytes: header.length + body.length, cost: costMs };
    const reservation = this.index.reserve(candidate);
    if (!reservation.admitted) {
      this.counters.refusals++;
      return false;
    }
    for (const victim of reservation.victims) await this.unlinkLeaving(victim);
    this.counters.evictions += reservation.victims.length;
    if (!this.index.begin(candidate, now())) return false;
    try {
      await writeDurably(this.pathOf(key), [header, body]);
    } catch (error) {
      await this.unlinkLeaving(key);
      throw error;
    }
    this.index.complete(key, now());
    this.counters.fills++;
    this.counters.filledBytes += body.length;
    return true;
  }

  private async checkSpace(bytes: number): Promise<void> {
    const { folder, minFreeBytes = 1024 ** 3 } = this.options;
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize - bytes < minFreeBytes) throw new Error(`less than ${minFreeBytes} bytes would stay free`);
  }

  async remove(key: string): Promise<void> {
    if (this.index.leave(key)) await this.inOrder(() => this.unlinkLeaving(key)).catch(() => {});
  }

  /** Its bytes count until the file is gone: one that cannot be deleted counts on, and `expire` tries again. */
  private async unlinkLeaving(key: string): Promise<void> {
    this.undeleted.add(key);
    await rm(this.pathOf(key), { force: true });
    this.undeleted.delete(key);
    this.renewedAt.delete(key);
    this.index.left(key);
  }

  pin(key: string): boolean {
    return this.index.pin(key, this.options.now());
  }
  unpin(key: string): void {
    this.index.unpin(key);
  }
  keys(after: string | undefined, limit: number): string[] {
    return this.index.keys(after, limit);
  }

  async expire(limit: number): Promise<number> {
    for (const key of this.undeleted) await this.inOrder(() => this.unlinkLeaving(key)).catch(() => {});
    const gone = this.index.expired(this.options.now(), limit);
    for (const key of gone) await this.remove(key);
    this.counters.expirations += gone.length;
    return gone.length;
  }

  stats() {
    return tierStats({ name: 'disk', budgetBytes: this.options.budgetBytes }, this.index, this.counters);
  }

  checkIntegrity(): void {
    this.index.checkIntegrity();
    if (this.pendingBytes < 0) throw new Error(`${this.pendingBytes} bytes wait to be written`);
  }

  async close(): Promise<void> {
    this.closed = true;
    const late = () => new Error('the disk tier still writes');
    await within(2000, this.changes, late).catch(() => {});
  }

  private inOrder<T>(change: () => Promise<T>): Promise<T> {
    const next = this.changes.then(change);
    this.changes = next.catch(() => {});
    return next;
  }

  private pathOf(key: string): string {
    return join(this.options.folder, fileNameOf(key));
  }
}

const isFileSystemError = (error: unknown): boolean => error instanceof Error && 'syscall' in error;
