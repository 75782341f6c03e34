import { Inject, Injectable, SetMetadata } from '@nestjs/common';
import type { TransactionHost as Host } from '@nestjs-cls/transactional';
import type { ClsService as Cls } from 'nestjs-cls';
import { pause } from '../../helper/cluster.js';
import {
  ClsService,
  getTransactionHostToken,
  getTransactionToken,
  Propagation,
  Transactional,
  TransactionHost,
} from '../../helper/nestjs-cls.js';
import type { Adapter, Sql, TxOptions } from './cls-plain-adapter.js';

type Work<R = unknown> = () => Promise<R>;

/** Each method as a transaction of its kind, around what a check does in it. */
@Injectable()
export class Accounts {
  /** The options of each transaction that has begun. */
  readonly begun: unknown[] = [];
  /** The hooks of the adapter that were called. */
  readonly hooks: string[] = [];
  private readonly factor = 2;

  constructor(
    @Inject(TransactionHost) readonly host: Host<Adapter>,
    @Inject(getTransactionHostToken('second')) readonly second: Host<Adapter>,
    @Inject(getTransactionToken()) readonly proxy: Sql,
    @Inject(getTransactionToken('second')) readonly secondProxy: Sql,
    @Inject(ClsService) readonly cls: Cls,
  ) {}

  async add(id: number, host: Host<Adapter> = this.host): Promise<void> {
    await host.tx.run('INSERT INTO account VALUES(?, 0)', [id]);
  }

  async ids(host: Host<Adapter> = this.host): Promise<number[]> {
    return (await host.tx.all<{ id: number }>('SELECT id FROM account ORDER BY id')).map(({ id }) => id);
  }

  async fail(id: number): Promise<never> {
    await this.add(id);
    throw new Error('no');
  }

  get active(): boolean {
    return this.host.isTransactionActive();
  }

  @Transactional()
  async required<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional(Propagation.RequiresNew)
  async requiresNew<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional(Propagation.NotSupported)
  async notSupported<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional(Propagation.Mandatory)
  async mandatory<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional(Propagation.Never)
  async never<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional(Propagation.Supports)
  async supports<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional(Propagation.Nested)
  async nested<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional<Adapter>({ serializable: true })
  async serializable<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional<Adapter>(Propagation.Nested, { timeout: 30_000 })
  async nestedWithOptions<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional('second')
  async onSecond<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional('second', Propagation.Mandatory)
  async mandatoryOnSecond<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional<Adapter>('second', Propagation.Required, { timeout: 20_000 })
  async secondWithOptions<R>(work: Work<R>): Promise<R> {
    return work();
  }

  @Transactional()
  @SetMetadata('kind', 'kept')
  async times(n: number): Promise<number> {
    await this.add(n);
    return n * this.factor;
  }
}

/** What it gives, and what the documentation of @nestjs-cls/transactional, and of SQLite, says that it has to be. */
export type ClsCheck = readonly [name: string, work: (accounts: Accounts) => Promise<unknown>, expected: unknown];

/** What is written past a transaction waits for it: SQLite has one writer. */
const REFUSED = /^(SqliteError|HAError)$/;
const failure = async (work: Work): Promise<string> => {
  try {
    await work();
  } catch (error) {
    const { name, message } = error as Error;
    return REFUSED.test(name) && !/constraint|no such/.test(message) ? 'refused' : `${name}: ${message}`;
  }
  return 'no failure';
};
const options = (value: TxOptions): TxOptions => value;

