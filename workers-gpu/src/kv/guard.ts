import type { Breaker } from './domain/breaker.ts';
import { StoreError } from './ports.ts';

/**
 * The same port behind a circuit breaker: while it is open, calls are refused at once. Only unreachable or silent dependencies count
 * as failures; a missing or truncated object is an answer.
 */
export function guarded<T extends object>(port: T, breaker: Breaker, what: string, now: () => number): T {
  return new Proxy(port, {
    get(target, name) {
      const member = Reflect.get(target, name) as unknown;
      if (typeof member !== 'function' || name === 'close') return member;
      return async (...args: unknown[]) => {
        if (!breaker.allows(now()))
          throw new StoreError(
            'unavailable',
            `the ${what} failed several times in a row; it is tried again in a few seconds`,
          );
        try {
          const result = await member.apply(target, args);
          breaker.succeeded();
          return result;
        } catch (error) {
          const silent = error instanceof StoreError && (error.kind === 'unavailable' || error.kind === 'timeout');
          if (silent) breaker.failed(now());
          else if (error instanceof StoreError && error.kind !== 'cancelled') breaker.succeeded();
          throw error;
        }
      };
    },
  });
}
