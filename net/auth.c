/*
 * auth.c - who a request is from and what it may do, put together from tokens (token.c, claims.c), API keys and the
 * Origin list (origin.c).
 *
 * Built by the main thread at start, immutable from then on, asked by every shard at once. API keys are kept as their
 * SHA-256 alone: comparing hashes takes the same time whatever was guessed, and a core dump shows no key.
 */
#include "net/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/config.h"
#include "net/claims.h"
#include "net/origin.h"
#include "net/secret.h"
#include "net/token.h"
#include "proto/http_head.h"
#include "proto/members.h"
#include "proto/names.h"

#define API_KEY_MIN_BYTES 16

struct auth {
    const struct config *cfg; /* borrowed: the lists and `dev` */
    struct token_keys *keys;
    unsigned napi;
    uint8_t api[CONFIG_MAX_LIST][SHA256_DIGEST_LENGTH];
};

/* ---- start ---- */

static bool add_api_key(struct auth *a, const char *spec, char *err, size_t errlen)
{
    size_t n = 0;
    char *key = secret_load(spec, &n, err, errlen);
    bool ok = key && n >= API_KEY_MIN_BYTES;

    if (key && !ok)
        snprintf(err, errlen, "an API key has %zu bytes; at least %d are needed", n, API_KEY_MIN_BYTES);
    if (ok)
        SHA256((const uint8_t *)key, n, a->api[a->napi++]);
    secret_free(key, n);
    return ok;
}

static bool load(struct auth *a, char *err, size_t errlen)
{
    const struct config *cfg = a->cfg;

    if (!(a->keys = token_keys_new())) {
        snprintf(err, errlen, "out of memory");
        return false;
    }
    for (unsigned i = 0; i < cfg->jwt_key.n; i++) {
        if (!token_keys_add(a->keys, cfg->jwt_key.v[i], err, errlen))
            return false;
    }
    for (unsigned i = 0; i < cfg->api_key.n; i++) {
        if (!add_api_key(a, cfg->api_key.v[i], err, errlen))
            return false;
    }
    for (unsigned i = 0; i < cfg->origins.n; i++) {
        if (!origin_pattern_ok(cfg->origins.v[i], err, errlen))
            return false;
    }
    return true;
}

struct auth *auth_new(const struct config *cfg, char *err, size_t errlen)
{
    struct auth *a = calloc(1, sizeof(*a));

    if (!a) {
        snprintf(err, errlen, "out of memory");
        return NULL;
    }
    a->cfg = cfg;
    if (!load(a, err, errlen)) {
        auth_free(a);
        return NULL;
    }
    return a;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    token_keys_free(a->keys);
    free(a);
}

/* ---- tokens ---- */

/* device: what the client asks to be, unless its token says; empty: nothing. */
static enum auth_result verify(const struct auth *a, struct span token, struct span device, uint64_t now_s,
                               struct identity **out, char *why, size_t whylen)
{
    enum auth_result res = AUTH_BAD;
    uint8_t *claims = NULL;
    size_t n = 0;

    *out = NULL;
    switch (token_verify(a->keys, token, &claims, &n, why, whylen)) {
    case TOKEN_OK:
        res = claims_read(span_of(claims, n), device, now_s, out, why, whylen);
        break;
    case TOKEN_BAD:
        break;
    case TOKEN_NO_MEMORY:
        snprintf(why, whylen, "out of memory");
        res = AUTH_NO_MEMORY;
        break;
    }
    free(claims);
    return res;
}

enum auth_result auth_token(const struct auth *a, struct span token, uint64_t now_s, struct identity **out, char *why,
                            size_t whylen)
{
    return verify(a, token, (struct span){NULL, 0}, now_s, out, why, whylen);
}

/* The credentials of "Authorization: Bearer ..."; p == NULL: none of that scheme. */
static struct span bearer(const struct http_head *h)
{
    static const char scheme[] = "bearer ";
    struct span v = http_field(h, "Authorization");
    size_t n = sizeof(scheme) - 1;

    if (v.n <= n || strncasecmp((const char *)v.p, scheme, n) != 0)
        return (struct span){NULL, 0};
    while (n < v.n && v.p[n] == ' ')
        n++;
    return span_of(v.p + n, v.n - n);
}

/* The element "bearer.<token>" of one Sec-WebSocket-Protocol line. */
static struct span protocol_token(struct span line)
{
    const uint8_t *p = line.p, *end = line.p + line.n;

    while (p < end) {
        const uint8_t *comma = memchr(p, ',', (size_t)(end - p));
        const uint8_t *stop = comma ? comma : end;
        while (p < stop && (*p == ' ' || *p == '\t'))
            p++;
        const uint8_t *last = stop;
        while (last > p && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        if (last - p > 7 && memcmp(p, "bearer.", 7) == 0)
            return span_of(p + 7, (size_t)(last - p - 7));
        p = comma ? comma + 1 : end;
    }
    return (struct span){NULL, 0};
}

static struct span subprotocol_token(const struct http_head *h)
{
    static const char name[] = "Sec-WebSocket-Protocol";

