/** What a heap holds: the heap keeps each item's place in it up to date. */
export interface Prioritized {
  priority: number;
  /** Milliseconds; of equal priorities the longest unused comes first. */
  lastUsedAt: number;
  /** Place in the heap; -1: not in one. */
  heapIndex: number;
}

const before = (a: Prioritized, b: Prioritized): boolean =>
  a.priority < b.priority || (a.priority === b.priority && a.lastUsedAt < b.lastUsedAt);

/** A binary min-heap whose items can change their priority or leave from any place, each in O(log n). */
export class PriorityHeap<T extends Prioritized> {
  private readonly items: T[] = [];

  get size(): number {
    return this.items.length;
  }

  peek(): T | undefined {
    return this.items[0];
  }

  push(item: T): void {
    item.heapIndex = this.items.length;
    this.items.push(item);
    this.rise(item);
  }

  /** No effect when the item is not in the heap. */
  remove(item: T): void {
    const index = item.heapIndex;
    if (index < 0) return;
    const last = this.items.pop()!;
    item.heapIndex = -1;
    if (last === item) return;
    this.put(last, index);
    this.moved(last);
  }

  /** The item's priority was changed. */
  moved(item: T): void {
    this.rise(item);
    this.sink(item);
  }

  /** Throws an Error that names what is wrong. */
  checkIntegrity(): void {
    this.items.forEach((item, index) => {
      if (item.heapIndex !== index) throw new Error(`heap item ${index} believes to be at ${item.heapIndex}`);
      const parent = this.items[(index - 1) >> 1];
      if (index > 0 && before(item, parent!)) throw new Error(`heap item ${index} is below a later one`);
    });
  }

  private put(item: T, index: number): void {
    this.items[index] = item;
    item.heapIndex = index;
  }

  private rise(item: T): void {
    for (;;) {
      const index = item.heapIndex;
      const parent = this.items[(index - 1) >> 1];
      if (index === 0 || !before(item, parent!)) return;
      this.put(parent!, index);
      this.put(item, (index - 1) >> 1);
    }
  }

  private sink(item: T): void {
    for (;;) {
      const index = item.heapIndex;
      const left = this.items[2 * index + 1];
      const right = this.items[2 * index + 2];
      const child = right && before(right, left!) ? right : left;
      if (!child || !before(child, item)) return;
      const at = child.heapIndex;
      this.put(child, index);
      this.put(item, at);
    }
  }
}
