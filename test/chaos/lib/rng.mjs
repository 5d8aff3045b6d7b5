/* rng.mjs - a stream of numbers for each actor, made from the seed and the actor's name: no actor disturbs another's. */

export class Rng {
  constructor(seed, name) {
    let h = 2166136261;
    for (const c of `${seed}/${name}`) h = Math.imul(h ^ c.codePointAt(0), 16777619);
    this.state = h >>> 0;
  }

  /* 0 <= x < 1 (mulberry32). */
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /* A whole number from lo to hi, both included. */
  int(lo, hi) {
    return lo + Math.floor(this.next() * (hi - lo + 1));
  }

  chance(p) {
    return this.next() < p;
  }

  pick(list) {
    return list[Math.floor(this.next() * list.length)];
  }

  /* Picks from {name: weight}. */
  weighted(weights) {
    let left = this.next() * Object.values(weights).reduce((a, b) => a + b, 0);
    for (const [name, w] of Object.entries(weights)) {
      left -= w;
      if (left < 0) return name;
    }
    return Object.keys(weights)[0];
  }
}

export const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
