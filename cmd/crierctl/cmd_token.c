/*
 * cmd_token.c - crierctl token: a JWT for a client, signed with a key of the broker's --jwt-key (of RS256 and ES256:
 * with the private half). Needs no server.
 */
#include <errno.h>
#include <jwt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cmd/crierctl/opts.h"
#include "core/buf.h"
#include "proto/json.h"

enum { MAX_KEY = 64 * 1024 };

struct token {
    const char *user, *key, *exp, *device;
    struct opt_list rooms, send;
};

struct key {
    char kid[129]; /* "": none */
    jwt_alg_t alg;
    struct buf bytes;
};

static bool read_key_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        complain(CTL_USAGE, "--key: cannot read %s: %s", path, strerror(errno));
        return false;
    }
    uint8_t *room = buf_reserve(out, MAX_KEY);
    size_t n = room ? fread(room, 1, MAX_KEY, f) : 0;
    bool ok = room && !ferror(f) && n < MAX_KEY;
    buf_commit(out, ok ? n : 0);
    fclose(f);
    if (!ok) {
        complain(CTL_USAGE, "--key: %s is no key file", path);
    }
    return ok;
}

/* The secret of HS256 (@FILE: the file without a line break at its end), the PEM file of the others. */
static bool load_key(struct key *k, const char *value)
{
    if (k->alg != JWT_ALG_HS256) {
        return read_key_file(*value == '@' ? value + 1 : value, &k->bytes);
    }
    if (*value != '@') {
        return buf_append_str(&k->bytes, value);
    }
    if (!read_key_file(value + 1, &k->bytes)) {
        return false;
    }
    while (k->bytes.len && (k->bytes.data[k->bytes.len - 1] == '\n' || k->bytes.data[k->bytes.len - 1] == '\r')) {
        k->bytes.len--;
    }
    return true;
}

/* [KID=]ALG:SECRET or [KID=]ALG:FILE */
static bool parse_key(const char *spec, struct key *k)
{
    static const struct {
        const char *name;
        jwt_alg_t alg;
    } algs[] = {{"HS256:", JWT_ALG_HS256}, {"RS256:", JWT_ALG_RS256}, {"ES256:", JWT_ALG_ES256}};
    const char *colon = strchr(spec, ':');
    const char *equals = colon ? memchr(spec, '=', (size_t)(colon - spec)) : NULL;
    const char *alg = equals ? equals + 1 : spec;
    size_t kid = equals ? (size_t)(equals - spec) : 0;
    for (size_t i = 0; colon && i < ARRAY_LEN(algs); i++) {
        size_t n = strlen(algs[i].name);
        if (!strncmp(alg, algs[i].name, n) && alg[n] && kid < sizeof(k->kid)) {
            memcpy(k->kid, spec, kid);
            k->kid[kid] = '\0';
            k->alg = algs[i].alg;
            return load_key(k, alg + n);
        }
    }
    complain(CTL_USAGE, "--key should look like [KID=]HS256:SECRET, [KID=]HS256:@FILE, [KID=]RS256:PEMFILE or "
                        "[KID=]ES256:PEMFILE");
    return false;
}

/* "90", "90s", "15m", "1h", "7d" in seconds; 0: none of these. */
static uint64_t parse_duration(const char *s)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(s, &end, 10);
    if (*s < '0' || *s > '9' || errno || n > 1000000000) {
        return 0;
    }
    uint64_t unit = *end == 'm' ? 60 : *end == 'h' ? 3600 : *end == 'd' ? 86400 : *end == 's' || !*end ? 1 : 0;
    return *end && end[1] ? 0 : n * unit;
}

static bool append_list(struct buf *b, const char *name, const struct opt_list *l)
{
    bool ok = buf_printf(b, "%s\"%s\":[", b->len > 1 ? "," : "", name);
    for (unsigned i = 0; i < l->n; i++) {
        ok = ok && (i == 0 || buf_append_byte(b, ',')) && json_write_string(b, span_str(l->v[i]));
    }
    return ok && buf_append_byte(b, ']');
}

/* rooms and send are arrays, which libjwt takes as JSON. */
static bool add_lists(jwt_t *jwt, const struct token *t)
{
    struct buf b;
    buf_init(&b, 1024 * 1024);
    bool ok = buf_append_byte(&b, '{') && (t->rooms.n == 0 || append_list(&b, "rooms", &t->rooms)) &&
              (t->send.n == 0 || append_list(&b, "send", &t->send)) && buf_append(&b, "}", 2) &&
              jwt_add_grants_json(jwt, (const char *)b.data) == 0;
    buf_fini(&b);
    return ok;
}

