import { HAError } from '../../../lib/common/ha-error.js';

/** The problems an HA_OPTIONS_INVALID lists; fails if nothing or something else is thrown. */
export function problemsOf(call: () => unknown): string[] {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(HAError);
    const { code, details, message } = error as HAError;
    expect(code).toBe('HA_OPTIONS_INVALID');
    const problems = details['problems'] as string[];
    for (const problem of problems) expect(message).toContain(problem);
    return problems;
  }
  throw new Error('nothing was thrown');
}
