import { PublishGroup } from '../../../lib/publish/publish-group.js';
import type { PublishOutcome } from '../../../lib/publish/publish-group.js';
import {
  StreamBatchBroken,
  StreamRefusal,
  StreamRepetition,
  StreamTimeout,
  StreamUnavailable,
} from '../../../lib/stream/replication-stream.js';
import type { OrderedForm, OutgoingMessage, ReplicationStream } from '../../../lib/stream/replication-stream.js';

/** What the stream says to one attempt: it stores, it holds the id already, or the error. */
type Answer = 'store' | 'repeat' | Error;

/** A stream that answers attempts as it is told, and stores all others. It looks at expectations, as a stream does. */
class ToldStream {
  isConnected = true;
  batchLimit = 1_000;
  /** Every attempt: the ids, and what the first expected. */
  readonly attempts: string[] = [];
  answers: Answer[] = [];
  /** Behind those. */
  answerTo: (id: string) => Answer = () => 'store';
  last = 10;

  constructor(readonly ordering: OrderedForm = 'batch') {}

  get stream(): ReplicationStream {
    return this as unknown as ReplicationStream;
  }

  async publish(message: OutgoingMessage): Promise<{ sequence: number; duplicate: boolean }> {
    return this.attempt([message])[0] as { sequence: number; duplicate: boolean };
  }

  async publishBatch(messages: readonly OutgoingMessage[]): Promise<{ sequence: number; duplicate: boolean }[]> {
    return this.attempt(messages);
  }

  private attempt(messages: readonly OutgoingMessage[]): { sequence: number; duplicate: boolean }[] {
    const expected = messages.map(({ expect }) => expect?.lastSubjectSequence ?? expect?.lastMessageId ?? '');
    expect(expected.slice(1).join('')).toBe('');
    this.attempts.push(`${messages.map(({ id }) => id).join(' ')} @${expected[0]}`);
    const answer = this.answers.shift() ?? this.answerTo(messages[0]?.id ?? '');
    if (answer instanceof Error) throw answer;
    if (answer === 'repeat') return messages.map(() => ({ sequence: 1, duplicate: true }));
    const wanted = messages[0]?.expect?.lastSubjectSequence;
    if (wanted !== undefined && wanted !== this.last) throw new StreamRefusal('wrong last sequence', this.last);
    return messages.map(() => ({ sequence: ++this.last, duplicate: false }));
  }
}

const NEVER = new StreamTimeout('no answer');
const BROKEN = new StreamBatchBroken('incomplete');
const AWAY = new StreamUnavailable('nobody answers');

function message(id: string, bytes = 1): OutgoingMessage {
  return { id, data: Buffer.alloc(bytes) };
}

function group(told: ToldStream, ids: string, expected = 10): PublishGroup {
  const made = new PublishGroup(told.stream, expected);
  for (const id of ids) made.add(message(id));
  return made;
}

/** Outcomes in short: a sequence, or the kind; `?` where it may be stored. */
async function settle(made: PublishGroup, ms = 5_000): Promise<string> {
  const outcomes = await made.settle(performance.now() + ms);
  return outcomes.map(short).join(' ');
}

function short(outcome: PublishOutcome): string {
  if (outcome.kind === 'stored') return String(outcome.sequence);
  return outcome.kind === 'refused' && outcome.maybeStored ? 'refused?' : outcome.kind;
}

