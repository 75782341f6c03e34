import type { Interceptors } from '../apply/interceptors.js';
import { DatabaseHistory } from '../history/database-history.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import type { SnapshotterPorts } from '../snapshot/snapshotter.js';
import { StoredStates } from '../snapshot/stored-states.js';
import type { Connections } from '../sqlite/connections.js';
import type { ConfigureConnection } from '../sqlite/connection.js';
import { LateStream } from '../stream/late-stream.js';
import { readBase } from '../subscribe/base.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import type { Committer } from '../write/committer.js';
import { OutcomeFinder } from '../write/outcome.js';
import type { TransactionRunner } from '../write/transaction-runner.js';
import type { Replication } from './opened.js';
import type { Profile } from './profile.js';
import type { Snapshotting } from './snapshotting.js';

// What a database with a stream offers besides reading and writing.

/** What a start has opened. */
export interface OpenParts {
  readonly connections: Connections;
  readonly committer: Committer;
  readonly runner: TransactionRunner;
}

/** What became of transactions of this node that got no answer. */
export function outcomeFinder(
  { options }: Profile,
  replication: Replication,
  committer: Committer,
  publisher: ReplicationPublisher,
  isLed: boolean,
): OutcomeFinder {
  const { disablePublisher, disableSubscriber, publisherTimeout } = options;
  return new OutcomeFinder({
    ...replication,
    publisher,
    isLed,
    settles: !disablePublisher && !disableSubscriber,
    settled: (id, timeoutMs) => committer.settled(id, timeoutMs),
    behind: (id) => committer.unsettledBehind(id),
    waits: (id) => replication.async?.holds(id) === true,
    publisherTimeout,
  });
}

/** The past of the database. */
export function historyOf(
  { options, subject }: Profile,
  replication: Replication,
  open: OpenParts,
  interceptors: Interceptors | undefined,
  configure: ConfigureConnection | undefined,
): DatabaseHistory {
  const { rowIdentify, pragmas, deliverPolicy, replicationStream: streamName, replicationID } = options;
  const { stream } = replication;
  const base = (): string => readBase(open.connections.reader);
  return new DatabaseHistory({
    ...replication,
    ...open,
    rowIdentify,
    rebuild: { rowIdentify, pragmas, configure, fromBeginning: deliverPolicy.kind === 'all' },
    followsStream: !options.disableSubscriber,
    snapshots: new StoredStates({ stream, streamName, replicationID, subject, base }),
    intercepts: interceptors?.concern.bind(interceptors),
    patience: options.publisherTimeout,
  });
}

/** What snapshots are taken of; undefined where this node takes none. */
export function snapshotSource(
  { options }: Profile,
  { stream, position, skips, alarm, idle, async: outbox }: Replication,
  connections: Connections,
  subscriber: ReplicationSubscriber,
  snapshotting: Snapshotting,
): SnapshotterPorts | undefined {
  if (options.disableSubscriber) return undefined;
  if (stream.objects === undefined && !(stream instanceof LateStream)) return undefined;
  const doubt = (): string | undefined => {
    if (subscriber.state === 'halted') return 'the node has halted';
    if (skips.size > 0) return `messages were left out on this node (status().skipped)`;
    return alarm.error === undefined ? undefined : 'something else wrote to the file (status().foreignWrite)';
  };
  const advance = async (): Promise<void> => idle?.advance();
  return snapshotting.takes(connections, stream, () => position.cursor, { outbox, doubt, advance });
}
