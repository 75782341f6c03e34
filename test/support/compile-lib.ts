import { transformFile } from '@swc/core';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * Compiles folders of `lib` into a folder, for tests that run the library in a process of its own.
 *
 * @param folders Relative to `lib`.
 */
export async function compileLib(folders: readonly string[], target: string): Promise<void> {
  for (const folder of folders) {
    const names = await readdir(join('lib', folder), { recursive: true });
    for (const name of names.filter((file) => file.endsWith('.ts'))) await compile(join(folder, name), target);
  }
  await writeFile(join(target, 'package.json'), JSON.stringify({ type: 'module' }));
}

async function compile(name: string, target: string): Promise<void> {
  const { code } = await transformFile(join('lib', name), {
    swcrc: false,
    module: { type: 'es6' },
    jsc: { target: 'es2022', parser: { syntax: 'typescript', decorators: true } },
  });
  const path = join(target, name.replace(/\.ts$/, '.js'));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, code);
}
