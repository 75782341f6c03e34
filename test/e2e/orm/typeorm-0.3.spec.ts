import { jest } from '@jest/globals';

// Entities, tests and @nestjs/typeorm are those of TypeORM 1: they get the other version instead.
jest.unstable_mockModule('typeorm', () => import('typeorm-0.3'));
const { describeTypeOrm } = await import('./typeorm-suite.js');

describeTypeOrm('0.3.x');
