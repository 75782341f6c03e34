// A node in a process of its own, that writes for as long as it lives and says which writes were answered.
const [lib, options] = process.argv.slice(2);
const { HARuntime } = await import(`${lib}/ha-runtime.js`);
const { HADatabase } = await import(`${lib}/write/ha-database.js`);
const { resolveOptions } = await import(`${lib}/config/resolve.js`);
const { path, from, ...others } = JSON.parse(options);
const quiet = () => undefined;
const logger = { log: quiet, warn: quiet, error: quiet };
const runtime = new HARuntime(resolveOptions(`file:${path}`, others, {}), { logger, retryAttempts: 0, retryDelay: 1 });
const db = new HADatabase(runtime);
await db.start();
let next = from;
async function write() {
  for (;;) {
    const n = next++;
    await db.run('INSERT INTO bag VALUES(?)', [`w ${n}`]);
    process.send(n);
  }
}
for (let i = 0; i < 8; i++) void write();
