/* Every way in, on Redis, and over brokers and a Redis that die: lib/transports-suite.mjs. */
import { KINDS, deaths, promisesOn } from './lib/transports-suite.mjs';

promisesOn('redis');
KINDS.forEach(deaths);
