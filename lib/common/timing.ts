/** Resolves after so many milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves when everything that the event loop had to do has had its turn. */
export function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