static bool fill(jwt_t *jwt, const struct token *t, const struct key *k, uint64_t lasts_s)
{
    long now = (long)time(NULL);
    return jwt_add_grant(jwt, "sub", t->user) == 0 && jwt_add_grant_int(jwt, "iat", now) == 0 &&
           jwt_add_grant_int(jwt, "exp", now + (long)lasts_s) == 0 &&
           (!t->device || jwt_add_grant(jwt, "device", t->device) == 0) && add_lists(jwt, t) &&
           (!k->kid[0] || jwt_add_header(jwt, "kid", k->kid) == 0) &&
           jwt_set_alg(jwt, k->alg, k->bytes.data, (int)k->bytes.len) == 0;
}

static enum ctl_exit print_token(const struct token *t, const struct key *k, uint64_t lasts_s)
{
    jwt_t *jwt = NULL;
    char *text = NULL;
    enum ctl_exit code = CTL_OK;
    if (jwt_new(&jwt) == 0 && fill(jwt, t, k, lasts_s)) {
        text = jwt_encode_str(jwt);
    }
    if (text) {
        puts(text);
        free(text);
    } else {
        code = complain(CTL_USAGE, "the key cannot sign: RS256 and ES256 want the private key's PEM file here");
    }
    jwt_free(jwt);
    return code;
}

/* Several keys are separated by spaces in CRIER_JWT_KEY; the first signs. */
static const char *key_from_env(char *out, size_t cap)
{
    const char *v = getenv("CRIER_JWT_KEY");
    size_t n = v ? strcspn(v, " ") : 0;
    if (n == 0 || n >= cap) {
        return NULL;
    }
    memcpy(out, v, n);
    out[n] = '\0';
    return out;
}

static enum ctl_exit run(const struct subcommand *self, int argc, char **argv)
{
    struct token t = {.exp = "1h"};
    char from_env[4096];
    const struct opt opts[] = {
        {"user", OPT_TEXT, "USER", "who the token is for (sub)", &t.user},
        {"key", OPT_TEXT, "SPEC", "[KID=]HS256:SECRET|@FILE, [KID=]RS256:PEMFILE, [KID=]ES256:PEMFILE", &t.key},
        {"exp", OPT_TEXT, "TIME", "how long it lasts: 90s, 15m, 1h, 7d (1h)", &t.exp},
        {"rooms", OPT_LIST, "GLOB...", "rooms the user may join, '*' for all (none)", &t.rooms},
        {"send", OPT_LIST, "GLOB...", "whom the user may send to: user:GLOB, room:GLOB, all (none)", &t.send},
        {"device", OPT_TEXT, "NAME", "ties the token to this device", &t.device},
    };
    enum ctl_exit code;
    if (!opts_read(self, opts, ARRAY_LEN(opts), NULL, argc, argv, &code))
        return code;
    uint64_t lasts_s = parse_duration(t.exp);
    t.key = t.key ? t.key : key_from_env(from_env, sizeof(from_env));
    if (!t.user || !*t.user || !t.key) {
        return complain(CTL_USAGE, "token wants --user USER and --key SPEC (or CRIER_JWT_KEY)");
    }
    if (lasts_s == 0) {
        return complain(CTL_USAGE, "--exp should look like 90s, 15m, 1h or 7d, not '%s'", t.exp);
    }
    struct key k = {.alg = JWT_ALG_NONE};
    buf_init(&k.bytes, 2 * MAX_KEY);
    code = parse_key(t.key, &k) ? print_token(&t, &k, lasts_s) : CTL_USAGE;
    if (k.bytes.data) {
        explicit_bzero(k.bytes.data, k.bytes.cap);
    }
    buf_fini(&k.bytes);
    return code;
}

const struct subcommand cmd_token = {
    .name = "token",
    .summary = "make a client's token (a JWT)",
    .about = "usage: crierctl token --user USER --key SPEC\n"
             "The key is one the broker was given with --jwt-key; env CRIER_JWT_KEY stands in for it.",
    .examples = "crierctl token --user alice --key HS256:@secret --rooms 'news/*' --send 'room:news/*' 'user:*'",
    .run = run,
};
