import { jest } from '@jest/globals';

jest.unstable_mockModule('typeorm', () => import('typeorm-0.3'));
const { describeConformance } = await import('./typeorm-conformance-suite.js');

describeConformance('0.3.x');
