/** Resolves after so many milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Calls until that succeeds, with a pause after each failure, as long as `again` says so; else the failure is thrown. */
export async function retry<T>(
  work: () => Promise<T>,
  again: (error: unknown) => boolean,
  pauseMs: number,
): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!again(error)) throw error;
      await sleep(pauseMs);
    }
  }
}

/** The pause behind so many failures in a row, ms: twice as long each time. */
export function backOff(failures: number, firstMs: number, longestMs: number): number {
  return Math.min(firstMs * 2 ** Math.min(failures - 1, 30), longestMs);
}

/** Resolves when everything that the event loop had to do has had its turn. */
export function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** What a promise gives, or `undefined` where it takes longer than so many milliseconds. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
