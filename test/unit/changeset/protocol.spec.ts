import { readFileSync } from 'node:fs';
import { messageHead, messageTail } from '../../../lib/changeset/codec.js';
import { announce, tellResigned } from '../../../lib/leader/announcement.js';
import { voidCommand } from '../../../lib/publish/void-message.js';
import { messageHeaders } from '../../../lib/stream/jetstream/message-headers.js';
import { baseCommand } from '../../../lib/subscribe/base.js';
import { HoldGate } from '../../../lib/write/hold-gate.js';

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');

/** What SPEC.md says of messages. */
function protocol(): string {
  const [, section = ''] = read('SPEC.md').split("\n## What travels besides go-ha's protocol\n");
  return section.split('\n## ')[0] ?? '';
}

describe('SPEC.md names', () => {
  it('every member of a message', () => {
    const notes = { behind: 1, untold: true, term: 1, answer: { changes: 1, lastInsertRowid: 1n } };
    const tail = messageTail([{ table: 't', bump: 1n }], 1n, 1n, notes);
    const message = JSON.parse(`${messageHead({ node: 'n', processId: 1n, filename: 'f' })}${tail}`) as object;
    expect(Object.keys(message)).toEqual(expect.arrayContaining(['behind', 'untold', 'term', 'answer']));
    for (const member of Object.keys(message)) expect(protocol()).toContain(`\`${member}\``);
  });

  it('every header of a message', () => {
    const message = { id: 'o.1', chunk: 'o.1;1/2', data: Buffer.alloc(0) };
    const expected = { lastSubjectSequence: 1, lastMessageId: 'o.0' };
    const batch = { batch: 'b', place: 1, isLast: true };
    const made = messageHeaders({ ...message, expect: expected }, batch) as unknown as { encode(): Uint8Array };
    const names = [
      ...Buffer.from(made.encode())
        .toString()
        .matchAll(/^([\w-]+): /gm),
    ].map(([, name]) => name);
    expect(names).toHaveLength(8);
    for (const name of names) expect(protocol()).toContain(`\`${name}\``);
  });

  it('every command that nodes send each other', () => {
    const commands = [
      voidCommand(),
      voidCommand('o.1'),
      new HoldGate('n').request(1),
      announce({ term: 1, session: 's' }),
      tellResigned('s'),
      baseCommand('b'),
    ];
    for (const command of commands) {
      const [name, ...values] = command.split(' ');
      expect(protocol()).toMatch(new RegExp(`\`${name?.replace('.', '[.]')}${' <\\w+>'.repeat(values.length)}\``));
    }
  });

  it('every field that is ours in gRPC', () => {
    const fields = [...read('proto/sql/v1/database_service.proto').matchAll(/ (\w+) = (1\d\d);/g)];
    expect(fields).toHaveLength(8);
    for (const [, name, number] of fields) {
      expect(protocol().replace(/\s+/g, ' ')).toMatch(new RegExp(`\`${name}\` \\(${number}[:;,)]`));
    }
  });
});
