import { HAError } from '../common/ha-error.js';
import { splitStatements } from '../sql/split.js';
import { isMaintenancePragma } from './statement-info.js';
import type { StatementInfos } from './statement-info.js';

/** A part of a script: statements of one transaction, or one statement that has to run outside of any. */
export interface ScriptPart {
  readonly alone: boolean;
  readonly statements: readonly string[];
}

/**
 * Cuts a script into transactions. Without BEGIN and COMMIT it is one; dumps that carry them keep theirs.
 *
 * @throws HAError `HA_TRANSACTION_CONTROL` for ROLLBACK and savepoints, whose effect would depend on what happens, and for a
 * BEGIN without its COMMIT: the script may have been cut off.
 */
export function scriptParts(script: string, infos: StatementInfos): ScriptPart[] {
  const parts: ScriptPart[] = [];
  let current: string[] = [];
  let deferred = false;
  let begun = false;
  const end = (): void => {
    if (current.length > 0) parts.push({ alone: false, statements: current });
    current = [];
  };
  for (const { sql } of splitStatements(script)) {
    const info = infos.of(sql);
    if (info.kind === 'begin' || info.kind === 'commit') {
      begun = info.kind === 'begin';
      end();
    } else if (info.pragma?.name === 'foreign_keys') deferred = isOff(info.pragma.argument);
    else if (info.kind === 'rollback' || info.kind === 'savepoint' || info.kind === 'release') throw refused(info.verb);
    else if (runsAlone(sql, infos)) {
      end();
      parts.push({ alone: true, statements: [sql] });
    } else {
      // Foreign keys cannot be switched off for one caller; checked at the end, a dump may come in any order.
      if (deferred && current.length === 0) current.push('PRAGMA defer_foreign_keys = ON');
      current.push(sql);
    }
  }
  if (begun) throw notCommitted();
  end();
  return parts;
}

/** True for statements that SQLite refuses inside a transaction. */
export function runsAlone(sql: string, infos: StatementInfos): boolean {
  const info = infos.of(sql);
  return info.kind === 'vacuum' || (info.pragma !== undefined && isMaintenancePragma(info.pragma));
}

function refused(verb: string): HAError {
  return new HAError(
    'HA_TRANSACTION_CONTROL',
    `${verb} cannot be used in a script. A script is one transaction, rolled back as a whole if a statement fails; use db.transaction(async (tx) => …) with tx.savepoint(…) for more.`,
  );
}

function notCommitted(): HAError {
  return new HAError(
    'HA_TRANSACTION_CONTROL',
    'The script has a BEGIN, but no COMMIT behind it, and nothing of it was run. Was it cut off? Add COMMIT, or leave both out: a script is one transaction.',
  );
}

function isOff(argument: string | undefined): boolean {
  return /^['"]?(0|off|no|false)['"]?$/i.test(argument ?? '');
}
