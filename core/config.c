/*
 * config.c - the configuration as a struct: born with defaults, set option by option, checked as a whole.
 *
 * Main thread, before there are others; then immutable. Every string and list entry is the config's own; config_fini
 * frees them. Nothing is taken over half: a value that is refused, or for which memory is out, leaves the option as it
 * was. The only exception is a fresh list of several values (origins): the good ones before the bad one stay.
 */
#include "core/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/config_table.h"

static void *field(struct config *c, const struct option *o)
{
    return (char *)c + o->offset;
}

static bool PRINTF_LIKE(3, 4) refuse(char *err, size_t errlen, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(err, errlen, fmt, args);
    va_end(args);
    return false;
}

/* A value as it may be repeated in a message: short, and without secrets. */
static const char *shown(const struct option *o, const char *value, char *out, size_t outlen)
{
    if (o->hide)
        return "the value";
    (void)snprintf(out, outlen, "\"%.60s%s\"", value, strlen(value) > 60 ? "..." : "");
    return out;
}

static bool bad_value(const struct option *o, const char *value, const char *why, char *err, size_t errlen)
{
    char text[80];
    return refuse(err, errlen, "--%s: %s %s", o->name, shown(o, value, text, sizeof(text)), why);
}

static bool set_string(char **at, const struct option *o, const char *value, char *err, size_t errlen)
{
    const char *why = *value && o->wrong ? o->wrong(value) : NULL;
    if (!*value && o->def)
        why = o->wrong(value); /* has a default, so it cannot be nothing */
    if (why)
        return bad_value(o, value, why, err, errlen);
    char *copy = *value ? span_dup(span_str(value)) : NULL;
    if (*value && !copy)
        return refuse(err, errlen, "--%s: out of memory", o->name);
    free(*at);
    *at = copy;
    return true;
}

static void list_clear(struct strlist *l)
{
    for (unsigned i = 0; i < l->n; i++)
        free(l->v[i]);
    l->n = 0;
}

static bool list_add(struct strlist *l, const struct option *o, const char *value, bool fresh, char *err, size_t errlen)
{
    const char *why = o->wrong(value);
    if (why)
        return bad_value(o, value, why, err, errlen);
    if (!fresh && l->n == CONFIG_MAX_LIST)
        return refuse(err, errlen, "--%s: more than %d values; leave some out", o->name, CONFIG_MAX_LIST);
    char *copy = span_dup(span_str(value));
    if (!copy)
        return refuse(err, errlen, "--%s: out of memory", o->name);
    if (fresh)
        list_clear(l);
    l->v[l->n++] = copy;
    return true;
}

/* "a, b,c": each part trimmed; an empty value empties the list. */
static bool list_add_commas(struct strlist *l, const struct option *o, const char *value, bool fresh, char *err,
                            size_t errlen)
{
    bool good = true;
    for (const char *p = value; good && *p;) {
        size_t n = strcspn(p, ","), skip = strspn(p, " ");
        size_t len = skip < n ? n - skip : 0;
        while (len && p[skip + len - 1] == ' ')
            len--;
        char *part = span_dup(span_of(p + skip, len));
        good = part ? list_add(l, o, part, fresh, err, errlen) : refuse(err, errlen, "--%s: out of memory", o->name);
        free(part);
        fresh = false;
        p += n + (p[n] == ',');
    }
    if (fresh && good)
        list_clear(l);
    return good;
}

