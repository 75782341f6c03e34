import { OPTION_SPECS } from './spec.js';

const code = (texts: readonly string[]): string => texts.map((text) => `\`${text}\``).join(', ');
const cell = (text: string): string => text.replaceAll('|', String.raw`\|`);

/** The table of all options as Markdown, for the README. */
export function renderOptionTable(): string {
  const rows = OPTION_SPECS.map((spec) =>
    [code([spec.name]), code(spec.dsn), code(spec.env), spec.defaultText, spec.doc].map(cell).join(' | '),
  );
  return [
    '| Option | DSN parameter | Environment | Default | Meaning |',
    '| --- | --- | --- | --- | --- |',
    ...rows.map((row) => `| ${row} |`),
    '',
  ].join('\n');
}
