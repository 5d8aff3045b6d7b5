/*
 * auth.h - who may come in and what they may do: JWTs (several keys by kid), API keys, the Origin list. Built once at
 * start from the configuration, immutable, shared by all shards.
 */
#ifndef NET_AUTH_H
#define NET_AUTH_H

#include "core/base.h"

struct auth;
struct config;
struct http_head;

/* Reads keys and lists. NULL with one sentence in err (an unreadable file, an unknown algorithm, a key of the wrong
 * kind, an HS256 secret shorter than 32 bytes). */
struct auth *auth_new(const struct config *cfg, char *err, size_t errlen) MUST_CHECK;
void auth_free(struct auth *a);

#define IDENTITY_SPARE 14 /* "~", 12 characters of 6 random bits, NUL: a field of the user's hash, so short */

/* What a token says: the permissions of one connection. One malloc'd block of its own; freed with identity_free. */
struct identity {
    char *user;         /* NULL: anonymous */
    char *device;       /* NULL: not named */
    char *spare;        /* IDENTITY_SPARE bytes for the name such a device is given; NULL: it has one */
    uint64_t expires_s; /* unix seconds; 0: never (dev) */
    char **globs;       /* nrooms over room names, then nsend over "user:ID", "room:NAME", "all" */
    uint16_t nrooms, nsend;
    bool all_rooms, all_send; /* dev: everything */
};
void identity_free(struct identity *id);

enum auth_result {
    AUTH_OK,
    AUTH_NONE,
    AUTH_BAD,
    AUTH_EXPIRED,
    AUTH_MALFORMED, /* not the token: a name that came beside it is none */
    AUTH_NO_MEMORY
};

/* Verifies a JWT (signature by kid and algorithm of that very key, exp required, nbf, sub a valid user name). why: a
 * sentence. */
enum auth_result auth_token(const struct auth *a, struct span token, uint64_t now_s, struct identity **out, char *why,
                            size_t whylen) MUST_CHECK;
/* The client of a request: Authorization: Bearer, ?token=, cookie `crier_token`, subprotocol entry "bearer.<token>", or
 * --dev's ?user= / ?user_id= (then everything is allowed); ?device= names the device unless the token does. With --dev
 * and neither: anonymous with everything allowed. */
enum auth_result auth_request(const struct auth *a, const struct http_head *h, uint64_t now_s, struct identity **out,
                              char *why, size_t whylen) MUST_CHECK;
/* The same from what the first frame of a TCP client says; empty: not there. user and device are valid names. */
enum auth_result auth_hello(const struct auth *a, struct span token, struct span user, struct span device,
                            uint64_t now_s, struct identity **out, char *why, size_t whylen) MUST_CHECK;
/* Authorization: Bearer <API key>, compared in constant time; always true with --dev and no key configured. */
bool auth_api(const struct auth *a, const struct http_head *h);
/* The Origin header against the list ("same": scheme-less comparison with Host). No Origin header: allowed (not a
 * browser). */
bool auth_origin(const struct auth *a, const struct http_head *h);

bool identity_may_room(const struct identity *id, struct span room);
/* target: "user:ID", "room:NAME" or "all". */
bool identity_may_send(const struct identity *id, struct span target);

#endif
