import { StatementReader } from '../../../lib/sql/statement-reader.js';
import { isKeyword, tokenize } from '../../../lib/sql/tokenizer.js';
import { corpus, corpusDatabase, random } from './corpus.js';

function kinds(sql: string): string[] {
  return tokenize(sql).map((token) => `${token.kind} ${sql.slice(token.start, token.end)}`);
}

function rebuilt(sql: string): string {
  return tokenize(sql).reduce((text, token) => text + sql.slice(text.length, token.end), '');
}

describe('tokenize', () => {
  it('covers every statement of the corpus exactly and finds nothing illegal in it', () => {
    for (const { sql } of corpus) {
      const tokens = tokenize(sql);
      let end = 0;
      for (const token of tokens) {
        expect(token.start).toBe(end);
        expect(token.end).toBeGreaterThan(token.start);
        end = token.end;
      }
      expect(end).toBe(sql.length);
      expect(tokens.filter((token) => token.kind === 'illegal')).toEqual([]);
    }
  });

  it('covers arbitrary text without gaps and always ends', () => {
    const seed = 7;
    const next = random(seed);
    const alphabet = `'"[]\`xX0159aeE_.$:@#?()-*/>|!=;\n\v \u00a0\ufeff\\{^`;
    for (let run = 0; run < 5000; run++) {
      const text = Array.from({ length: 12 }, () => alphabet[Math.floor(next() * alphabet.length)]).join('');
      expect({ seed, text: rebuilt(text) }).toEqual({ seed, text });
    }
  });

  it.each([
    ["'a;''b'", ["string 'a;''b'"]],
    ['"a""b"[c;]`d``e`', ['quoted "a""b"', 'quoted [c;]', 'quoted `d``e`']],
    ["x'0aF1'X''", ["blob x'0aF1'", "blob X''"]],
    ["x'0'y", ["illegal x'0'", 'word y']],
    ["x'zz", ["illegal x'zz"]],
    ["'open", ["illegal 'open"]],
    ['[open', ['illegal [open']],
    ['"open""', ['illegal "open""']],
    ['0x1F 0x1_F 1_000.5_0e+1_0', ['number 0x1F', 'space  ', 'number 0x1_F', 'space  ', 'number 1_000.5_0e+1_0']],
    ['.5 5. 1e', ['number .5', 'space  ', 'number 5.', 'space  ', 'illegal 1e']],
    ['12abc 0xg', ['illegal 12abc', 'space  ', 'illegal 0xg']],
    ['1-2', ['number 1', 'operator -', 'number 2']],
    ['a->b->>c||d', ['word a', 'operator ->', 'word b', 'operator ->>', 'word c', 'operator ||', 'word d']],
    ['<=<><<>=>>==!=|&~', ['<=', '<>', '<<', '>=', '>>', '==', '!=', '|', '&', '~'].map((text) => `operator ${text}`)],
    ['j->>:p', ['word j', 'operator ->>', 'parameter :p']],
    ['??12:a@b$c', ['parameter ?', 'parameter ?12', 'parameter :a', 'parameter @b$c']],
    ['$a::b(c d', ['illegal $a::b(c', 'space  ', 'word d']],
    ['$a::b(c)d', ['parameter $a::b(c)', 'word d']],
    ['::a:', ['illegal :', 'parameter :a', 'illegal :']],
    ['#1', ['illegal #1']],
    ['--x;\r\ny', ['comment --x;\r', 'space \n', 'word y']],
    ['/*;*/a/*/b', ['comment /*;*/', 'word a', 'comment /*/b']],
    ['a/*', ['word a', 'operator /', 'operator *']],
    ['a /* end', ['word a', 'space  ', 'comment /* end']],
    ['\ufeffa\ufeff', ['space \ufeff', 'word a\ufeff']],
    ['a\u00a0b\fc', ['word a\u00a0b', 'space \f', 'word c']],
    [' \va\v', ['space  \v', 'word a', 'illegal \v']],
    ['a$b täble', ['word a$b', 'space  ', 'word täble']],
    ['!\\', ['illegal !', 'illegal \\']],
  ])('reads %j', (sql, expected) => {
    expect(kinds(sql)).toEqual(expected);
  });

  it('calls illegal what SQLite calls an unrecognized token, and nothing else', () => {
    const db = corpusDatabase();
    // Without `$a::b` and `:a(b)`: better-sqlite3 is compiled without TCL's parameters and refuses them anyhow.
    const cases = ['0x', '0x1g', '1e5', '1.e5', '1e+', "x'1'", "x'12'", '.5e-3', '1.5.5', ':', '@', '$', '!1', '5a'];
    cases.push('"a', '`a', '[a', "'a", '\v1', '1\v', ' \v1', '\\', '^', '{', ']', '\u007f', '\ufeff1', '1e1_0', '?1a');
    for (const text of cases) {
      const sql = `SELECT ${text}`;
      let message = '';
      try {
        db.prepare(sql);
      } catch (error) {
        message = (error as Error).message;
      }
      const first = tokenize(sql).find((token) => token.kind === 'illegal');
      const reported = /^unrecognized token: "([\s\S]*)"$/.exec(message)?.[1];
      expect([text, first && sql.slice(first.start, first.end)]).toEqual([text, reported]);
    }
    db.close();
  });
});

describe('StatementReader', () => {
  const tokensOf = (sql: string): string[] =>
    new StatementReader(sql).tokens.map(({ start, end }) => sql.slice(start, end));

  it('leaves out white space, comments and the semicolons around a statement', () => {
    expect(tokensOf('; ; /* a */ b -- c\n ; c ;; -- d\n ;')).toEqual(['b', ';', 'c']);
    expect(tokensOf(' ; -- nothing\n ;')).toEqual([]);
    expect(new StatementReader(' ; -- nothing\n ;').isEmpty).toBe(true);
  });

  it('reads on from wherever it stands', () => {
    const sql = ';a;b c;;';
    const read = (index: number) => {
      const token = new StatementReader(sql).at(index);
      return token && sql.slice(token.start, token.end);
    };
    expect([-1, 0, 1, 2, 3, 4].map(read)).toEqual([undefined, 'a', ';', 'b', 'c', undefined]);
    const reader = new StatementReader(sql);
    expect([reader.at(3)?.start, reader.at(0)?.start, reader.length]).toEqual([5, 1, 4]);
  });
});

describe('isKeyword', () => {
  it('folds ASCII letters only', () => {
    const is = (sql: string) => isKeyword(sql, tokenize(sql)[0], 'SELECT');
    expect([is('sElEcT'), is('\u017felect'), is('"select"'), is('selects')]).toEqual([true, false, false, false]);
  });
});
