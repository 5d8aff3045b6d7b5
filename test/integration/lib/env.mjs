/*
 * env.mjs - what the environment says, and waiting. Nothing here sleeps for luck: until() looks at a condition again
 * and again, with a deadline that is generous on a slow build.
 */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
export const BIN = resolve(process.env.CRIER_BIN || `${ROOT}/build/crier`);
export const CORE_ONLY = process.env.CRIER_SUITE === 'core';

const SAN_SLOW = { address: 4, thread: 6 };
/* How much slower than a plain build everything may be. */
export const SLOW = Number(process.env.CRIER_SLOW) || SAN_SLOW[process.env.CRIER_SAN] || 1;

export const DEADLINE = 10000 * SLOW;
export const scaled = (ms) => Math.round(ms * SLOW);

export function requireBroker() {
  if (!existsSync(BIN)) throw new Error(`${BIN} is not there: build the broker first, or name it in CRIER_BIN`);
}

/* Resolves with the promise, or rejects with a sentence after the deadline. */
export function within(promise, what, ms = DEADLINE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${typeof what === 'function' ? what() : what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const POLL_MS = 15;

/* Calls cond (sync or async) until it returns something true, and returns that. An exception counts as "not yet". */
export async function until(cond, what, ms = DEADLINE) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    try {
      const v = await cond();
      if (v) return v;
      last = undefined;
    } catch (e) {
      last = e;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms${last ? ` (${last.message})` : ''}`);
    await new Promise((r) => setTimeout(r, POLL_MS));
  }
}