static bool set_value(struct config *c, const struct option *o, const char *value, char *err, size_t errlen)
{
    uint64_t v;
    char why[160];
    if (!value_parse(o, value, &v, why, sizeof(why)))
        return bad_value(o, value, why, err, errlen);
    if (o->type == OPT_FLAG)
        *(bool *)field(c, o) = v != 0;
    else if (o->type == OPT_FORMAT)
        *(enum log_format *)field(c, o) = (enum log_format)v;
    else if (o->type == OPT_BATCH)
        *(enum batch_sends *)field(c, o) = (enum batch_sends)v;
    else
        *(unsigned *)field(c, o) = (unsigned)v;
    return true;
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

bool config_set(struct config *c, const char *name, const char *value, bool fresh_list, char *err, size_t errlen)
{
    const struct option *o = option_find(span_str(name));
    if (!o) {
        const char *like = option_like(span_str(name));
        return refuse(err, errlen, "there is no option \"%.40s\"%s%s%s", name, like ? "; did you mean \"" : "",
                      like ? like : "", like ? "\"?" : "; --help lists them all");
    }
    if (has_control(value))
        return refuse(err, errlen, "--%s: the value holds control characters; write it on one line", o->name);
    switch (o->type) {
    case OPT_STRING:
        return set_string(field(c, o), o, value, err, errlen);
    case OPT_LIST:
        if (*value)
            return list_add(field(c, o), o, value, fresh_list, err, errlen);
        if (fresh_list)
            list_clear(field(c, o));
        return true;
    case OPT_COMMAS:
        return list_add_commas(field(c, o), o, value, fresh_list, err, errlen);
    case OPT_NUMBER:
    case OPT_SIZE:
    case OPT_MS:
    case OPT_S:
    case OPT_FLAG:
    case OPT_FORMAT:
    case OPT_BATCH:
    case OPT_LEVEL:
        return set_value(c, o, value, err, errlen);
    case OPT_FILE:
    case OPT_ACTION:
        break;
    }
    return refuse(err, errlen, "\"%s\" is for the command line alone: write crier --%s", o->name, o->name);
}

void config_init(struct config *c)
{
    char err[200];
    memset(c, 0, sizeof(*c));
    for (size_t i = 0; i < config_option_count; i++) {
        const struct option *o = &config_options[i];
        /* Defaults are good values; only memory can fail, and config_validate finds what is missing then. */
        if (o->def && !config_set(c, o->name, o->def, true, err, sizeof(err)))
            continue;
    }
}

void config_fini(struct config *c)
{
    for (size_t i = 0; i < config_option_count; i++) {
        const struct option *o = &config_options[i];
        if (o->type == OPT_STRING)
            free(*(char **)field(c, o));
        else if (o->type == OPT_LIST || o->type == OPT_COMMAS)
            list_clear(field(c, o));
    }
    memset(c, 0, sizeof(*c));
}

/* ---- the configuration as a whole ---- */

static bool validate_listeners(const struct config *c, char *err, size_t errlen)
{
    unsigned tls = c->tls_listen.n + c->tcp_tls_listen.n;
    if (c->listen.n + c->tcp_listen.n + tls == 0)
        return refuse(err, errlen, "there is no listener: give --listen ADDR:PORT or --tls-listen ADDR:PORT");
    if (tls && (!c->tls_cert || !c->tls_key))
        return refuse(err, errlen, "--%s needs --tls-cert FILE and --tls-key FILE",
                      c->tls_listen.n ? "tls-listen" : "tcp-tls-listen");
    if (!c->tls_cert != !c->tls_key)
        return refuse(err, errlen, "--tls-cert and --tls-key go together: --tls-%s is missing",
                      c->tls_cert ? "key" : "cert");
    return true;
}

static bool loopback_alone(const struct strlist *l, const char *name, char *err, size_t errlen)
{
    for (unsigned i = 0; i < l->n; i++)
        if (!listener_is_loopback(l->v[i]))
            return refuse(
                err, errlen,
                "--dev lets everybody in, so it listens on loopback alone, and --%s %s is not: use 127.0.0.1, "
                "[::1] or localhost, or leave --dev out and give keys",
                name, l->v[i]);
    return true;
}

static bool validate_access(const struct config *c, char *err, size_t errlen)
{
    if (c->dev)
        return loopback_alone(&c->listen, "listen", err, errlen) &&
               loopback_alone(&c->tls_listen, "tls-listen", err, errlen) &&
               loopback_alone(&c->tcp_listen, "tcp-listen", err, errlen) &&
               loopback_alone(&c->tcp_tls_listen, "tcp-tls-listen", err, errlen);
    if (c->echo)
        return refuse(err, errlen, "--echo is for test suites and works only with --dev");
    if (c->jwt_key.n + c->api_key.n == 0)
        return refuse(
            err, errlen,
            "nobody could come in: give --jwt-key SPEC for clients and --api-key SPEC for backends, or --dev to "
            "try it out on loopback without keys");
    return true;
}

bool config_validate(const struct config *c, char *err, size_t errlen)
{
    if (!c->prefix)
        return refuse(err, errlen, "out of memory while reading the configuration");
    if (!validate_listeners(c, err, errlen) || !validate_access(c, err, errlen))
        return false;
    if (c->outq_soft > c->outq_hard)
        return refuse(err, errlen, "--outq-soft (%u bytes) is above --outq-hard (%u bytes): it must not be",
                      c->outq_soft, c->outq_hard);
    if (c->ping_ms >= c->idle_ms)
        return refuse(
            err, errlen,
            "--ping-interval (%u ms) is not below --idle-timeout (%u ms): clients would be closed before they "
            "could answer",
            c->ping_ms, c->idle_ms);
    return true;
}
