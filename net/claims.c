/*
 * claims.c - identities: made from a token's claims, or for --dev, and asked what they allow.
 *
 * An identity is one block of memory: the struct, its arrays of globs, and behind them the strings. Decoded strings are
 * never longer than their JSON, so the claims' own size bounds them all. It belongs to one connection and moves with
 * it.
 */
#include "net/claims.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/json.h"
#include "proto/names.h"

struct claims {
    struct json_value sub, exp, nbf, device, rooms, send; /* raw.p NULL: not there */
};

static struct json_value *claim_slot(struct claims *c, const struct json_value *key)
{
    const struct {
        const char *name;
        struct json_value *slot;
    } known[] = {{"sub", &c->sub},       {"exp", &c->exp},     {"nbf", &c->nbf},
                 {"device", &c->device}, {"rooms", &c->rooms}, {"send", &c->send}};

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (json_string_is(key, known[i].name))
            return known[i].slot;
    }
    return NULL;
}

/* RFC 7519 section 4: names are unique; of two equal ones nobody can say which was meant. */
static bool find_claims(struct span json, struct claims *c)
{
    struct json_reader r;
    struct json_value key, v;

    memset(c, 0, sizeof(*c));
    json_reader_init(&r, json, 16);
    if (json_next(&r, &v) != JSON_T_OPEN_OBJECT)
        return false;
    while (json_member(&r, &key, &v)) {
        struct json_value *slot = claim_slot(c, &key);
        if (slot && slot->raw.p)
            return false;
        if (slot)
            *slot = v;
    }
    return json_next(&r, &v) == JSON_T_END;
}

/* A NumericDate: seconds, perhaps with a fraction (cut off). */
static bool read_date(const struct json_value *v, uint64_t *out)
{
    char text[40];
    double d;

    if (v->kind != JSON_NUMBER || v->raw.n >= sizeof(text))
        return false;
    if (json_uint(v, out))
        return true;
    memcpy(text, v->raw.p, v->raw.n);
    text[v->raw.n] = '\0';
    d = strtod(text, NULL);
    if (!(d >= 0 && d < 9007199254740992.0))
        return false;
    *out = (uint64_t)d;
    return true;
}

static int count_strings(const struct json_value *array)
{
    struct json_reader r;
    struct json_value v;
    int n = 0;

    if (!array->raw.p)
        return 0;
    if (array->kind != JSON_ARRAY)
        return -1;
    json_reader_init(&r, array->raw, 16);
    if (json_next(&r, &v) != JSON_T_OPEN_ARRAY)
        return -1;
    while (json_element(&r, &v)) {
        if (v.kind != JSON_STRING || v.raw.n > CLAIMS_GLOB_BYTES || ++n > CLAIMS_MAX_GLOBS)
            return -1;
    }
    return n;
}

static struct identity *identity_new(unsigned nrooms, unsigned nsend, size_t strings, char **store)
{
    size_t arrays = (nrooms + nsend) * sizeof(char *);
    struct identity *id = malloc(sizeof(*id) + arrays + strings);

    if (!id)
        return NULL;
    memset(id, 0, sizeof(*id));
    id->globs = (char **)(void *)(id + 1);
    *store = (char *)(void *)(id->globs + nrooms + nsend);
    return id;
}

/* Decodes a string to *store and moves that on; NULL: it holds half a surrogate pair or a NUL. */
static char *put_string(const struct json_value *v, char **store)
{
    char *s = *store;
    ptrdiff_t n = json_decode(v, false, (uint8_t *)s, v->raw.n);

    if (n < 0 || memchr(s, 0, (size_t)n))
        return NULL;
    s[n] = '\0';
    *store = s + n + 1;
    return s;
}

static bool put_strings(const struct json_value *array, char **out, uint16_t *count, char **store)
{
    struct json_reader r;
    struct json_value v;

    if (!array->raw.p)
        return true;
    json_reader_init(&r, array->raw, 16);
    if (json_next(&r, &v) != JSON_T_OPEN_ARRAY)
        return false;
    while (json_element(&r, &v)) {
        if (!(out[*count] = put_string(&v, store)))
            return false;
        (*count)++;
    }
    return true;
}

/* Bytes for the device's name, or for the one it will be given. */
static size_t device_room(struct span device)
{
    return device.n ? device.n + 1 : IDENTITY_SPARE;
}

