export type Fields = Record<string, unknown>;

/** One JSON object per line on stdout. Never given prompts, answers, tokens or keys. */
export interface Logger {
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
}

function plain(value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const cause = value.cause === undefined ? {} : { cause: plain(value.cause) };
  return { name: value.name, message: value.message, ...cause };
}

export function jsonLogger(base: Fields, write: (line: string) => void): Logger {
  const log =
    (level: string) =>
    (event: string, fields: Fields = {}) => {
      const entries = Object.entries(fields).map(([key, value]) => [key, plain(value)]);
      const line = { time: new Date().toISOString(), level, event, ...base, ...Object.fromEntries(entries) };
      write(`${JSON.stringify(line)}\n`);
    };
  return { info: log('info'), warn: log('warn'), error: log('error') };
}
