/*
 * url.c - see url.h. Only what names a server: no user, no query, no fragment.
 */
#include "cmd/crierctl/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static bool copy(char *out, size_t cap, const char *from, size_t n)
{
    if (n >= cap) {
        return false;
    }
    memcpy(out, from, n);
    out[n] = '\0';
    return true;
}

/* The text behind "scheme://"; NULL when the scheme is none of ours. */
static const char *take_scheme(const char *text, struct url *u)
{
    static const struct {
        const char *name;
        bool tls, raw;
    } schemes[] = {{"http://", false, false}, {"https://", true, false}, {"ws://", false, false},
                   {"wss://", true, false},   {"tcp://", false, true},   {"tcps://", true, true}};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t n = strlen(schemes[i].name);
        if (!strncasecmp(text, schemes[i].name, n)) {
            u->tls = schemes[i].tls;
            u->raw = schemes[i].raw;
            return text + n;
        }
    }
    return NULL;
}

/* HOST, HOST:PORT, [V6] or [V6]:PORT in the n bytes at s. */
static bool take_authority(const char *s, size_t n, struct url *u)
{
    const char *end = s + n, *host = s, *host_end, *port = NULL;
    if (n && *s == '[') {
        host++;
        host_end = memchr(s, ']', n);
        if (!host_end || (host_end + 1 < end && host_end[1] != ':')) {
            return false;
        }
        port = host_end + 1 < end ? host_end + 2 : NULL;
    } else {
        host_end = memchr(s, ':', n);
        port = host_end ? host_end + 1 : NULL;
        host_end = host_end ? host_end : end;
    }
    if (host_end == host || !copy(u->host, sizeof(u->host), host, (size_t)(host_end - host))) {
        return false;
    }
    if (!port) {
        return !u->raw && copy(u->port, sizeof(u->port), u->tls ? "443" : "80", u->tls ? 3 : 2);
    }
    size_t digits = strspn(port, "0123456789");
    return digits > 0 && port + digits == end && copy(u->port, sizeof(u->port), port, digits) &&
           strtoul(u->port, NULL, 10) - 1 < 65535;
}

bool url_parse(const char *text, struct url *u, char *err, size_t errlen)
{
    memset(u, 0, sizeof(*u));
    const char *rest = take_scheme(text, u);
    if (!rest) {
        snprintf(err, errlen, "--url '%s' should begin with http://, https://, ws://, wss://, tcp:// or tcps://", text);
        return false;
    }
    size_t n = strcspn(rest, "/?#");
    const char *path = rest + n;
    size_t base = strcspn(path, "?#");
    bool printable = true;
    for (const char *p = rest; *p; p++) {
        printable = printable && *p > ' ' && *p < 0x7f;
    }
    while (base && path[base - 1] == '/') {
        base--;
    }
    if (!printable || memchr(rest, '@', n) || strpbrk(path, "?#") || !take_authority(rest, n, u) ||
        !copy(u->base, sizeof(u->base), path, base)) {
        snprintf(err, errlen, "--url '%s' should look like %s://HOST:PORT", text, u->raw ? "tcp" : "http");
        return false;
    }
    snprintf(u->host_port, sizeof(u->host_port), "%.*s", (int)n, rest);
    return true;
}
