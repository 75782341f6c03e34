/** A repeatable source of random numbers (mulberry32), so that a failure can be run again from its seed. */
export class Random {
  private state: number;

  constructor(readonly seed: number) {
    this.state = seed | 0;
  }

  /** At least 0, below 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** An integer from 0, below `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  /** Any 64 bits, of all magnitudes alike. */
  int64(): bigint {
    return BigInt.asIntN(64, this.bytes(8).readBigInt64LE()) >> BigInt(this.below(64));
  }

  /** Any finite double, often a plain one. */
  real(): number {
    if (this.below(3) === 0) return this.pick([0, -0, 2, -2, 0.1, 1e300, 5e-324, 1e21, 2 ** 53, -1e-7]);
    const value = this.bytes(8).readDoubleLE();
    return Number.isFinite(value) ? value : this.below(1_000_000) / 7;
  }

  /** Text with quotes, escapes, control characters and characters beyond the basic plane. */
  text(): string {
    const parts = [
      'a',
      'é',
      '😀',
      '"',
      '\\',
      '\n',
      '\u0000',
      '\u001f',
      '\u2028',
      '{',
      ']',
      ',',
      '{"$b"',
      '9.0e+999',
      '\u007f',
    ];
    return Array.from({ length: this.below(8) }, () => this.pick(parts)).join('');
  }
}

/** Runs a test on many seeds; a failure names its seed. */
export function forSeeds(count: number, run: (random: Random) => void): void {
  for (let seed = 1; seed <= count; seed++) {
    try {
      run(new Random(seed));
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}
