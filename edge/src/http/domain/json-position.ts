/** Deepest nesting that is followed; deeper text is called malformed there. */
const MAX_DEPTH = 512;

const WHITESPACE = /[ \t\n\r]*/y;
const LITERAL = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/**
 * Finds where `text` stops being JSON: the index of the first character at fault (the end, when the text is cut short), or
 * undefined when it is JSON. Engines word their own messages differently and some leave the position out.
 */
class Scanner {
  private at = 0;
  private readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  fault(): number | undefined {
    if (!this.value(0)) return this.at;
    this.skip();
    return this.at === this.text.length ? undefined : this.at;
  }

  private take(pattern: RegExp): boolean {
    pattern.lastIndex = this.at;
    if (!pattern.test(this.text)) return false;
    this.at = pattern.lastIndex;
    return true;
  }

  private skip(): void {
    this.take(WHITESPACE);
  }

  private takeCharacter(character: string): boolean {
    this.skip();
    if (this.text[this.at] !== character) return false;
    this.at++;
    return true;
  }

  private value(depth: number): boolean {
    this.skip();
    if (depth > MAX_DEPTH) return false;
    const first = this.text[this.at];
    if (first === '{')
      return this.members('}', () => this.string() && this.takeCharacter(':') && this.value(depth + 1));
    if (first === '[') return this.members(']', () => this.value(depth + 1));
    if (first === '"') return this.string();
    return this.take(LITERAL);
  }

  private string(): boolean {
    this.skip();
    if (this.text[this.at] !== '"') return false;
    for (let at = this.at + 1; at < this.text.length; at++) {
      const unit = this.text.charCodeAt(at);
      if (unit < 0x20) return this.stopAt(at);
      if (unit === 0x22) return this.stopAt(at + 1, true);
      if (unit !== 0x5c) continue;
      this.at = at;
      if (!this.take(ESCAPE)) return false;
      at = this.at - 1;
    }
    return this.stopAt(this.text.length);
  }

  private stopAt(at: number, valid = false): boolean {
    this.at = at;
    return valid;
  }

  private members(close: string, member: () => boolean): boolean {
    this.at++;
    if (this.takeCharacter(close)) return true;
    for (;;) {
      if (!member()) return false;
      if (this.takeCharacter(close)) return true;
      if (!this.takeCharacter(',')) return false;
    }
  }
}

export function jsonFault(text: string): number | undefined {
  return new Scanner(text).fault();
}

/** 1-based line and column of an index. */
export function lineAndColumn(text: string, index: number): { line: number; column: number } {
  const before = text.slice(0, index);
  return { line: before.split('\n').length, column: index - before.lastIndexOf('\n') };
}
