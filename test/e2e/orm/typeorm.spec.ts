import { describeNest } from './typeorm-nest.js';
import { describeTypeOrm } from './typeorm-suite.js';

describeTypeOrm('1.x');
describeNest('1.x');
