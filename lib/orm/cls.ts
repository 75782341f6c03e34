export { HATransactionalAdapter } from './cls/transactional-adapter.js';
export type { HATransactionalAdapterOptions } from './cls/transactional-adapter.js';
