/** Injects Knex, which has no class of its own. */
export const KNEX = Symbol('Knex');
