import { renamed } from '../../../lib/apply/renames.js';

it('takes no name of a column for one that was renamed, whatever it is called', () => {
  const renames = [{ sequence: 5, from: 't', to: 'u', columns: { old: 'now' } }];
  const columns = ['constructor', 'toString', '__proto__', 'old'];
  expect(renamed(renames, 4, 't', columns)).toEqual({
    table: 'u',
    columns: ['constructor', 'toString', '__proto__', 'now'],
  });
});
