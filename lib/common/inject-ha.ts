import { Inject } from '@nestjs/common';
import { getHALeaderToken, getHAToken } from './tokens.js';

/**
 * Injects a database.
 *
 * @param connection Name of the database, where an application has several. Default `default`.
 * @example
 * constructor(@InjectHA() private readonly db: HADatabase) {}
 */
export function InjectHA(connection?: string): ParameterDecorator & PropertyDecorator {
  return Inject(getHAToken(connection));
}

/**
 * Injects the `HALeader` of a database.
 *
 * @param connection Name of the database, where an application has several. Default `default`.
 */
export function InjectHALeader(connection?: string): ParameterDecorator & PropertyDecorator {
  return Inject(getHALeaderToken(connection));
}
