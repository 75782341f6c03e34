import { HAError } from '../common/ha-error.js';

/** Collects what is wrong with the options, so that the user sees everything at once instead of one mistake a start. */
export class Problems {
  readonly list: string[] = [];

  /** Notes one problem; the text says where it is and what is allowed. */
  add(problem: string): void {
    this.list.push(problem);
  }

  /** Runs `read`; an error it throws becomes a problem that starts with `where`. */
  attempt<T>(where: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      this.add(`${where}: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  }

  /** Runs `read`; the problems of an `HA_OPTIONS_INVALID` that it throws are taken over, and undefined is returned. */
  collect<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      const problems =
        error instanceof HAError && error.code === 'HA_OPTIONS_INVALID' ? error.details.problems : undefined;
      if (!Array.isArray(problems)) throw error;
      this.list.push(...(problems as string[]));
      return undefined;
    }
  }

  /** Throws one `HA_OPTIONS_INVALID` with all problems (also in `details.problems`), if there are any. */
  throwIfAny(what = 'The options'): void {
    if (this.list.length === 0) return;
    const title = this.list.length === 1 ? `${what} are invalid` : `${what} have ${this.list.length} problems`;
    throw new HAError('HA_OPTIONS_INVALID', `${title}:\n${this.list.map((text) => `- ${text}`).join('\n')}`, {
      details: { problems: [...this.list] },
    });
  }
}
