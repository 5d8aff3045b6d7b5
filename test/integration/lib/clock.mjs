/*
 * clock.mjs - a wall clock that the test steps, for a redis-server of its own: clockshim.c, compiled once, preloaded.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './env.mjs';
import { tempDir } from './proc.mjs';

let library;

function build() {
  const out = join(tempDir('crier-clock-'), 'clockshim.so');
  execFileSync(process.env.CC || 'cc', ['-O1', '-shared', '-fPIC', '-o', out, `${ROOT}/test/integration/lib/clockshim.c`]);
  return out;
}

export class Clock {
  constructor() {
    library ??= build();
    this.file = join(tempDir('crier-clock-'), 'step');
    this.step(0);
    this.env = { ...process.env, LD_PRELOAD: library, CLOCK_STEP: this.file };
  }

  /* From now on the clock shows the machine's time and this many seconds more. */
  step(seconds) {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(Math.round(seconds * 1e6)));
    const fd = openSync(this.file, this.open ? 'r+' : 'w');
    this.open = true;
    writeSync(fd, bytes, 0, 8, 0);
    closeSync(fd);
  }
}
