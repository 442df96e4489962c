import { parseArgs } from 'node:util';
import { Failure } from '../failure.ts';

export interface Flag {
  name: string;
  type: 'string' | 'boolean';
}

export interface Arguments {
  positionals: string[];
  text(name: string): string | undefined;
  number(name: string): number | undefined;
  has(name: string): boolean;
}

/** Throws a Failure that names the unknown or malformed flag. */
export function parseArguments(args: string[], flags: Flag[]): Arguments {
  const options = Object.fromEntries(flags.map(({ name, type }) => [name, { type }]));
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args, options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new Failure(
      `${(error as Error).message.split('\n')[0]!.replace(/\.? ?To specify.*/, '')}; see "npm run longshore -- help"`,
    );
  }
  const { values, positionals } = parsed;
  return {
    positionals,
    text: (name) => values[name] as string | undefined,
    has: (name) => values[name] === true,
    number(name) {
      const value = values[name];
      if (value === undefined) return undefined;
      if (typeof value !== 'string' || !/^\d+$/.test(value)) throw new Failure(`--${name} needs a whole number`);
      return Number(value);
    },
  };
}
