/** Which node this is: 1, 2 or 3. */
const node = Number(process.env.NODE ?? 1);

/** Port of its HTTP server. */
export const port = Number(process.env.PORT ?? 2_999 + node);

/** Its database. The others forward requests that write to the URL behind `dynamic:`, while it leads. */
export const dsn =
  process.env.HA_DSN ??
  `file:orders${node}.db?name=node${node}&replicationID=orders&replicationURL=nats://127.0.0.1:4222` +
    `&clusterSize=3&leaderProvider=dynamic:http://127.0.0.1:${port}`;
