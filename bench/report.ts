interface Row {
  readonly what: string;
  readonly value: string;
  readonly baseline: string;
  readonly ratio: string;
  readonly aim: string;
}

/** A Markdown table of figures, each beside its baseline. */
export class Report {
  private readonly rows: Row[] = [];
  private heading = '';

  title(text: string): void {
    this.heading = text;
    console.log(text);
  }

  /** A rate, where more is better. `aim` is the least ratio. */
  rate(what: string, value: number, baseline: string, baselineValue: number, aim: number | undefined): void {
    const ratio = value / baselineValue;
    this.add({
      what,
      value: thousands(value),
      baseline: `${baseline}: ${thousands(baselineValue)}`,
      ratio: ratio.toFixed(2),
      aim: aim === undefined ? '' : verdict(ratio >= aim, `≥ ${aim}`),
    });
  }

  /** A cost, where less is better. `aim` is the most it may be. */
  cost(what: string, value: number, note: string, aim: number | undefined): void {
    this.add({
      what,
      value: value.toFixed(2),
      baseline: note,
      ratio: '',
      aim: aim === undefined ? '' : verdict(value <= aim, `≤ ${aim}`),
    });
  }

  print(): void {
    console.log(`\n${this.heading}\n`);
    console.log('| what | measured | baseline | ratio | aim |');
    console.log('| --- | ---: | --- | ---: | --- |');
    for (const row of this.rows) {
      console.log(`| ${row.what} | ${row.value} | ${row.baseline} | ${row.ratio} | ${row.aim} |`);
    }
  }

  private add(row: Row): void {
    this.rows.push(row);
    console.log(
      `${row.what}: ${row.value} (${row.baseline}${row.ratio === '' ? '' : `, ratio ${row.ratio}`}) ${row.aim}`,
    );
  }
}

function thousands(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function verdict(reached: boolean, aim: string): string {
  return `${aim} ${reached ? 'reached' : '**missed**'}`;
}
