import type { MessageId } from '../changeset/message-id.js';

interface Place {
  readonly group: readonly MessageId[];
  readonly at: number;
}

/** Messages of this node that got no answer, with those behind each in its group. The oldest are forgotten. */
export class UnsettledMessages {
  private readonly places = new Map<string, Place>();

  constructor(private readonly limit = 10_000) {}

  /** Takes a group's ids in the order in which they were sent. */
  note(group: readonly MessageId[]): void {
    for (const [at, id] of group.entries()) this.places.set(textOf(id), { group, at });
    for (const text of this.places.keys()) {
      if (this.places.size <= this.limit) return;
      this.places.delete(text);
    }
  }

  /** What may still come behind the message with an id, the last first. */
  behind(id: MessageId): MessageId[] {
    const place = this.places.get(textOf(id));
    return place === undefined ? [] : place.group.slice(place.at + 1).toReversed();
  }
}

function textOf({ origin, n }: MessageId): string {
  return `${origin}.${n}`;
}