describe('a group that travels as a batch', () => {
  it('is held until it is settled, and sent with one expectation', async () => {
    const told = new ToldStream();
    const made = group(told, 'abc');
    expect(made.isOneByOne).toBe(false);
    await made.answered();
    expect(told.attempts).toEqual([]);
    expect(await settle(made)).toBe('11 12 13');
    expect(told.attempts).toEqual(['a b c @10']);
  });

  it('is nothing special where it is one message', async () => {
    const told = new ToldStream();
    expect(await settle(group(told, 'a'))).toBe('11');
    expect(told.attempts).toEqual(['a @10']);
  });

  it('is refused as a whole, and not sent again', async () => {
    const told = new ToldStream();
    expect(await settle(group(told, 'abc', 9))).toBe('refused refused refused');
    expect(told.attempts).toHaveLength(1);
  });

  it('is sent again under the same ids until there is an answer', async () => {
    const told = new ToldStream();
    told.answers = [NEVER, AWAY];
    expect(await settle(group(told, 'ab'))).toBe('11 12');
    expect(told.attempts).toEqual(['a b @10', 'a b @10', 'a b @10']);
  });

  it.each([new StreamRefusal('wrong last sequence: 12', 12), new StreamRepetition('duplicate id')])(
    'may be stored where an attempt got no answer and the next gets: %s',
    async (answer) => {
      const told = new ToldStream();
      told.answers = [NEVER, answer];
      expect(await settle(group(told, 'ab'))).toBe('refused? refused?');
    },
  );

  it('is sent one by one where its ids are known before the first attempt, to learn which: that one fails', async () => {
    const told = new ToldStream();
    told.answers = [new StreamRepetition('duplicate id'), 'store', 'repeat'];
    const made = group(told, 'abc');
    const outcomes = await made.settle(performance.now() + 5_000);
    expect(outcomes.map(short)).toEqual(['11', 'failed', 'refused']);
    expect(told.attempts).toEqual(['a b c @10', 'a @10', 'b @11']);
    expect(outcomes[1]).toMatchObject({ kind: 'failed', error: { code: 'HA_DUPLICATE_ID', details: { id: 'b' } } });
  });

  it('is unknown where no attempt was answered in time, and has failed where each was turned down', async () => {
    const silent = new ToldStream();
    silent.answers = Array.from({ length: 1_000 }, () => NEVER);
    expect(await settle(group(silent, 'ab'), 60)).toBe('unknown unknown');
    const away = new ToldStream();
    away.answers = Array.from({ length: 1_000 }, () => AWAY);
    expect(await settle(group(away, 'ab'), 60)).toBe('failed failed');
    const mixed = new ToldStream();
    mixed.answers = [NEVER, ...Array.from({ length: 1_000 }, () => AWAY)];
    expect(await settle(group(mixed, 'ab'), 60)).toBe('unknown unknown');
  });

  it('goes one by one where batches break again and again', async () => {
    const told = new ToldStream();
    told.answers = [BROKEN, BROKEN];
    expect(await settle(group(told, 'abc'))).toBe('11 12 13');
    expect(told.attempts).toEqual(['a b c @10', 'a b c @10', 'a @10', 'b @11', 'c @12']);
  });

  it('stays a batch while nobody answers for the stream', async () => {
    const told = new ToldStream();
    told.answers = [AWAY, AWAY, AWAY];
    expect(await settle(group(told, 'ab'))).toBe('11 12');
    expect(told.attempts.at(-1)).toBe('a b @10');
  });

  it('is not sent while there is no connection', async () => {
    const told = new ToldStream();
    told.answers = [AWAY];
    told.isConnected = false;
    expect(await settle(group(told, 'ab'), 100)).toBe('failed failed');
    expect(told.attempts).toHaveLength(1);
  });
});

