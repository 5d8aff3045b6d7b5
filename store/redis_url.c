/*
 * redis_url.c - reads the URL of a Redis server.
 *
 * Pure but for its allocations. User and password may be percent-encoded. A sentence about a bad URL never repeats the
 * URL, since it may hold the password.
 */
#include "store/redis_url.h"

#include <stdio.h>
#include <stdlib.h>

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* New string with %XX decoded; NULL when broken or memory is out. */
static char *decode(struct span s)
{
    char *out = malloc(s.n + 1);
    if (!out)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            out[n++] = (char)s.p[i];
            continue;
        }
        int hi = i + 2 < s.n ? hex(s.p[i + 1]) : -1, lo = hi >= 0 ? hex(s.p[i + 2]) : -1;
        if (lo < 0 || (hi == 0 && lo == 0)) {
            free(out);
            return NULL;
        }
        out[n++] = (char)(hi * 16 + lo);
        i += 2;
    }
    out[n] = '\0';
    return out;
}

static bool number(struct span s, unsigned max, unsigned *out)
{
    unsigned v = 0;
    if (s.n == 0 || s.n > 6)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s.p[i] - '0');
    }
    *out = v;
    return v <= max;
}

static const uint8_t *find(struct span s, uint8_t c)
{
    return s.n ? memchr(s.p, c, s.n) : NULL;
}

static struct span after(struct span s, const uint8_t *p)
{
    return span_of(p + 1, (size_t)(s.p + s.n - p) - 1);
}

static struct span before(struct span s, const uint8_t *p)
{
    return span_of(s.p, (size_t)(p - s.p));
}

/* [user]:pass, or a user alone. */
static const char *take_login(struct span login, struct redis_url *u)
{
    const uint8_t *colon = find(login, ':');
    struct span user = colon ? before(login, colon) : login;
    if (user.n && !(u->user = decode(user)))
        return "its user is not well encoded";
    if (!colon)
        return "it names a user without a password";
    if (!(u->pass = decode(after(login, colon))))
        return "its password is not well encoded";
    return NULL;
}

static const char *take_host(struct span s, struct redis_url *u)
{
    const uint8_t *slash = find(s, '/');
    if (slash) {
        struct span db = after(s, slash);
        if (db.n && !number(db, 65535, &u->db))
            return "its database is not a number";
        s = before(s, slash);
    }
    struct span port = {0};
    const uint8_t *end = s.n && s.p[0] == '[' ? find(s, ']') : NULL;
    if (s.n && s.p[0] == '[' && !end)
        return "its address lacks a ']'";
    const uint8_t *colon = find(end ? after(s, end) : s, ':');
    if (colon)
        port = after(s, colon);
    struct span host = end ? span_of(s.p + 1, (size_t)(end - s.p) - 1) : colon ? before(s, colon) : s;
    unsigned v = 6379;
    if (colon && (!number(port, 65535, &v) || v == 0))
        return "its port is not a number from 1 to 65535";
    if (host.n == 0)
        return "it names no host";
    u->port = (uint16_t)v;
    u->host = decode(host);
    return u->host ? NULL : "its host is not well encoded";
}

static const char *take_path(struct span s, struct redis_url *u)
{
    const uint8_t *mark = find(s, '?');
    if (mark) {
        struct span query = after(s, mark);
        if (query.n < 3 || memcmp(query.p, "db=", 3) != 0 || !number(span_of(query.p + 3, query.n - 3), 65535, &u->db))
            return "only ?db=NUMBER may follow the socket's path";
        s = before(s, mark);
    }
    if (s.n == 0 || s.p[0] != '/' || s.n > 100)
        return "its socket path is not an absolute path of at most 100 bytes";
    u->path = decode(s);
    return u->path ? NULL : "its socket path is not well encoded";
}

static const char *parse(struct span s, struct redis_url *u)
{
    bool tcp = s.n >= 8 && memcmp(s.p, "redis://", 8) == 0;
    if (!tcp && !(s.n >= 7 && memcmp(s.p, "unix://", 7) == 0))
        return "it has to begin with redis:// or unix://";
    size_t skip = tcp ? 8 : 7;
    s = span_of(s.p + skip, s.n - skip);
    const uint8_t *at = NULL;
    for (size_t i = 0; i < s.n && (tcp || s.p[i] != '?'); i++)
        at = s.p[i] == '@' ? s.p + i : at;
    if (at) {
        const char *why = take_login(before(s, at), u);
        if (why)
            return why;
        s = after(s, at);
    }
    return tcp ? take_host(s, u) : take_path(s, u);
}

bool redis_url_parse(const char *text, struct redis_url *out, char *err, size_t errlen)
{
    *out = (struct redis_url){0};
    const char *why = parse(span_str(text), out);
    if (!why)
        return true;
    redis_url_fini(out);
    snprintf(err, errlen, "The URL of Redis is wrong: %s (redis://[user:pass@]host:port[/db]).", why);
    return false;
}

void redis_url_fini(struct redis_url *u)
{
    free(u->host);
    free(u->path);
    free(u->user);
    free(u->pass);
    *u = (struct redis_url){0};
}
