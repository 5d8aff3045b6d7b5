/*
 * token.h - JSON Web Tokens (RFC 7519, compact JWS of RFC 7515): the keys, and whether a token's signature is one of
 * theirs. What its claims mean is the business of net/claims.h.
 */
#ifndef NET_TOKEN_H
#define NET_TOKEN_H

#include "core/base.h"

struct token_keys;

/* New, empty; NULL when memory is out. Immutable once the broker has started: any number of threads may verify. */
struct token_keys *token_keys_new(void) MUST_CHECK;
void token_keys_free(struct token_keys *k);
/* Adds a key by its spec: [KID=]HS256:SECRET, [KID=]HS256:@FILE, [KID=]RS256:PEMFILE, [KID=]ES256:PEMFILE (a public key
 * or a certificate). False with one sentence in err, which never holds the secret. */
bool token_keys_add(struct token_keys *k, const char *spec, char *err, size_t errlen) MUST_CHECK;
unsigned token_keys_count(const struct token_keys *k);

#define TOKEN_MAX_BYTES (16 * 1024)

enum token_result { TOKEN_OK, TOKEN_BAD, TOKEN_NO_MEMORY };

/* Verifies a token. The key is the one of the header's `kid` (without `kid`: any key that was given without one), and
 * the header's `alg` must be that key's own. On TOKEN_OK *claims is the payload, bytes nobody has looked at yet; the
 * caller frees it with free(). TOKEN_BAD: `why` holds a sentence. */
enum token_result token_verify(const struct token_keys *k, struct span token, uint8_t **claims, size_t *nclaims,
                               char *why, size_t whylen) MUST_CHECK;

#endif
