/* Every way in, with the embedded store, and what tokens and limits say of each: lib/transports-suite.mjs. */
import { KINDS, permissions, promisesOn } from './lib/transports-suite.mjs';

promisesOn('memory');
KINDS.forEach(permissions);
