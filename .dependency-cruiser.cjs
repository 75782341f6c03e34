/**
 * The folders of lib are stages, in flow order: a file imports its own folder and folders above it in this list. `runtime`
 * puts one database together from all of them. Modules at the top of lib (the wiring) may import stages and runtime, and none
 * of these may import the wiring.
 */
const stages = [
  'common',
  'config',
  'sql',
  'changeset',
  'interceptors',
  'sqlite',
  'stream',
  'capture',
  'apply',
  'publish',
  'write',
  'subscribe',
  'snapshot',
  'leader',
  'history',
  'grpc',
  'shard',
  'cdc',
  'orm',
];

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    ...stages.map((stage, index) => ({
      name: `${stage}-imports-only-what-is-above`,
      severity: 'error',
      from: { path: `^lib/${stage}/` },
      to: { path: `^lib/(?!(${stages.slice(0, index + 1).join('|')})/)` },
    })),
    {
      name: 'runtime-imports-only-stages',
      severity: 'error',
      from: { path: '^lib/runtime/' },
      to: { path: `^lib/(?!(${stages.filter((stage) => stage !== 'orm').join('|')}|runtime)/)` },
    },
    {
      name: 'only-the-wiring-imports-runtime',
      severity: 'error',
      from: { pathNot: '^lib/(runtime/|[^/]+[.]ts$)' },
      to: { path: '^lib/runtime/' },
    },
    {
      name: 'publish-knows-neither-capture-nor-apply',
      severity: 'error',
      from: { path: '^lib/publish/' },
      to: { path: '^lib/(capture|apply)/' },
    },
    {
      name: 'nats-only-in-stream',
      severity: 'error',
      from: { pathNot: '^lib/stream/' },
      to: { path: 'node_modules/nats/' },
    },
    {
      name: 'sqlite3-parser-only-in-shard',
      severity: 'error',
      from: { pathNot: '^lib/shard/' },
      to: { path: 'node_modules/sqlite3-parser/' },
    },
    {
      name: 'no-development-packages',
      severity: 'error',
      from: { path: '^lib' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['npm-peer'], pathNot: 'node_modules/@types/' },
    },
    {
      name: 'optional-packages-only-behind-their-entry-point',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/(ha-config[.]ts|health/|metrics/|grpc/|ha-grpc[.]ts)' },
      to: {
        path: [
          'node_modules/@nestjs/(config|terminus|microservices)/',
          'node_modules/(@opentelemetry|@grpc|grpc-health-check)/',
        ],
      },
    },
    {
      name: 'query-builders-only-in-their-adapters',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/orm/' },
      to: { path: 'node_modules/(kysely|drizzle-orm|typeorm|knex|@nestjs-cls)/' },
    },
    {
      name: 'adapters-sit-on-the-database',
      severity: 'error',
      from: { path: '^lib/orm/' },
      to: { path: '^lib/', pathNot: '^lib/(common|sql|write|orm)/' },
    },
    {
      name: 'nothing-imports-the-entry-points',
      severity: 'error',
      from: { path: '^lib/', pathNot: '^lib/(health|metrics|testing)/' },
      to: { path: '^lib/(ha-(config|cdc|grpc)[.]ts|(health|metrics|testing)/)' },
    },
    { name: 'no-barrels', severity: 'error', from: { path: '^lib/' }, to: { path: '^lib/.+/index\\.ts$' } },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'default'],
    },
  },
};
