/** One line of the doctor's report. */
export interface Finding {
  ok: boolean;
  /** What was found: a version, a size, an address. */
  detail: string;
  /** What to do about it, when not ok. */
  remedy?: string;
}

export interface Check {
  name: string;
  /** A rejection is a failure with its message as the detail. */
  run(): Promise<Finding>;
  /** The remedy for a rejection. */
  remedy: string;
}

export async function runCheck(check: Check): Promise<Finding> {
  try {
    return await check.run();
  } catch (error) {
    return {
      ok: false,
      detail: (error as Error).message.split('\n')[0] || (error as Error).name,
      remedy: check.remedy,
    };
  }
}
