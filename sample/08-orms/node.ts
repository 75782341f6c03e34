/** Which node this is: 1 or 2. */
const node = Number(process.env.NODE ?? 1);

/** Port of its HTTP server. */
export const port = Number(process.env.PORT ?? 2_999 + node);

/** Node 1 runs the NATS server of both beside itself. */
const nats = node === 1 ? 'natsPort=4222&natsStoreDir=nats-data' : 'replicationURL=nats://127.0.0.1:4222';

/** Its database. */
export const dsn = process.env.HA_DSN ?? `file:library${node}.db?name=node${node}&replicationID=library&${nats}`;
