import { controlStatement } from '../../../lib/write/session-control.js';

describe('a statement that steers a transaction', () => {
  it.each([
    ['BEGIN', { kind: 'begin', serializable: false }],
    ['/* a */ begin -- b', { kind: 'begin', serializable: false }],
    [';; BEGIN IMMEDIATE TRANSACTION;', { kind: 'begin', serializable: false }],
    ['BEGIN EXCLUSIVE TRANSACTION "my; one"', { kind: 'begin', serializable: true }],
    ['BEGIN TRANSACTION x', { kind: 'begin', serializable: false }],
    ['COMMIT', { kind: 'commit' }],
    ['END TRANSACTION x;', { kind: 'commit' }],
    ['ROLLBACK', { kind: 'rollback' }],
    ['ROLLBACK TRANSACTION', { kind: 'rollback' }],
    ['ROLLBACK TRANSACTION x', { kind: 'rollback' }],
    ['ROLLBACK TO x', { kind: 'rollbackTo', name: 'x' }],
    ['ROLLBACK TRANSACTION TO SAVEPOINT x', { kind: 'rollbackTo', name: 'x' }],
    ['ROLLBACK TRANSACTION t TO savepoint', { kind: 'rollbackTo', name: 'savepoint' }],
    ['SAVEPOINT [a b]', { kind: 'savepoint', name: 'a b' }],
    ['RELEASE x', { kind: 'release', name: 'x' }],
    ['RELEASE SAVEPOINT x', { kind: 'release', name: 'x' }],
  ])('is read from %s', (sql, control) => {
    expect(controlStatement(sql)).toEqual(control);
  });

  const forms = ['BEGIN', 'BEGIN TRANSACTION', 'BEGIN EXCLUSIVE TRANSACTION x', 'COMMIT', 'COMMIT TRANSACTION'];
  const others = ['END TRANSACTION', 'ROLLBACK', 'ROLLBACK TRANSACTION', 'ROLLBACK TO x', 'SAVEPOINT x', 'RELEASE x'];
  it.each([...forms, ...others])('%s takes nothing behind it', (form) => {
    for (const behind of [`; INSERT INTO t VALUES(1)`, `;INSERT INTO t VALUES(?); COMMIT`, '; TO x', '; COMMIT']) {
      expect(() => controlStatement(form + behind)).toThrow(
        expect.objectContaining({
          code: 'HA_TRANSACTION_CONTROL',
          message: expect.stringContaining('more than one statement') as string,
        }),
      );
    }
    expect(() => controlStatement(`${form} 1 2`)).toThrow(/is no statement that SQLite knows/);
  });

  it.each([
    'COMMIT TO x',
    'BEGIN x',
    'BEGIN DEFERRED x',
    'BEGIN TRANSACTION a b',
    'BEGIN TRANSACTION a.b',
    'ROLLBACK x',
  ])('%s is none', (sql) => {
    expect(() => controlStatement(sql)).toThrow(/is no statement that SQLite knows/);
  });
});
