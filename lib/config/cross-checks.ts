import type { HAMode, OptionName, OptionValues } from './resolved.js';

/** The options that some source sets, and in words where. */
export type SetOptions = ReadonlyMap<OptionName, string>;

// natsServer is not among them: where the binary lies, often said for a whole machine, is no wish to start it.
const EMBEDDED: readonly OptionName[] = [
  'natsConfigFile',
  'natsHost',
  'natsMaxPayload',
  'natsName',
  'natsPass',
  'natsPort',
  'natsStoreDir',
  'natsSyncInterval',
  'natsUser',
];

const list = (names: readonly OptionName[], set: SetOptions): string =>
  names.map((name) => `${name} (${set.get(name)})`).join(', ');

/** Which NATS server the options ask for; `report` gets the contradiction if they ask for two. */
export function modeOf(set: SetOptions, report: (problem: string) => void): HAMode {
  const embedded = EMBEDDED.filter((name) => set.has(name));
  if (!set.has('replicationURL')) return embedded.length === 0 ? 'standalone' : 'embedded';
  if (embedded.length > 0) {
    report(
      `${list(['replicationURL'], set)} asks for a NATS server that runs elsewhere, ${list(embedded, set)} for an embedded one; ` +
        'keep one of them (credentials for the former go into its URL, replicationToken or replicationCreds)',
    );
  }
  return 'external';
}

/** One option is of no use without the other. */
const NEEDS: readonly (readonly [option: OptionName, needed: OptionName])[] = [
  ['natsUser', 'natsPass'],
  ['natsPass', 'natsUser'],
  ['grpcTlsCa', 'grpcTlsCert'],
  ['grpcTlsCert', 'grpcTlsKey'],
  ['grpcTlsKey', 'grpcTlsCert'],
  ['replicationTlsCert', 'replicationTlsKey'],
  ['replicationTlsKey', 'replicationTlsCert'],
];

function missing(set: SetOptions): string[] {
  return NEEDS.filter(([option, needed]) => set.has(option) && !set.has(needed)).map(
    ([option, needed]) => `${list([option], set)} needs ${needed}`,
  );
}

/** The contradictions between options, each as a problem. */
export function contradictions(values: Partial<OptionValues>, set: SetOptions): string[] {
  const problems = missing(set);
  if (values.asyncPublisher === true && values.concurrency === 'serializable') {
    problems.push('asyncPublisher=true excludes concurrency=serializable: it commits before the stream has decided');
  }
  if (values.asyncPublisher === true && values.disableSubscriber === true) {
    problems.push('asyncPublisher=true excludes disableSubscriber=true: only what comes back tells what is published');
  }
  if (values.asyncPublisherOutboxDir !== undefined && values.asyncPublisher === false) {
    problems.push(`${list(['asyncPublisherOutboxDir'], set)} needs asyncPublisher=true`);
  }
  if (values.leaderProvider !== undefined && values.asyncPublisher === true) {
    problems.push(
      `${list(['leaderProvider'], set)} excludes asyncPublisher=true: what a leader has answered must be in the stream, or the next one would not have it`,
    );
  }
  if (values.leaderProvider !== undefined && values.disableSubscriber === true) {
    problems.push(
      `${list(['leaderProvider'], set)} excludes disableSubscriber=true: a leader has to have applied everything that others wrote`,
    );
  }
  if (values.disableSubscriber === true && values.concurrency === 'serializable') {
    problems.push('disableSubscriber=true excludes concurrency=serializable: what others wrote never arrives');
  }
  if (values.disableSubscriber === true && set.has('generatedIds') && values.generatedIds === 'ordered') {
    problems.push('disableSubscriber=true excludes generatedIds=ordered: what others wrote never arrives');
  }
  return problems;
}
