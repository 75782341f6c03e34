import { parseDsn } from '../../../lib/config/dsn.js';
import { problemsOf } from './helper.js';

it.each<[string, string, boolean]>([
  ['file:my.db', 'my.db', false],
  ['file:my.db?', 'my.db', false],
  ['file:./data/my.db?name=n1&&replicas=3', './data/my.db', false],
  ['file:/abs/my.db', '/abs/my.db', false],
  ['file:///abs/path.db?name=n1', '/abs/path.db', false],
  ['file://localhost/abs/path.db', '/abs/path.db', false],
  ['file:a%20b%3Fc+d%25.db', 'a b?c+d%.db', false],
  ['file:ver%C3%A9.db', 'veré.db', false],
  ['my.db', 'my.db', false],
  ['./data/my.db?name=n1', './data/my.db', false],
  ['100%41#.db', '100%41#.db', false],
  ['C:\\data\\x.db', 'C:\\data\\x.db', false],
  ['C:\\data\\x.db?name=n1', 'C:\\data\\x.db', false],
  ['\\\\?\\C:\\x.db?name=n1', '\\\\?\\C:\\x.db', false],
  [':memory:', ':memory:', true],
  [':memory:?name=n1', ':memory:', true],
  ['file::memory:?name=n1', ':memory:', true],
  ['file:orders?mode=memory', 'orders', true],
  ['file:?mode=memory', ':memory:', true],
  ['file:my.db?mode=rwc', 'my.db', false],
  ['file:my.db?mode=rw', 'my.db', false],
  ['./:memory:', './:memory:', false],
])('%s', (dsn, filename, memory) => {
  expect(parseDsn(dsn)).toMatchObject({ filename, memory });
});

it('decodes values and keeps plus and further equal signs', () => {
  const { options } = parseDsn('my.db?grpcToken=a+b%20%26%C3%A9&deliverPolicy=by_start_time=2026-01-01T00:00:00+02:00');
  expect(options).toEqual({ grpcToken: 'a+b &é', deliverPolicy: 'by_start_time=2026-01-01T00:00:00+02:00' });
});

it('tells an alias by the name of its option, and mode=rw', () => {
  expect(parseDsn('my.db?replID=x').options).toEqual({ replicationID: 'x' });
  expect(parseDsn('my.db?mode=rw').mustExist).toBe(true);
  expect(parseDsn('my.db?mode=rwc').mustExist).toBe(false);
});

it('reads PRAGMAs in order', () => {
  const dsn = 'my.db?_journal_mode=wal&_synchronous=FULL&_fk=1&_timeout=5000&_cache_size=-2000';
  expect(parseDsn(`${dsn}&_pragma=mmap_size(1000)&_pragma=AUTO_VACUUM(incremental)`).pragmas).toEqual([
    { name: 'journal_mode', value: 'wal' },
    { name: 'synchronous', value: 'FULL' },
    { name: 'foreign_keys', value: '1' },
    { name: 'busy_timeout', value: '5000' },
    { name: 'cache_size', value: '-2000' },
    { name: 'mmap_size', value: '1000' },
    { name: 'auto_vacuum', value: 'incremental' },
  ]);
});

it.each<[string, string]>([
  ['', 'file name is empty'],
  ['?name=n1', 'file name is empty'],
  ['file:', 'file name is empty'],
  ['file:?name=n1', 'file name is empty'],
  ['file:a%00b.db', 'NUL'],
  ['a\0b.db', 'NUL'],
  ['file:a%zz.db', 'malformed percent-encoding'],
  ['file:a%', 'malformed percent-encoding'],
  ['file:a%ff.db', 'malformed percent-encoding'],
  ['file:a#b.db', 'write %23'],
  ['file://host/my.db', 'the host "host"'],
  ['file://my.db', 'the host "my.db"'],
  ['FILE:my.db', 'it starts with FILE:'],
  ['postgres://host/db', 'it starts with postgres://'],
  ['./data/', 'is a folder'],
  ['..', 'is a folder'],
  ['my.db?name=%zz', 'DSN parameter name: malformed percent-encoding'],
  ['my.db?%zz=1', 'malformed percent-encoding'],
  ['my.db?name=a%00', 'DSN parameter name: it contains a NUL'],
  ['my.db?grpcToken=a#b', 'write %23'],
  ['my.db?name', 'needs a name and a value'],
  ['my.db?name=', 'needs a name and a value'],
  ['my.db?=n1', 'needs a name and a value'],
  ['my.db?replicationUrl=x', 'replicationUrl is unknown; did you mean replicationURL?'],
  ['my.db?natPort=1', 'natPort is unknown; did you mean natsPort?'],
  ['my.db?_journalmode=WAL', '_journalmode is unknown; did you mean _journal_mode?'],
  ['my.db?constructor=1', 'constructor is unknown'],
  ['my.db?__proto__=1', '__proto__ is unknown'],
  ['my.db?name=a&name=a', 'name is given more than once'],
  ['my.db?replID=a&replicationID=b', 'replicationID is given more than once'],
  ['my.db?mode=rw&mode=rwc', 'mode is given more than once'],
  ['my.db?mode=ro', 'disablePublisher=true'],
  ['my.db?mode=x', 'allowed: rwc, rw, memory'],
  ['my.db?cache=shared', 'cache is refused: a shared cache'],
  ['my.db?vfs=unix', 'vfs is refused'],
  ['my.db?immutable=1', 'immutable is refused'],
  ['my.db?_txlock=deferred', '_txlock is refused'],
  ['my.db?_journal_mode=DELETE', 'readers wait for the writer'],
  ['my.db?_pragma=journal_mode(delete)', 'readers wait for the writer'],
  ['my.db?_temp_store=FILE', 'captured by temporary triggers'],
  ['my.db?_pragma=temp_store(2)', 'captured by temporary triggers'],
  ['my.db?_fk=1&_foreign_keys=1', 'already set by DSN parameter _fk'],
  ['my.db?_fk=1&_pragma=foreign_keys(0)', 'already set by DSN parameter _fk'],
  ['my.db?_fk=maybe', 'allowed: ON, OFF'],
  ['my.db?_synchronous=4', 'allowed: OFF, NORMAL'],
  ['my.db?_busy_timeout=-1', 'milliseconds'],
  ['my.db?_cache_size=x', 'pages'],
  ['my.db?_pragma=foreign_keys', 'allowed: name(value)'],
  ['my.db?_pragma=mmap_size(1);DROP', 'allowed: name(value)'],
  ['my.db?_pragma=mmap_size(1);--)', 'allowed: a word or a number'],
  ['my.db?_pragma=locking_mode(exclusive)', 'PRAGMA locking_mode is refused'],
  ['my.db?_pragma=user_version(1)', 'PRAGMA user_version is refused'],
])('%j is refused', (dsn, message) => {
  const problems = problemsOf(() => parseDsn(dsn));
  expect(problems).toHaveLength(1);
  expect(problems[0]).toContain(message);
});

it('lists all problems in one error', () => {
  expect(problemsOf(() => parseDsn('?nam=1&mode=ro&_temp_store=1'))).toHaveLength(4);
});
