import { jest } from '@jest/globals';

// Entities, tests and @nestjs/typeorm are those of TypeORM 1: they get the other version instead.
jest.unstable_mockModule('typeorm', () => import('typeorm-0.3'));
const { DataSource } = await import('typeorm');
const { describeNest } = await import('./typeorm-nest.js');
const { describeTypeOrm } = await import('./typeorm-suite.js');

it('is TypeORM 0.3', () => expect('isConnected' in DataSource.prototype).toBe(true));
describeTypeOrm('0.3.x');
describeNest('0.3.x');
