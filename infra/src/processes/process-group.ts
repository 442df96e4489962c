/** Signals a process group; true when it had a member. */
export function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-group, signal);
    return true;
  } catch (error) {
    // EPERM: it lives, but as another user (Postgres, when we are root, is not such a case).
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

export const groupIsAlive = (group: number): boolean => signalGroup(group, 0);
