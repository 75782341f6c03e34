import { describeTypeOrm } from './typeorm-suite.js';

describeTypeOrm('1.x');
