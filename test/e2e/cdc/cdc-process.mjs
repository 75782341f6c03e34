// A node in a process of its own, that writes for as long as it lives, and tells a file what happens to its rows.
const [lib, given] = process.argv.slice(2);
const { HARuntime } = await import(`${lib}/ha-runtime.js`);
const { FileCDCTarget } = await import(`${lib}/cdc/targets/file-target.js`);
const { HADatabase } = await import(`${lib}/write/ha-database.js`);
const { resolveOptions } = await import(`${lib}/config/resolve.js`);
const { path, file, settings, ...options } = JSON.parse(given);
const quiet = () => undefined;
const logger = { log: quiet, warn: quiet, error: quiet };
const cdc = [{ settings, resolve: () => new FileCDCTarget(file) }];
const runtime = new HARuntime(resolveOptions(`file:${path}`, options, {}), {
  logger,
  retryAttempts: 0,
  retryDelay: 1,
  cdc,
});
const db = new HADatabase(runtime);
await db.start();
let n = 0;
async function write() {
  for (;;) {
    const id = Math.floor(Math.random() * 8);
    if (n % 3 === 0) await db.run('DELETE FROM t WHERE id = ?', [id]);
    else await db.run('INSERT INTO t VALUES(?, ?) ON CONFLICT DO UPDATE SET v = excluded.v', [id, n]);
    process.send(++n);
  }
}
for (let i = 0; i < 4; i++) void write();
