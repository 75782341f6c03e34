import { describeConformance } from './typeorm-conformance-suite.js';

describeConformance('1.x');