    for (unsigned i = 0; i < h->nfields; i++) {
        const struct http_field *f = &h->fields[i];
        struct span t = {NULL, 0};
        if (f->name.n == sizeof(name) - 1 && strncasecmp((const char *)f->name.p, name, f->name.n) == 0)
            t = protocol_token(f->value);
        if (t.p)
            return t;
    }
    return (struct span){NULL, 0};
}

/* A query parameter as new bytes. False: out of memory; out->p NULL: not there; *bad: its name, when it
 * cannot be decoded. */
static bool query_param(const struct http_head *h, const char *name, struct span *out, const char **bad)
{
    char *text;
    int n;

    *out = (struct span){NULL, 0};
    if (h->query.n == 0)
        return true;
    if (!(text = malloc(h->query.n)))
        return false;
    n = http_query(h->query, name, text, h->query.n);
    if (n < 0) {
        free(text);
        if (n == -2)
            *bad = name;
        return true;
    }
    *out = span_of(text, (size_t)n);
    return true;
}

/* What may come with a request beside a token. Copies, all freed by the caller. */
struct query {
    struct span token, user, device;
};

static bool read_query(const struct http_head *h, struct query *q, const char **bad)
{
    return query_param(h, "token", &q->token, bad) && query_param(h, "user", &q->user, bad) &&
           (q->user.p || query_param(h, "user_id", &q->user, bad)) && query_param(h, "device", &q->device, bad);
}

static void free_query(struct query *q)
{
    free((void *)(uintptr_t)q->token.p);
    free((void *)(uintptr_t)q->user.p);
    free((void *)(uintptr_t)q->device.p);
}

/* Where a token may stand, in this order: what a program sets deliberately before what a browser sends by itself. */
static struct span find_token(const struct http_head *h, const struct query *q)
{
    struct span t = bearer(h);

    if (!t.p)
        t = q->token;
    if (!t.p)
        t = subprotocol_token(h);
    if (!t.p)
        t = http_cookie(h, "crier_token");
    return t;
}

static enum auth_result dev_identity(struct span user, struct span device, struct identity **out, char *why,
                                     size_t whylen)
{
    if (user.p && !name_user_ok(user)) {
        snprintf(why, whylen, "user " MUST_BE_NAME);
        return AUTH_MALFORMED;
    }
    *out = identity_new_dev(user, device);
    if (*out)
        return AUTH_OK;
    snprintf(why, whylen, "out of memory");
    return AUTH_NO_MEMORY;
}

static enum auth_result identify(const struct auth *a, const struct http_head *h, const struct query *q, uint64_t now_s,
                                 struct identity **out, char *why, size_t whylen)
{
    struct span token = find_token(h, q);

    if (q->device.p && !name_device_ok(q->device)) {
        snprintf(why, whylen, "device " MUST_BE_SHORT);
        return AUTH_MALFORMED;
    }
    if (!token.p && a->cfg->dev)
        return dev_identity(q->user, q->device, out, why, whylen);
    if (!token.p) {
        snprintf(why, whylen,
                 "a token is needed: Authorization: Bearer, ?token=, the cookie crier_token, or the "
                 "subprotocol bearer.<token>");
        return AUTH_NONE;
    }
    return verify(a, token, q->device, now_s, out, why, whylen);
}

enum auth_result auth_request(const struct auth *a, const struct http_head *h, uint64_t now_s, struct identity **out,
                              char *why, size_t whylen)
{
    struct query q = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    enum auth_result res = AUTH_BAD;
    const char *bad = NULL;

    *out = NULL;
    if (!read_query(h, &q, &bad)) {
        snprintf(why, whylen, "out of memory");
        res = AUTH_NO_MEMORY;
    } else if (bad) {
        res = AUTH_MALFORMED;
        snprintf(why, whylen, "%s in the query string is not percent-encoded", bad);
    } else {
        res = identify(a, h, &q, now_s, out, why, whylen);
    }
    free_query(&q);
    return res;
}

enum auth_result auth_hello(const struct auth *a, struct span token, struct span user, struct span device,
                            uint64_t now_s, struct identity **out, char *why, size_t whylen)
{
    *out = NULL;
    if (token.n)
        return verify(a, token, device, now_s, out, why, whylen);
    if (a->cfg->dev)
        return dev_identity(user, device, out, why, whylen);
    snprintf(why, whylen, "a token is needed: the member token of hello");
    return AUTH_NONE;
}

/* ---- API keys, origins ---- */

bool auth_api(const struct auth *a, const struct http_head *h)
{
    uint8_t given[SHA256_DIGEST_LENGTH];
    struct span key = bearer(h);
    unsigned equal = 0;

    if (a->napi == 0)
        return a->cfg->dev;
    if (!key.p)
        return false;
    SHA256(key.p, key.n, given);
    for (unsigned i = 0; i < a->napi; i++)
        equal |= CRYPTO_memcmp(given, a->api[i], sizeof(given)) == 0;
    return equal != 0;
}

bool auth_origin(const struct auth *a, const struct http_head *h)
{
    struct span origin = http_field(h, "Origin");

    return !origin.p || origin_allowed(&a->cfg->origins, a->cfg->dev, origin, h->host);
}
