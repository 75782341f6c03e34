/** The help text of `nestjs-ha cli`. */
export const CLI_USAGE = `Usage: nestjs-ha cli <url> [options]

SQL on a server's databases over gRPC: interactive on a terminal, else from -c or standard input.
The URL is http://host:port, or https://host:port for TLS.

  -c, --command SQL   run this, and end; may be given several times
  -d, --database ID   which database (its replicationID), where the server has several
  --token T           token of the server; better in the variable HA_GRPC_TOKEN: others see arguments
  --json              print results as JSON
  --csv               print results as CSV
  --timeout MS        how long to wait for an answer (default 30000)
  --ca F              authority of the server's certificate (PEM)
  --cert F, --key F   certificate and key of the caller (PEM)
  --help              print this

In the shell: SQL ends with ';'. SHOW DATABASES; SET DATABASE name; \\timing \\? \\q
As SQL: HISTORY [seq|duration]; UNDO, UNDOE or UNDOT seq|duration [WHERE table(rowid, …)]
`;
