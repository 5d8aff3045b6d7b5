/*
 * origin.c - compares origins in one normal form: lower case, no default port.
 *
 * Browsers alone send Origin, and always in the form scheme://host[:port]; whatever else arrives comes from something
 * that could send any text, so it is only ever matched by "*". An origin in normal form holds no '/' behind the
 * scheme, so a '*' in a pattern's host cannot reach over into a path or a user name.
 */
#include "net/origin.h"

#include <stdio.h>

#include "core/config.h"
#include "proto/names.h"

#define ORIGIN_MAX 300 /* a host name has at most 253 bytes */

struct normal {
    char text[ORIGIN_MAX];
    struct span all;  /* scheme://host[:port] */
    struct span host; /* host[:port] */
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool scheme_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c && strchr("0123456789+-.", c));
}

static bool host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("-._~:[]%!$&'()+,;=", c));
}

static size_t cut_default_port(const char *s, size_t n, struct span scheme)
{
    bool http = SPAN_IS(scheme, "http") || SPAN_IS(scheme, "ws");

    if (http && n > 3 && memcmp(s + n - 3, ":80", 3) == 0)
        return n - 3;
    if (!http && n > 4 && memcmp(s + n - 4, ":443", 4) == 0)
        return n - 4;
    return n;
}

/* False: not scheme://host[:port]. `wild`: a pattern, which may hold * and ?. */
static bool normalize(struct span in, bool wild, struct normal *out)
{
    const char *sep;
    size_t n = in.n, at;

    if (n == 0 || n >= sizeof(out->text))
        return false;
    for (size_t i = 0; i < n; i++)
        out->text[i] = lower((char)in.p[i]);
    out->text[n] = '\0';
    sep = strstr(out->text, "://");
    if (!sep || sep == out->text || !sep[3])
        return false;
    at = (size_t)(sep - out->text) + 3;
    for (size_t i = 0; i < n; i++) {
        char c = out->text[i];
        if (i >= at - 3 && i < at)
            continue;
        if (!(i < at - 3 ? scheme_char(c) : host_char(c)) && !(wild && (c == '*' || c == '?')))
            return false;
    }
    n = cut_default_port(out->text, n, span_of(out->text, at - 3));
    out->all = span_of(out->text, n);
    out->host = span_of(out->text + at, n - at);
    return out->host.n > 0;
}

static bool same_host(const struct normal *origin, struct span host)
{
    char text[ORIGIN_MAX];
    size_t n = host.n;
    size_t at = (size_t)(origin->host.p - origin->all.p);

    if (n == 0 || n >= sizeof(text))
        return false;
    for (size_t i = 0; i < n; i++)
        text[i] = lower((char)host.p[i]);
    /* The origin's scheme says which port is meant when Host names it and Origin does not. */
    n = cut_default_port(text, n, span_of(origin->all.p, at - 3));
    return span_eq(origin->host, span_of(text, n));
}

static bool is_local(const struct normal *origin)
{
    struct span h = origin->host;

    for (size_t i = h.n; i-- > 0;) {
        if (h.p[i] == ']')
            break;
        if (h.p[i] == ':') {
            h.n = i;
            break;
        }
    }
    return SPAN_IS(h, "localhost") || SPAN_IS(h, "127.0.0.1") || SPAN_IS(h, "[::1]");
}

static bool matches(const char *pattern, struct span raw, const struct normal *origin, struct span host)
{
    struct normal p;

    if (strcmp(pattern, "*") == 0)
        return true;
    if (strcmp(pattern, "null") == 0)
        return SPAN_IS(raw, "null");
    if (!origin)
        return false;
    if (strcmp(pattern, "same") == 0)
        return same_host(origin, host);
    return normalize(span_str(pattern), true, &p) && glob_match(p.all, origin->all);
}

bool origin_allowed(const struct strlist *list, bool dev, struct span origin, struct span host)
{
    struct normal text;
    const struct normal *o = normalize(origin, false, &text) ? &text : NULL;

    if (o && dev && is_local(o))
        return true;
    if (list->n == 0)
        return o && same_host(o, host);
    for (unsigned i = 0; i < list->n; i++) {
        if (matches(list->v[i], origin, o, host))
            return true;
    }
    return false;
}

bool origin_pattern_ok(const char *pattern, char *err, size_t errlen)
{
    struct normal p;

    if (strcmp(pattern, "*") == 0 || strcmp(pattern, "same") == 0 || strcmp(pattern, "null") == 0 ||
        normalize(span_str(pattern), true, &p))
        return true;
    snprintf(err, errlen, "the origin \"%s\" is not scheme://host[:port], \"same\", \"null\" or \"*\"", pattern);
    return false;
}
