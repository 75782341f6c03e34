// A node in a process of its own, that can be killed anywhere: also in front of a call that moves its files (`killAt`),
// or of some SQL (`killSql`, so many times it was run before), or find the disk full there (`fullAt`).
import fs from 'node:fs';
import BetterSqlite3 from 'better-sqlite3';
import { syncBuiltinESMExports } from 'node:module';
const [lib, options] = process.argv.slice(2);
const { path, killAt, killSql, fullAt, snapshots, ...others } = JSON.parse(options);

let moves = 0;
for (const name of ['renameSync', 'rmSync', 'fsyncSync']) {
  const real = fs[name];
  fs[name] = (...args) => {
    // What is beside the database and does not count yet may go at any time.
    const counts = name === 'renameSync' || (name === 'fsyncSync' ? true : !/-ha-(snapshot|restore)/.test(args[0]));
    if (counts) moves++;
    if (counts && moves === killAt) process.kill(process.pid, 'SIGKILL');
    if (counts && moves === fullAt) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
    return real(...args);
  };
}
syncBuiltinESMExports();

const exec = BetterSqlite3.prototype.exec;
let left = killSql?.[1];
BetterSqlite3.prototype.exec = function (sql) {
  if (sql === killSql?.[0] && left-- === 0) process.kill(process.pid, 'SIGKILL');
  return exec.call(this, sql);
};

const { HARuntime } = await import(`${lib}/ha-runtime.js`);
const { HADatabase } = await import(`${lib}/write/ha-database.js`);
const { resolveOptions } = await import(`${lib}/config/resolve.js`);
const quiet = () => undefined;
const logger = { log: quiet, warn: quiet, error: quiet };
const runtime = new HARuntime(resolveOptions(`file:${path}`, others, {}), { logger, retryAttempts: 0, retryDelay: 1 });
const db = new HADatabase(runtime);
db.events.subscribe(({ type, action, bytes }) => {
  if (type === 'progress') process.send({ progress: action, bytes });
});
async function start() {
  try {
    await db.start();
  } catch (error) {
    if (fullAt === undefined) throw error;
    // There is room again.
    process.send({ failed: { code: error.code, message: error.message } });
    await db.start();
  }
}

try {
  await start();
  process.send({ ready: true });
  for (let n = 0; n < snapshots; n++) {
    await db.snapshot({ replace: true });
    process.send({ stored: n });
  }
  await db.close();
  process.send({ done: true });
} catch (error) {
  process.send({ failed: { code: error.code, message: error.message } });
  await db.close();
}
process.disconnect();
