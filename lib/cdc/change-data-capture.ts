import type { Capture } from '../capture/capture.js';
import { HAError } from '../common/ha-error.js';
import type { Connections } from '../sqlite/connections.js';
import type { CommittedTransaction } from '../write/commit-group.js';
import { ColumnTypes } from './column-types.js';
import { EffectLogWriter, createCdcTables, forgetTargets, readTargets } from './effect-log.js';
import type { StoredTarget } from './effect-log.js';
import { EffectRecorder } from './effect-recorder.js';
import type { HACDCStatus } from '../write/status.js';
import { TargetRunner } from './target-runner.js';
import type { Registration, RunnerPorts } from './target-runner.js';

/** What change data capture needs of its database. */
export interface CdcPorts extends Pick<RunnerPorts, 'control' | 'received' | 'isSettled' | 'settled' | 'names'> {
  readonly connections: Connections;
  /** Gated, on the applier's connection. */
  readonly capture: Capture;
  readonly failed: (error: HAError) => void;
  readonly log: (line: string) => void;
}

/** Change data capture of one database, assembled: recording of effects, and a runner for each target. */
export class ChangeDataCapture {
  readonly recorder: EffectRecorder;
  private readonly from = { sequence: Number.POSITIVE_INFINITY };
  private readonly writer: EffectLogWriter;
  private readonly runners: readonly TargetRunner[];

  private constructor(registrations: readonly Registration[], stored: readonly StoredTarget[], ports: CdcPorts) {
    const { connections, capture, log } = ports;
    this.recorder = new EffectRecorder(connections.applier, capture, this.from);
    this.writer = new EffectLogWriter(connections.writer);
    const runnerPorts: RunnerPorts = {
      ...ports,
      types: new ColumnTypes(connections.reader),
      reader: connections.reader,
      leaseReader: () => connections.leaseReader(),
      releaseReader: (db) => connections.releaseReader(db),
      begun: (sequence) => (this.from.sequence = Math.min(this.from.sequence, sequence)),
      moved: () => this.moved(),
      recovered: (target) => log(`The CDC target '${target}' takes events again.`),
    };
    this.runners = registrations.map((registration) => {
      const known = stored.find(({ target }) => target === registration.settings.name);
      return new TargetRunner(registration, runnerPorts, known);
    });
    this.moved();
  }

  /** Opens it before anything is applied or written: recording goes on where the last start has left it. */
  static async open(registrations: readonly Registration[], ports: CdcPorts): Promise<ChangeDataCapture> {
    await ports.control(createCdcTables);
    await forgetOthers(registrations, ports);
    return new ChangeDataCapture(registrations, readTargets(ports.connections.applier), ports);
  }

  get status(): HACDCStatus[] {
    return this.runners.map(({ status }) => status);
  }

  /** Begins to deliver. */
  start(): void {
    for (const runner of this.runners) runner.start();
  }

  /** Ends behind the batches under way. */
  async stop(): Promise<void> {
    await Promise.all(this.runners.map((runner) => runner.stop()));
  }

  /** Something was committed. */
  wake(): void {
    for (const runner of this.runners) runner.wake();
  }

  /** Records a transaction of this node that is about to be committed at its place: what its triggers captured is exact. */
  readonly record = ({ sequence, messages }: CommittedTransaction): void => {
    if (!this.recorder.wants(sequence)) return;
    messages.forEach(({ data }, part) => this.writer.add(sequence, part, data));
  };

  private moved(): void {
    const places = this.runners.flatMap(({ stored }) => (stored === undefined ? [] : [stored.sequence]));
    this.from.sequence = Math.min(Number.POSITIVE_INFINITY, ...places);
  }
}

/**
 * Forgets targets that are not registered any more: nothing is recorded for them, so they could not go on later. One that
 * comes back is new.
 */
export async function forgetOthers(
  registrations: readonly Registration[],
  { connections, control, log }: Pick<CdcPorts, 'connections' | 'control' | 'log'>,
): Promise<void> {
  const known = new Set(registrations.map(({ settings }) => settings.name));
  const gone = readTargets(connections.applier)
    .map(({ target }) => target)
    .filter((name) => !known.has(name));
  if (gone.length === 0) return;
  await control((db) => forgetTargets(db, gone));
  log(`CDC targets that are registered no more are forgotten, and begin anew if they come back: ${gone.join(', ')}.`);
}

/**
 * Refuses targets that could not be served.
 *
 * @throws HAError `HA_OPTIONS_INVALID`.
 */
export function checkRegistrations(registrations: readonly Registration[], followsStream: boolean): void {
  if (registrations.length === 0) return;
  if (!followsStream) {
    throw new HAError(
      'HA_OPTIONS_INVALID',
      'cdc needs a database that follows a stream: set replicationURL or natsPort, and leave out disableSubscriber.',
    );
  }
  const names = new Set<string>();
  for (const { settings } of registrations) {
    const { name, maxBatchSize } = settings;
    if (names.has(name)) {
      throw new HAError(
        'HA_OPTIONS_INVALID',
        `Two CDC targets of one database are named '${name}', and a name is where a position is stored. Give each its own: cdc: [{ target: ${name}, name: '…' }].`,
        { details: { target: name } },
      );
    }
    names.add(name);
    if (Number.isSafeInteger(maxBatchSize) && maxBatchSize >= 1) continue;
    throw new HAError(
      'HA_OPTIONS_INVALID',
      `maxBatchSize of the CDC target '${name}' has to be a whole number from 1.`,
    );
  }
}
