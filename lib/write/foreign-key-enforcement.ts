import type { Connection } from '../sqlite/connection.js';

/**
 * Whether the writer enforces foreign keys. It does so as the database was opened, but for single transactions whose session
 * wants it otherwise: inside of a transaction SQLite does not switch it, so they have one of their own, and nobody else in it
 * (https://www.sqlite.org/pragma.html#pragma_foreign_keys).
 */
export class ForeignKeyEnforcement {
  /** What counts where nobody says otherwise. */
  readonly usual: boolean;
  private current: boolean;

  constructor(private readonly db: Connection) {
    this.usual = this.read();
    this.current = this.usual;
  }

  /** What counts for the transaction that is open. */
  get isOn(): boolean {
    return this.current;
  }

  get isUsual(): boolean {
    return this.current === this.usual;
  }

  /** True where a transaction may run as things stand. */
  suits(wanted: boolean | undefined): boolean {
    return (wanted ?? this.usual) === this.current;
  }

  /**
   * Switches it for the next transaction. Call in front of BEGIN.
   *
   * @throws Error where SQLite did not: then nothing may run that counts on it.
   */
  use(wanted: boolean | undefined): void {
    if (this.suits(wanted)) return;
    this.switchTo(wanted ?? this.usual);
    if (!this.suits(wanted)) throw new Error('The enforcement of foreign keys could not be switched.');
  }

  /** Makes it as usual again. Call behind COMMIT and ROLLBACK. Never fails: {@link use} tells where it could not. */
  restore(): void {
    if (this.isUsual) return;
    try {
      this.switchTo(this.usual);
    } catch {
      // The next transaction switches it, or is refused.
    }
  }

  /** Compiled anew each time: SQLite decides while it compiles, and not when it runs. */
  private switchTo(wanted: boolean): void {
    this.db.exec(`PRAGMA foreign_keys = ${wanted ? 'ON' : 'OFF'}`);
    this.current = this.read();
  }

  private read(): boolean {
    return this.db.pragma('foreign_keys', { simple: true }) === 1;
  }
}
