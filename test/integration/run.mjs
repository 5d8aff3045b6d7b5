/*
 * run.mjs - runs the integration tests and prints TAP, with node's summary ("# pass N", "# fail N") at its end.
 *
 *   node run.mjs [FILE...]     CRIER_BIN: the broker (default build/crier); CRIER_SUITE=core: the quick part alone;
 *                              CRIER_JOBS: files at a time (default: two a core, since most of them wait);
 *                              CRIER_SLOW: factor on all deadlines; CRIER_SAN=address|thread: sets that factor
 */
import { existsSync, readdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { run } from 'node:test';
import { tap } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { BIN } from './lib/env.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const named = process.argv.slice(2).map((f) => resolve(f));
const all = readdirSync(here)
  .filter((f) => f.endsWith('.test.mjs'))
  .sort()
  .map((f) => join(here, f));

if (!existsSync(join(here, 'node_modules', 'ws'))) {
  console.error('run.mjs: the packages are not installed: npm ci --prefix test/integration');
  process.exit(2);
}
if (!existsSync(BIN)) {
  console.error(`run.mjs: ${BIN} is not there: build the broker, or name it in CRIER_BIN`);
  process.exit(2);
}

run({ files: named.length ? named : all, concurrency: Number(process.env.CRIER_JOBS) || 2 * cpus().length })
  .on('test:fail', () => {
    process.exitCode = 1;
  })
  .compose(tap)
  .pipe(process.stdout);
