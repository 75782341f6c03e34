import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../../lib/common/ha-error.js';
import { isRetryable } from '../../lib/common/retryable.js';

const conflict = new HAError('HA_CONFLICT', 'others came first', { retryable: true });

describe('isRetryable', () => {
  it.each([
    ['an error that says so', conflict],
    ['a busy database', new BetterSqlite3.SqliteError('busy', 'SQLITE_BUSY')],
    ['a snapshot that is too old', { code: 'SQLITE_BUSY_SNAPSHOT' }],
    ['a locked table', { code: 'SQLITE_LOCKED_SHAREDCACHE' }],
    ['a cause', new Error('outer', { cause: new Error('inner', { cause: conflict }) })],
    ['TypeORM’s driverError', Object.assign(new Error(), { driverError: conflict })],
    ['Sequelize’s parent', Object.assign(new Error(), { parent: conflict })],
    ['Sequelize’s original', { original: { code: 'SQLITE_BUSY' } }],
    ['Objection’s nativeError', { nativeError: conflict }],
  ])('is true of %s', (_what, error) => {
    expect(isRetryable(error)).toBe(true);
  });

  it.each([
    ['nothing', undefined],
    ['a text', 'SQLITE_BUSY'],
    ['another failure', new BetterSqlite3.SqliteError('no', 'SQLITE_CONSTRAINT_UNIQUE')],
    ['a code that only begins like it', { code: 'SQLITE_BUSYBODY' }],
    [
      'what may have been written, whatever is beneath',
      new HAError('HA_PUBLISH_UNKNOWN', 'unknown', { cause: { code: 'SQLITE_BUSY' } }),
    ],
  ])('is false of %s', (_what, error) => {
    expect(isRetryable(error)).toBe(false);
  });

  it('ends where an error is its own cause', () => {
    const error = new Error('round');
    error.cause = error;
    expect(isRetryable(error)).toBe(false);
  });
});
