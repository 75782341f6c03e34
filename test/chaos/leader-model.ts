import type { RawTransaction } from './stream-messages.js';

const SHOWN = 10;

/** Who leads, as the stream says: nobody but the last that has announced itself may have anything behind that. */
export class LeaderModel {
  readonly problems: string[] = [];
  elections = 0;
  private leader: { readonly node: string; readonly term: number } | undefined;

  take({ sequence, node, term, changes }: RawTransaction): void {
    const [name, elected] = changes[0]?.command?.split(' ') ?? [];
    if (name === 'ha.leader') {
      this.elections++;
      if (Number(elected) <= (this.leader?.term ?? 0)) this.problem(`at ${sequence}: term ${elected} came late`);
      this.leader = { node, term: Number(elected) };
    } else if (changes.some(({ operation }) => operation !== 'CUSTOM')) {
      if (node === this.leader?.node && term === this.leader.term) return;
      const expected = `${this.leader?.node} by ${this.leader?.term}`;
      this.problem(`at ${sequence}: written by ${node} by ${term}, but ${expected} leads`);
    }
  }

  private problem(text: string): void {
    if (this.problems.length < SHOWN) this.problems.push(text);
  }
}
