/**
 * What a leader tells the nodes through the stream, as commands of CUSTOM changes, which go-ha ignores. The first message of
 * a leader is an ordered one without rows: whoever led before has nothing stored behind it, for what it publishes expects
 * an older end of the stream; and when it meets this one, it knows that it leads no more.
 */
const LEADS = 'ha.leader';
const RESIGNED = 'ha.resigned';

/** The first message of a leader. */
export interface Announcement {
  /** Revision of the key at which it was elected; 0 for a static one. */
  readonly term: number;
  /** Random for each start of a database. */
  readonly session: string;
}

export function announce({ term, session }: Announcement): string {
  return `${LEADS} ${term} ${session}`;
}

/** Undefined where a command is none. */
export function readAnnouncement(command: string): Announcement | undefined {
  const [name, term = '', session = ''] = command.split(' ');
  return name === LEADS && /^\d+$/.test(term) ? { term: Number(term), session } : undefined;
}

/** Says that there is a leader to be elected at once. */
export function tellResigned(session: string): string {
  return `${RESIGNED} ${session}`;
}

export function isResignation(command: string): boolean {
  return command.startsWith(`${RESIGNED} `);
}
