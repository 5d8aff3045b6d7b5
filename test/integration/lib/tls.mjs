/* tls.mjs - certificates and keys made with openssl for one run of the tests. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tempDir } from './proc.mjs';

let made;

/* A new one: {dir, cert, key, pem, ca}: paths of the certificate, its key, both in one file, and the certificate's text. */
export function newCertificate() {
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
  return { dir, cert, key, pem, ca: readFileSync(cert, 'utf8') };
}

/* The one that serves where any will do. */
export function certificate() {
  made ??= newCertificate();
  return made;
}
