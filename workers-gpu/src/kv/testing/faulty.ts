import { StoreError } from '../ports.ts';

/**
 * Wraps a port so that its calls can be made to fail, one chosen call at a time.
 * `before`: the k-th call fails without effect. `after`: it takes effect and then reports failure, as a lost answer does.
 * `dead`: it and every later call fail without effect, as for a process that died. `dead_after`: the same, but the k-th took effect.
 */
export type FaultMode = 'before' | 'after' | 'dead' | 'dead_after';

export interface FaultPlan {
  /** Index of the call that fails, counted over all ports that share the plan from 0 on; undefined: none. */
  failAt: number | undefined;
  mode: FaultMode;
  calls: number;
  /** "method" of each call so far. */
  log: string[];
}

export function faultPlan(failAt: number | undefined, mode: FaultMode): FaultPlan {
  return { failAt, mode, calls: 0, log: [] };
}

export function faulty<T extends object>(port: T, plan: FaultPlan): T {
  return new Proxy(port, {
    get(target, name) {
      const member = Reflect.get(target, name) as unknown;
      if (typeof member !== 'function') return member;
      return async (...args: unknown[]) => {
        const index = plan.calls++;
        plan.log.push(String(name));
        const chosen = index === plan.failAt;
        const dead = plan.mode.startsWith('dead') && plan.failAt !== undefined && index >= plan.failAt;
        const takesEffect = !(chosen || dead) || (chosen && plan.mode.endsWith('after'));
        const result = takesEffect ? await member.apply(target, args) : undefined;
        if (chosen || dead) throw new StoreError('unavailable', `injected fault in call ${index}, ${String(name)}`);
        return result;
      };
    },
  });
}
