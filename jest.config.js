import { availableParallelism } from 'node:os';

export default {
  rootDir: '.',
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        swcrc: false,
        sourceMaps: 'inline',
        module: { type: 'es6' },
        jsc: {
          target: 'es2022',
          keepClassNames: true,
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true },
        },
      },
    ],
  },
  testMatch: ['<rootDir>/test/**/*.spec.ts'],
  // On two processors Jest would run one suite at a time, and most of them wait for servers.
  maxWorkers: Math.max(2, availableParallelism() - 1),
  // Modules of suites that have ended are not all freed.
  workerIdleMemoryLimit: '1GB',
  // Generous: a busy machine is no failure, and nothing is asserted by the clock.
  testTimeout: 180_000,
  testSequencer: '<rootDir>/test/support/longest-first.js',
  reporters: ['default', '<rootDir>/test/support/summary-reporter.js'],
};
