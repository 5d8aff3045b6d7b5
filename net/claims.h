/*
 * claims.h - what a verified token says, as an identity (net/auth.h).
 */
#ifndef NET_CLAIMS_H
#define NET_CLAIMS_H

#include "net/auth.h"

#define CLAIMS_MAX_GLOBS  256 /* in `rooms`, and in `send` */
#define CLAIMS_SKEW_S     30  /* how far an issuer's clock may be ahead (nbf) */
#define CLAIMS_GLOB_BYTES 256

/* Reads the JSON claims of a token whose signature was right: sub and exp required; nbf, device, rooms, send optional;
 * others ignored. device: a valid name to use when the token has none; empty: no name. AUTH_OK: *out is new. Else `why`
 * holds a sentence. */
enum auth_result claims_read(struct span json, struct span device, uint64_t now_s, struct identity **out, char *why,
                             size_t whylen) MUST_CHECK;

/* --dev: everything is allowed. Empty user: anonymous; empty device: not named. NULL when memory is out. */
struct identity *identity_new_dev(struct span user, struct span device) MUST_CHECK;

#endif
