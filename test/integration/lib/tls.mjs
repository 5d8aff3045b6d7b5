/* tls.mjs - certificates and keys made with openssl for one run of the tests. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempDir } from './proc.mjs';

let made;

/* {cert, key, pem, ca}: paths of the certificate, its key, both in one file, and the certificate's text. */
export function certificate() {
  if (made) return made;
  const dir = tempDir('crier-cert-');
  const cert = join(dir, 'cert.pem');
  const key = join(dir, 'key.pem');
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert],
    { stdio: 'pipe' },
  );
  const pem = join(dir, 'both.pem');
  execFileSync('sh', ['-c', 'cat "$1" "$2" > "$3"', 'sh', cert, key, pem]);
  made = { dir, cert, key, pem, ca: readFileSync(cert, 'utf8') };
  return made;
}