static void put_device(struct identity *id, struct span device, char *store)
{
    if (device.n) {
        id->device = memcpy(store, device.p, device.n);
        store[device.n] = '\0';
    } else {
        id->spare = store;
    }
}

static const char *fill(struct identity *id, const struct claims *c, struct span device, char *store)
{
    if (c->sub.kind != JSON_STRING || !(id->user = put_string(&c->sub, &store)) || !name_user_ok(span_str(id->user)))
        return "the token's sub is not a user name";
    if (c->device.raw.p && (c->device.kind != JSON_STRING || !(id->device = put_string(&c->device, &store)) ||
                            !name_device_ok(span_str(id->device))))
        return "the token's device is not a device name";
    if (!put_strings(&c->rooms, id->globs, &id->nrooms, &store))
        return "the token's rooms hold a broken string";
    if (!put_strings(&c->send, id->globs + id->nrooms, &id->nsend, &store))
        return "the token's send holds a broken string";
    if (!id->device)
        put_device(id, device, store);
    return NULL;
}

/* exp and nbf. */
static enum auth_result check_dates(const struct claims *c, uint64_t now_s, uint64_t *exp, const char **fault)
{
    uint64_t nbf = 0;

    if (!c->exp.raw.p || !read_date(&c->exp, exp)) {
        *fault = "the token has no exp, or one that is no date";
        return AUTH_BAD;
    }
    if (c->nbf.raw.p && !read_date(&c->nbf, &nbf)) {
        *fault = "the token's nbf is no date";
        return AUTH_BAD;
    }
    if (now_s >= *exp) {
        *fault = "the token has expired";
        return AUTH_EXPIRED;
    }
    if (nbf > now_s + CLAIMS_SKEW_S) {
        *fault = "the token is not valid yet";
        return AUTH_BAD;
    }
    return AUTH_OK;
}

enum auth_result claims_read(struct span json, struct span device, uint64_t now_s, struct identity **out, char *why,
                             size_t whylen)
{
    struct claims c;
    struct identity *id = NULL;
    const char *fault = "the token's claims are not a JSON object with each name once";
    enum auth_result res = AUTH_BAD;
    uint64_t exp = 0;
    int nrooms = 0, nsend = 0;
    char *store = NULL;

    if (find_claims(json, &c))
        res = check_dates(&c, now_s, &exp, &fault);
    if (res == AUTH_OK && ((nrooms = count_strings(&c.rooms)) < 0 || (nsend = count_strings(&c.send)) < 0)) {
        fault = "the token's rooms and send are arrays of at most 256 strings";
        res = AUTH_BAD;
    }
    if (res == AUTH_OK &&
        !(id = identity_new((unsigned)nrooms, (unsigned)nsend, json.n + device_room(device), &store))) {
        fault = "out of memory";
        res = AUTH_NO_MEMORY;
    }
    if (res == AUTH_OK && (fault = fill(id, &c, device, store)))
        res = AUTH_BAD;
    if (res != AUTH_OK) {
        snprintf(why, whylen, "%s", fault);
        identity_free(id);
        return res;
    }
    id->expires_s = exp;
    *out = id;
    return AUTH_OK;
}

struct identity *identity_new_dev(struct span user, struct span device)
{
    char *store = NULL;
    struct identity *id = identity_new(0, 0, user.n + 1 + device_room(device), &store);

    if (!id)
        return NULL;
    id->all_rooms = id->all_send = true;
    if (user.n) {
        id->user = memcpy(store, user.p, user.n);
        store[user.n] = '\0';
        store += user.n + 1;
    }
    put_device(id, device, store);
    return id;
}

void identity_free(struct identity *id)
{
    free(id);
}

static bool any_glob(char *const *globs, unsigned n, struct span s)
{
    for (unsigned i = 0; i < n; i++) {
        if (glob_match(span_str(globs[i]), s))
            return true;
    }
    return false;
}

bool identity_may_room(const struct identity *id, struct span room)
{
    return id->all_rooms || any_glob(id->globs, id->nrooms, room);
}

bool identity_may_send(const struct identity *id, struct span target)
{
    return id->all_send || any_glob(id->globs + id->nrooms, id->nsend, target);
}
