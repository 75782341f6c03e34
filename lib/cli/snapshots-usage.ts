const COMMON = `
DSN is that of the application, as in 'file:my.db?replicationURL=nats://127.0.0.1:4222'; what it leaves out is taken from
the environment (HA_REPLICATION_URL and so on, see the options). The server has to be named: an embedded one belongs to its
application.
`;

export const SNAPSHOT_USAGE = `Usage: nestjs-ha snapshot <DSN>

Stores a snapshot of the database file, from which new nodes start, unless the store has one that is as new. The application
may run meanwhile.
${COMMON}`;

export const RESTORE_USAGE = `Usage: nestjs-ha restore <DSN> [--to FILE] [--force]

Downloads the snapshot of the cluster to a file, and verifies it.

  --to FILE   which file; default: that of the DSN
  --force     replaces a file that exists: only while no application has it open
${COMMON}`;

export const VERIFY_USAGE = `Usage: nestjs-ha verify <DSN>

Downloads the snapshot of the cluster to a temporary file and verifies it: digest, quick_check, position. Verifies the
database file too, where there is one.
${COMMON}`;
