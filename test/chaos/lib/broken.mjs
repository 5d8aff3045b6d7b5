/*
 * broken.mjs - the function library with one rule left out, loaded before the brokers start under a version that they
 * keep. A chaos test that stays green with one of these proves nothing.
 */
import { readFileSync } from 'node:fs';
import { ROOT } from '../../integration/lib/env.mjs';

/* pattern, what takes its place, and the promises of which at least one has to be seen broken. */
const RULES = {
  /* A fetch finds nothing: what a node has missed stays missed. */
  fetch: [/(local function fetch\(K, A\)\n(?:.*\n)*?)  local more, _, lost = page\(.*\n/, '$1  local more, lost = 0, 0\n', /missing/],
  /* Each message says that the one before it is the first ever: no node sees that it has missed some. */
  prev: [/(struct\.pack\(FRAME, [^,]*, seq), prev,/, '$1, 0,', /missing/],
  /* An id is not remembered: what is repeated is stored again. */
  id: [/  if ik then redis\.call\('SET', ik,.*\n/, '', /twice/],
  /* Whoever replays a bare publish stores it, also when its owner already has. */
  claim: [/  if redis\.call\('SETBIT', rk, bit, '1'\) == 1 then return 2 end\n/, '', /twice/],
  /* Acks trim past the slower devices. */
  trim: [/elseif seq < floor then floor = seq end/, 'end', /missing/],
  /* A node that went stays registered. */
  presence: [/    if nd == node then found = true else/, '    found = nd == node or found\n    if false then found = true else', /presence/],
};

export const breakable = () => Object.keys(RULES);

export function brokenLibrary(rule) {
  if (!RULES[rule]) throw new Error(`BREAK=${rule}: known are ${breakable().join(', ')}`);
  const [pattern, instead] = RULES[rule];
  const source = readFileSync(`${ROOT}/store/crier.lua`, 'utf8');
  const broken = source.replace(pattern, instead).replace(/\nlocal VERSION = \d+/, '\nlocal VERSION = 999999');
  if (!broken.includes('VERSION = 999999') || broken.replace('VERSION = 999999', '').length === source.replace(/VERSION = \d+/, '').length) {
    throw new Error(`BREAK=${rule}: store/crier.lua has changed and this rule is not found in it any more`);
  }
  return broken;
}

/* Did one of the promises that have to be broken show it? */
export const noticed = (rule, results) => results.some((r) => r.bad.length && RULES[rule][2].test(r.name));
