/* tokens.mjs - JWTs made with node's crypto alone, so that the broker's library is checked by another one. */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempDir } from './proc.mjs';

const b64 = (x) => Buffer.from(x).toString('base64url');
export const now = () => Math.floor(Date.now() / 1000);
export const SECRET = 'a-secret-of-the-tests-that-is-long-enough-for-HS256';

let made;
/* RS256 and ES256 key pairs; the public halves are in PEM files. */
export function keyPairs() {
  if (made) return made;
  const dir = tempDir('crier-keys-');
  const pair = (type, options, file) => {
    const { publicKey, privateKey } = generateKeyPairSync(type, options);
    const path = join(dir, file);
    writeFileSync(path, publicKey.export({ type: 'spki', format: 'pem' }));
    return { path, privateKey, pem: publicKey.export({ type: 'spki', format: 'pem' }) };
  };
  made = {
    rsa: pair('rsa', { modulusLength: 2048 }, 'rsa.pem'),
    ec: pair('ec', { namedCurve: 'P-256' }, 'ec.pem'),
  };
  return made;
}

/* options: alg (HS256), kid, key (secret or private key), header {} (further members). */
export function jwt(claims, { alg = 'HS256', kid, key = SECRET, header = {} } = {}) {
  const input = `${b64(JSON.stringify({ alg, typ: 'JWT', ...(kid ? { kid } : {}), ...header }))}.${b64(JSON.stringify(claims))}`;
  let signature = '';
  if (alg === 'HS256') signature = createHmac('sha256', key).update(input).digest('base64url');
  else if (alg === 'RS256') signature = sign('sha256', Buffer.from(input), key).toString('base64url');
  else if (alg === 'ES256') signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url');
  return `${input}.${signature}`;
}

/* A good token for a user, for an hour. */
export function tokenFor(user, more = {}, options = {}) {
  return jwt({ sub: user, exp: now() + 3600, ...more }, options);
}