describe('a group larger than a batch', () => {
  it('goes in several, each behind the one before', async () => {
    const told = new ToldStream();
    told.batchLimit = 2;
    expect(await settle(group(told, 'abcde'))).toBe('11 12 13 14 15');
    expect(told.attempts).toEqual(['a b @10', 'c d @12', 'e @14']);
  });

  it('goes in several where its messages are large', async () => {
    const told = new ToldStream();
    const made = new PublishGroup(told.stream, 10);
    for (const id of 'abcde') made.add(message(id, 3 * 1024 * 1024));
    made.add(message('f', 9 * 1024 * 1024));
    await settle(made);
    expect(told.attempts).toEqual(['a b @10', 'c d @12', 'e @14', 'f @15']);
  });

  it('ends where a part is refused', async () => {
    const told = new ToldStream();
    told.batchLimit = 2;
    told.answers = ['store', new StreamRefusal('wrong last sequence: 13', 13)];
    expect(await settle(group(told, 'abcdef'))).toBe('11 12 refused refused refused refused');
    expect(told.attempts).toHaveLength(2);
  });

  it('goes on behind what is stored, from the part that got no answer', async () => {
    const told = new ToldStream();
    told.batchLimit = 2;
    told.answers = ['store', NEVER, NEVER];
    expect(await settle(group(told, 'abcde'))).toBe('11 12 13 14 15');
    expect(told.attempts).toEqual(['a b @10', 'c d @12', 'c d @12', 'c d @12', 'e @14']);
  });

  it('knows which of its messages were never sent', async () => {
    const told = new ToldStream();
    told.batchLimit = 2;
    told.answers = ['store', ...Array.from({ length: 1_000 }, () => NEVER)];
    expect(await settle(group(told, 'abcde'), 60)).toBe('11 12 unknown unknown failed');
  });

  it('keeps in mind what an attempt in larger batches may have stored', async () => {
    const told = new ToldStream();
    told.answers = [NEVER, BROKEN, BROKEN, new StreamRefusal('wrong last sequence: 13', 13)];
    expect(await settle(group(told, 'abc'))).toBe('refused? refused? refused?');
    expect(told.attempts.at(-1)).toBe('a @10');
  });

  it('follows a limit that falls', async () => {
    const told = new ToldStream();
    const told2 = told as { batchLimit: number };
    told.answers = [AWAY];
    const made = group(told, 'abcd');
    const settled = settle(made);
    told2.batchLimit = 3;
    expect(await settled).toBe('11 12 13 14');
    expect(told.attempts).toEqual(['a b c d @10', 'a b c @10', 'd @13']);
  });
});

describe('a group on one replica that shares the stream with busy subjects', () => {
  const IDS = 'a b c d e f g h i j k l m n o p';

  it('goes one by one while it is small, for each batch is written to the disk', async () => {
    const told = new ToldStream('chained');
    const made = new PublishGroup(told.stream, 10, 'batch');
    for (const id of 'abc') made.add(message(id));
    expect(await settle(made)).toBe('11 12 13');
    expect(told.attempts).toEqual(['a @10', 'b @11', 'c @12']);
  });

  it('is a batch from sixteen messages on', async () => {
    const told = new ToldStream('chained');
    const made = new PublishGroup(told.stream, 10, 'batch');
    for (const id of IDS.split(' ')) made.add(message(id));
    await settle(made);
    expect(told.attempts).toEqual([`${IDS} @10`]);
  });
});

describe('a group in another form', () => {
  it('is chained by ids on one replica, and sent at once', async () => {
    const told = new ToldStream('chained');
    const made = group(told, 'abc');
    expect(told.attempts).toEqual(['a @10', 'b @a', 'c @b']);
    expect(await settle(made)).toBe('11 12 13');
  });

  it('is sent one by one without batches, and nothing behind a refusal', async () => {
    const told = new ToldStream('single');
    const made = new PublishGroup(told.stream, 10);
    expect(made.isOneByOne).toBe(true);
    told.answers = ['store', new StreamRefusal('wrong last sequence: 12', 12)];
    for (const id of 'abc') {
      made.add(message(id));
      await made.answered();
    }
    expect(await settle(made)).toBe('11 refused refused');
    expect(told.attempts).toEqual(['a @10', 'b @11']);
  });

  it('expects nothing where it is plain', async () => {
    const told = new ToldStream('batch');
    const made = new PublishGroup(told.stream, undefined);
    for (const id of 'ab') made.add(message(id));
    expect(made.isOneByOne).toBe(false);
    expect(told.attempts).toEqual(['a @', 'b @']);
    expect(await settle(made)).toBe('11 12');
  });
});

