import type { Database, RunResult } from 'better-sqlite3';

/** Called in front of and behind each step of a node that reaches its file or the stream. */
export type StepListener = (step: string) => void;

const CONTROL = /^(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b/;

/** Tells of every statement that begins or ends a transaction of a connection, just before and just after it ran. */
export function watchTransactions(db: Database, role: string, onStep: StepListener): void {
  const { exec, prepare } = db;
  db.exec = (sql: string) => {
    const name = CONTROL.exec(sql)?.[0];
    if (name === undefined) return exec.call(db, sql);
    return aroundStep(`${name} of the ${role}`, onStep, () => exec.call(db, sql));
  };
  const watched = (sql: string): unknown => {
    const statement = prepare.call(db, sql);
    const name = CONTROL.exec(sql)?.[0];
    if (name === undefined) return statement;
    const run = statement.run.bind(statement) as () => RunResult;
    statement.run = () => aroundStep(`${name} of the ${role}`, onStep, () => run());
    return statement;
  };
  db.prepare = watched as typeof prepare;
}

export function aroundStep<R>(step: string, onStep: StepListener, work: () => R): R {
  onStep(`before ${step}`);
  const result = work();
  onStep(`behind ${step}`);
  return result;
}
