/** What is told of a snapshot that has taken the place of a file. */
export interface RestoredFacts {
  readonly sequence: number;
  /** Bytes. */
  readonly size: number;
  /** How long it took to bring it here. */
  readonly ms: number;
}

/** The file has to be replaced by a snapshot, and the start begun anew: it lies there, verified. */
export class StagedSnapshot extends Error {
  override readonly name = 'StagedSnapshot';

  constructor(
    /** Where it is. */
    readonly path: string,
    readonly facts: RestoredFacts,
    /** The file that it takes the place of is kept: it may hold rows that are nowhere else. */
    readonly keeps = false,
  ) {
    super('A snapshot is ready to take the place of the database.');
  }
}