describe('a plain group whose messages are linked', () => {
  const COMPANY = new StreamRefusal('wrong last msg ID: somebody', undefined);

  function linked(told: ToldStream, ids: string): PublishGroup {
    const made = new PublishGroup(told.stream, undefined, told.ordering, () => undefined, true);
    for (const id of ids) made.add(message(id));
    return made;
  }

  it('expects each to be right behind the one before, and nothing of the first', async () => {
    const told = new ToldStream('chained');
    const made = linked(told, 'abc');
    expect(made.isLinked).toBe(true);
    expect(told.attempts).toEqual(['a @', 'b @a', 'c @b']);
    expect(await settle(made)).toBe('11 12 13');
  });

  it('goes on behind somebody else, from what was refused: all in front of it is stored', async () => {
    const told = new ToldStream('chained');
    told.answers = ['store', COMPANY, COMPANY, 'store', COMPANY];
    const made = linked(told, 'abc');
    await made.allAnswered();
    expect(made.isBroken).toBe(true);
    expect(await settle(made)).toBe('11 12 13');
    expect(told.attempts).toEqual(['a @', 'b @a', 'c @b', 'b @', 'c @b', 'c @']);
  });

  it('never sends what is behind a lost message in front of it', async () => {
    const told = new ToldStream('chained');
    told.answers = [NEVER, COMPANY, COMPANY];
    expect(await settle(linked(told, 'abc'))).toBe('11 12 13');
    expect(told.attempts.slice(3)).toEqual(['a @', 'b @a', 'c @b']);
  });

  it('takes a message without an answer for stored where the one behind it is', async () => {
    const told = new ToldStream('chained');
    told.answers = ['store', NEVER, 'store'];
    expect(await settle(linked(told, 'abc'))).toBe('11 unknown 12');
    expect(told.attempts).toHaveLength(3);
  });

  it('stores nothing behind one that failed until the end', async () => {
    const told = new ToldStream('chained');
    told.answerTo = (id) => (id === 'a' ? AWAY : COMPANY);
    expect(await settle(linked(told, 'abc'), 60)).toBe('failed refused refused');
  });

  it('says of one that was refused behind a lost one that nobody knows: its first attempt may come late, behind that one', async () => {
    const told = new ToldStream('chained');
    told.answers = [NEVER, NEVER];
    told.answerTo = (id) => (id === 'a' ? NEVER : COMPANY);
    expect(await settle(linked(told, 'ab'), 60)).toBe('unknown unknown');
  });

  it('sends fewer and fewer again while others come between, and more where nobody does', async () => {
    const told = new ToldStream('chained');
    const made = linked(told, 'abcdefgh');
    await made.allAnswered();
    expect(told.attempts).toHaveLength(8);
    const refused = new ToldStream('chained');
    refused.answers = ['store', ...Array.from({ length: 7 }, () => COMPANY)];
    // Of seven one is stored, of three, of one.
    refused.answers.push('store', ...Array.from({ length: 6 }, () => COMPANY), 'store', COMPANY, COMPANY, 'store');
    expect(await settle(linked(refused, 'abcdefgh'))).toBe('11 12 13 14 15 16 17 18');
    const again = 'b @, c @b, d @c, e @d, f @e, g @f, h @g | c @, d @c, e @d | d @ | e @, f @e | g @, h @g';
    expect(refused.attempts.slice(8)).toEqual(again.split(/ \| |, /));
  });

  it('sends nothing behind one whose id is taken', async () => {
    const told = new ToldStream('chained');
    told.answers = ['store', 'repeat', COMPANY];
    expect(await settle(linked(told, 'abc'))).toBe('11 failed refused');
    expect(told.attempts).toHaveLength(3);
  });

  it('waits for a line, and does not ask without a pause', async () => {
    const told = new ToldStream('chained');
    told.answers = ['store', COMPANY];
    const made = linked(told, 'ab');
    told.isConnected = false;
    setTimeout(() => (told.isConnected = true), 60);
    expect(await settle(made)).toBe('11 12');
    expect(told.attempts).toEqual(['a @', 'b @a', 'b @']);
  });

  it.each(['batch', 'single'] as const)(
    'is like any other plain one where the stream orders by %s',
    async (ordering) => {
      const told = new ToldStream(ordering);
      const made = linked(told, 'ab');
      expect(made.isLinked).toBe(false);
      expect(told.attempts).toEqual(['a @', 'b @']);
      expect(await settle(made)).toBe('11 12');
    },
  );
});