export const CHECKS: readonly ClsCheck[] = [
  // Outside of one
  ['nothing is active outside', async (a) => [a.active, a.second.isTransactionActive()], [false, false]],
  ['tx is the database outside', async (a) => (await a.add(10), a.ids()), [1, 2, 10]],
  ['tx is the same outside each time', async (a) => a.host.tx === a.host.tx, true],
  ['tx is the database in a request', (a) => a.cls.run(async () => [a.active, await a.ids()]), [false, [1, 2]]],

  // Required
  [
    'Required begins one',
    (a) => a.required(async () => (await a.add(10), [a.active, await a.ids()])),
    [true, [1, 2, 10]],
  ],
  [
    'Required commits',
    async (a) => (await a.required(() => a.add(10)), [a.active, await a.ids()]),
    [false, [1, 2, 10]],
  ],
  [
    'Required rolls back, and gives the error',
    async (a) => [await failure(() => a.required(() => a.fail(10))), a.active, await a.ids()],
    ['Error: no', false, [1, 2]],
  ],
  [
    'the error is the very one',
    async (a) => {
      const own = new Error('own');
      return a.required(() => Promise.reject(own)).catch((error: unknown) => error === own);
    },
    true,
  ],
  [
    'Required takes part in one',
    async (a) => [
      await a.required(async () => {
        const { tx } = a.host;
        return a.required(async () => (await a.add(10), a.host.tx === tx));
      }),
      a.begun.length,
    ],
    [true, 1],
  ],
  [
    'what took part goes with it',
    async (a) => [
      await failure(() => a.required(async () => (await a.required(() => a.add(10)), a.fail(11)))),
      await a.ids(),
    ],
    ['Error: no', [1, 2]],
  ],
  [
    'what took part and failed is committed where it is caught',
    async (a) => (await a.required(() => failure(() => a.required(() => a.fail(10)))), a.ids()),
    [1, 2, 10],
  ],
  [
    'a statement that failed leaves the transaction going',
    async (a) => [
      await a.required(async () => {
        const failed = await failure(() => a.add(1));
        await a.add(10);
        return failed;
      }),
      await a.ids(),
    ],
    ['SqliteError: UNIQUE constraint failed: account.id', [1, 2, 10]],
  ],
  [
    'a method that fails before it waits',
    async (a) => [
      await failure(() =>
        a.host.withTransaction(() => {
          throw new Error('at once');
        }),
      ),
      a.active,
    ],
    ['Error: at once', false],
  ],
  ['tx is that of the method behind a timer', (a) => a.required(async () => (await pause(5), a.active)), true],
  [
    'tx is that of the method in what runs beside it',
    async (a) => (await a.required(() => Promise.all([10, 11, 12].map((id) => a.add(id)))), a.ids()),
    [1, 2, 10, 11, 12],
  ],
  [
    'tx is of no use behind its end',
    async (a) => {
      const tx = await a.required(async () => ({ kept: a.host.tx }));
      const gone = await tx.kept.run('INSERT INTO account VALUES(10, 0)').then(
        () => false,
        () => true,
      );
      return [gone, await a.ids()];
    },
    [true, [1, 2]],
  ],
  [
    'transactions at once do not see each other',
    async (a) => {
      const own = (id: number): Promise<unknown> =>
        a.required(async () => {
          await a.add(id);
          await pause(1);
          if (id % 2 === 0) throw new Error('no');
        });
      await Promise.allSettled(Array.from({ length: 10 }, (_, i) => own(10 + i)));
      return a.ids();
    },
    [1, 2, 11, 13, 15, 17, 19],
  ],
  [
    'no update is lost of those that read and write at once',
    async (a) => {
      const change = (): Promise<unknown> =>
        a.required(async () => {
          const row = await a.host.tx.get<{ n: number }>('SELECT balance AS n FROM account WHERE id = 1');
          await pause(1);
          await a.host.tx.run('UPDATE account SET balance = ? WHERE id = 1', [(row?.n ?? 0) + 1]);
        });
      await Promise.all(Array.from({ length: 10 }, change));
      return a.host.tx.get('SELECT balance FROM account WHERE id = 1');
    },
    { balance: 60 },
  ],
  [
    'what a request holds is there, and what is set within stays within',
    (a) =>
      a.cls.run(async () => {
        a.cls.set('request', 7);
        const seen = await a.required(async () => a.cls.get('request'));
        return [seen, a.cls.get('request')];
      }),
    [7, 7],
  ],

  // The decorator
  ['arguments, this and result are the method’s', (a) => a.times(21), 42],
  ['metadata is kept', async (a) => Reflect.getMetadata('kind', a.times) as unknown, 'kept'],
  [
    'only a function can be decorated',
    async () => failure(async () => Transactional()({}, 'field', { value: 1 })),
    'Error: The @Transactional decorator can be only used on functions, but field is not a function.',
  ],
  [
    'options reach the transaction, over those of the adapter',
    async (a) => (await a.serializable(() => a.add(10)), [a.begun, await a.ids()]),
    [[{ timeout: 10_000, serializable: true }], [1, 2, 10]],
  ],
  [
    'propagation and options',
    async (a) => (await a.nestedWithOptions(() => a.add(10)), [a.begun, await a.ids()]),
    [[{ timeout: 30_000 }], [1, 2, 10]],
  ],
  [
    'options of what takes part are not looked at',
    async (a) => (await a.required(() => a.serializable(() => a.add(10))), [a.begun, await a.ids()]),
    [[{ timeout: 10_000 }], [1, 2, 10]],
  ],

  // withTransaction
  [
    'withTransaction',
    async (a) => [await a.host.withTransaction(async () => (await a.add(10), 5)), await a.ids()],
    [5, [1, 2, 10]],
  ],
  [
    'withTransaction rolls back',
    async (a) => [await failure(() => a.host.withTransaction(() => a.fail(10))), await a.ids()],
    ['Error: no', [1, 2]],
  ],
  [
    'withTransaction with options',
    async (a) => (
      await a.host.withTransaction(options({ serializable: true }), () => a.add(10)),
      [a.begun, await a.ids()]
    ),
    [[{ timeout: 10_000, serializable: true }], [1, 2, 10]],
  ],
  [
    'withTransaction with propagation',
    (a) => failure(() => a.host.withTransaction(Propagation.Mandatory, () => a.add(10))),
    'TransactionNotActiveError: Trying to start a transaction in mode MANDATORY, but no existing transaction is active (for method anonymous).',
  ],
  [
    'withTransaction with propagation and options',
    async (a) => (
      await a.host.withTransaction(Propagation.RequiresNew, options({ timeout: 9_000 }), () => a.add(10)),
      [a.begun, await a.ids()]
    ),
    [[{ timeout: 9_000 }], [1, 2, 10]],
  ],
  [
    'a propagation that there is not',
    async (a) => (await failure(() => a.host.withTransaction('SOME' as never, () => a.add(10)))).split(':')[0],
    'TransactionPropagationError',
  ],
  [
    'withoutTransaction, and the transaction behind it',
    (a) =>
      a.required(async () => {
        const within = await a.host.withoutTransaction(async () => a.active);
        await a.add(10);
        return [within, a.active, await a.ids()];
      }),
    [false, true, [1, 2, 10]],
  ],
  [
    'getInstance',
    async (a) => [TransactionHost.getInstance() === a.host, TransactionHost.getInstance('second') === a.second],
    [true, true],
  ],
  [
    'getInstance of what there is not',
    async () => (await failure(async () => TransactionHost.getInstance('third'))).slice(0, 38),
    'Error: TransactionHost not initialized',
  ],

  // RequiresNew
  [
    'RequiresNew begins one',
    async (a) => [await a.requiresNew(async () => (await a.add(10), a.active)), await a.ids()],
    [true, [1, 2, 10]],
  ],
  [
    'RequiresNew within one cannot be, as SQLite has one writer, and the transaction goes on',
    async (a) => [
      await a.required(async () => {
        await a.add(10);
        return [await failure(() => a.requiresNew(() => a.add(11))), a.active];
      }),
      await a.ids(),
    ],
    [
      ['refused', true],
      [1, 2, 10],
    ],
  ],

  // NotSupported
  [
    'NotSupported outside',
    async (a) => [await a.notSupported(async () => (await a.add(10), a.active)), await a.ids()],
    [false, [1, 2, 10]],
  ],
  [
    'NotSupported is not in the transaction, which goes on',
    async (a) => [
      await a.required(async () => {
        await a.add(10);
        return [await a.notSupported(async () => a.active), a.active, await a.ids()];
      }),
      await a.ids(),
    ],
    [
      [false, true, [1, 2, 10]],
      [1, 2, 10],
    ],
  ],
  [
    'NotSupported within one cannot write, as SQLite has one writer, and the transaction goes on',
    async (a) => [
      await a.required(async () => {
        await a.add(10);
        return failure(() => a.notSupported(() => a.add(11)));
      }),
      await a.ids(),
    ],
    ['refused', [1, 2, 10]],
  ],
  [
    'NotSupported fails, and what was written stays',
    async (a) => [await failure(() => a.notSupported(() => a.fail(10))), await a.ids()],
    ['Error: no', [1, 2, 10]],
  ],

  // Mandatory, Never, Supports
  [
    'Mandatory takes part',
    (a) => a.required(() => a.mandatory(async () => (await a.add(10), [a.active, await a.ids()]))),
    [true, [1, 2, 10]],
  ],
  [
    'Mandatory outside',
    async (a) => [(await failure(async () => a.mandatory(() => a.add(10)))).split(':')[0], await a.ids()],
    ['TransactionNotActiveError', [1, 2]],
  ],
  [
    'Never outside',
    async (a) => [await a.never(async () => (await a.add(10), a.active)), await a.ids()],
    [false, [1, 2, 10]],
  ],
  [
    'Never within one, which goes on',
    async (a) => [
      await a.required(async () => {
        await a.add(10);
        return (await failure(async () => a.never(() => a.add(11)))).split(':')[0];
      }),
      await a.ids(),
    ],
    ['TransactionAlreadyActiveError', [1, 2, 10]],
  ],
  [
    'Supports outside',
    async (a) => [await a.supports(async () => (await a.add(10), a.active)), await a.ids()],
    [false, [1, 2, 10]],
  ],
  [
    'Supports takes part',
    async (a) => [
      await failure(() => a.required(async () => (await a.supports(() => a.add(10)), a.fail(11)))),
      await a.ids(),
    ],
    ['Error: no', [1, 2]],
  ],

  // Nested
  [
    'Nested outside begins one',
    async (a) => [await a.nested(async () => (await a.add(10), a.active)), await a.ids()],
    [true, [1, 2, 10]],
  ],
  [
    'Nested outside rolls back',
    async (a) => [await failure(() => a.nested(() => a.fail(10))), await a.ids()],
    ['Error: no', [1, 2]],
  ],
  [
    'Nested is committed with the transaction',
    async (a) => [
      await a.required(async () => (await a.nested(() => a.add(10)), await a.add(11), a.active)),
      await a.ids(),
      a.begun.length,
    ],
    [true, [1, 2, 10, 11], 1],
  ],
  [
    'Nested is rolled back alone',
    async (a) => (
      await a.required(async () => {
        await a.add(10);
        await failure(() => a.nested(() => a.fail(11)));
        await a.add(12);
      }),
      a.ids()
    ),
    [1, 2, 10, 12],
  ],
  [
    'Nested goes with the transaction',
    async (a) => [
      await failure(() => a.required(async () => (await a.nested(() => a.add(10)), a.fail(11)))),
      await a.ids(),
    ],
    ['Error: no', [1, 2]],
  ],
  [
    'Nested in Nested',
    async (a) => (
      await a.required(async () => {
        await a.nested(async () => {
          await a.add(10);
          await failure(() => a.nested(() => a.fail(11)));
          await a.nested(() => a.add(12));
        });
        await failure(() => a.nested(async () => (await a.nested(() => a.add(13)), a.fail(14))));
      }),
      a.ids()
    ),
    [1, 2, 10, 12],
  ],
  [
    'Required and Mandatory in Nested take part in it',
    async (a) => (
      await a.required(() =>
        failure(() =>
          a.nested(async () => (await a.required(() => a.add(10)), await a.mandatory(() => a.add(11)), a.fail(12))),
        ),
      ),
      a.ids()
    ),
    [1, 2],
  ],

  // The transaction as a provider
  [
    'the proxy is the database outside',
    async (a) => (await a.proxy.run('INSERT INTO account VALUES(10, 0)'), a.ids()),
    [1, 2, 10],
  ],
  [
    'the proxy is the transaction within, and the database again',
    async (a) => [
      await failure(() => a.required(async () => (await a.proxy.run('INSERT INTO account VALUES(10, 0)'), a.fail(11)))),
      await a.proxy.all('SELECT id FROM account'),
    ],
    ['Error: no', [{ id: 1 }, { id: 2 }]],
  ],
  [
    'the proxy in Nested',
    async (a) => (
      await a.required(async () => {
        await failure(() => a.nested(async () => (await a.proxy.run('DELETE FROM account'), a.fail(10))));
        await a.nested(() => a.proxy.run('INSERT INTO account VALUES(11, 0)'));
      }),
      a.ids()
    ),
    [1, 2, 11],
  ],

  // Several connections
  [
    'a transaction of one is none of the other',
    (a) => a.required(async () => [a.active, a.second.isTransactionActive(), await a.ids(a.second)]),
    [true, false, [1, 2]],
  ],
  [
    'a named one',
    async (a) => (await a.onSecond(() => a.add(10, a.second)), [await a.ids(), await a.ids(a.second)]),
    [
      [1, 2],
      [1, 2, 10],
    ],
  ],
  [
    'a named one with propagation',
    async (a) => [
      (await failure(async () => a.required(() => a.mandatoryOnSecond(() => a.add(10, a.second))))).split(':')[0],
      await a.onSecond(() => a.mandatoryOnSecond(async () => a.second.isTransactionActive())),
    ],
    ['TransactionNotActiveError', true],
  ],
  [
    'a named one with propagation and options',
    async (a) => (await a.secondWithOptions(() => a.add(10, a.second)), a.begun),
    [{ timeout: 20_000 }],
  ],
  [
    'one in the other, both rolled back',
    async (a) => [
      await failure(() => a.required(() => a.onSecond(async () => (await a.add(10, a.second), a.fail(10))))),
      await a.ids(),
      await a.ids(a.second),
    ],
    ['Error: no', [1, 2], [1, 2]],
  ],
  [
    'one in the other, each with its own end',
    async (a) => [
      await failure(() => a.required(async () => (await a.onSecond(() => a.add(10, a.second)), a.fail(10)))),
      await a.ids(),
      await a.ids(a.second),
    ],
    ['Error: no', [1, 2], [1, 2, 10]],
  ],
  [
    'the proxy of a named one',
    async (a) => (
      await a.required(() => a.onSecond(() => a.secondProxy.run('INSERT INTO account VALUES(10, 0)'))),
      [await a.ids(), await a.ids(a.second)]
    ),
    [
      [1, 2],
      [1, 2, 10],
    ],
  ],

  // Hooks
  ['hooks of the adapter are called once each', async (a) => a.hooks, ['onModuleInit', 'onApplicationBootstrap']],
];

/** Reading past the transaction: ours says that the database was called inside of one, and how to read past it. */
export const READ_PAST: ClsCheck = [
  'NotSupported within one reads what was committed before',
  (a) => a.required(async () => (await a.add(10), a.notSupported(() => a.ids()))),
  [1, 2],
];
