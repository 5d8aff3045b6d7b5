/*
 * ws_ext.c - the list of extensions a client offers, and which terms of permessage-deflate are agreed to.
 *
 * The idea: the whole header is held against the grammar, also behind the offer that was taken, because RFC 6455
 * section 9.1 lets nobody in whose header is malformed; what is well formed but not understood only costs the offer it
 * stands in. Offers come in the client's order of preference, so the first that can be met is the one.
 *
 * A quoted value must be a token once it is unescaped, so values need no memory of their own: of an unescaped value
 * only its first bytes are kept, more than the longest value that means anything.
 *
 * Pure; any thread. Nothing is allocated.
 */
#include "proto/ws_ext.h"

#include <stdio.h>

#include "proto/http_text.h"

#define BITS_MIN      8
#define BITS_MIN_ZLIB 9 /* raw deflate in zlib has no smaller window */
#define BITS_MAX      15

struct reader {
    const uint8_t *p, *end;
};

struct value {
    size_t len; /* all of it; 0: there is none */
    uint8_t head[3];
};

/* One offer of permessage-deflate. */
struct offer {
    bool bad; /* cannot be agreed to */
    bool server_no_takeover, client_no_takeover, server_bits_there, client_bits_there;
    uint8_t server_bits, client_bits; /* 0: without a value */
};

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t')) {
        r->p++;
    }
}

/* Takes the byte, and white space behind it, if it is the next one. */
static bool take_byte(struct reader *r, uint8_t c)
{
    if (r->p == r->end || *r->p != c) {
        return false;
    }
    r->p++;
    skip_space(r);
    return true;
}

static bool take_token(struct reader *r, struct span *t)
{
    const uint8_t *from = r->p;

    while (r->p < r->end && http_is_token(*r->p)) {
        r->p++;
    }
    *t = span_of(from, (size_t)(r->p - from));
    skip_space(r);
    return t->n > 0;
}

static void value_add(struct value *v, uint8_t c)
{
    if (v->len < sizeof(v->head)) {
        v->head[v->len] = c;
    }
    v->len++;
}

/* Behind the opening quote. */
static bool take_quoted(struct reader *r, struct value *v)
{
    while (r->p < r->end && *r->p != '"') {
        if (*r->p == '\\' && ++r->p == r->end) {
            return false;
        }
        if (!http_is_token(*r->p)) {
            return false;
        }
        value_add(v, *r->p++);
    }
    return v->len > 0 && take_byte(r, '"');
}

static bool take_value(struct reader *r, struct value *v)
{
    struct span token;

    if (r->p < r->end && *r->p == '"') {
        r->p++; /* white space behind the quote is no white space between words */
        return take_quoted(r, v);
    }
    if (!take_token(r, &token)) {
        return false;
    }
    for (size_t i = 0; i < token.n; i++) {
        value_add(v, token.p[i]);
    }
    return true;
}

/* 8 to 15, in decimal without leading zeros (RFC 7692 section 7.1.2); 0: anything else. */
static uint8_t window_bits(const struct value *v)
{
    unsigned n = v->len == 1 ? v->head[0] - '0' : 0;

    if (v->len == 2 && v->head[0] == '1' && http_is_digit(v->head[1])) {
        n = 10 + (unsigned)(v->head[1] - '0');
    }
    return n >= BITS_MIN && n <= BITS_MAX ? (uint8_t)n : 0;
}

static void once(struct offer *o, bool *there)
{
    o->bad |= *there;
    *there = true;
}

static void apply(struct offer *o, struct span name, const struct value *v)
{
    if (SPAN_IS(name, "server_no_context_takeover")) {
        once(o, &o->server_no_takeover);
        o->bad |= v->len > 0;
    } else if (SPAN_IS(name, "client_no_context_takeover")) {
        once(o, &o->client_no_takeover);
        o->bad |= v->len > 0;
    } else if (SPAN_IS(name, "server_max_window_bits")) {
        once(o, &o->server_bits_there);
        o->server_bits = window_bits(v);
        o->bad |= o->server_bits < BITS_MIN_ZLIB;
    } else if (SPAN_IS(name, "client_max_window_bits")) {
        once(o, &o->client_bits_there);
        o->client_bits = window_bits(v);
        o->bad |= v->len > 0 && o->client_bits == 0;
    } else {
        o->bad = true;
    }
}

/* extension-token *( ";" extension-param ). False: not that. *o is bad for any extension but permessage-deflate. */
static bool take_extension(struct reader *r, struct offer *o)
{
    struct span name;

    *o = (struct offer){0};
    if (!take_token(r, &name)) {
        return false;
    }
    o->bad = !SPAN_IS(name, "permessage-deflate");
    while (take_byte(r, ';')) {
        struct value v = {0};
        if (!take_token(r, &name) || (take_byte(r, '=') && !take_value(r, &v))) {
            return false;
        }
        apply(o, name, &v);
    }
    return true;
}

static void agree(const struct offer *o, const struct ws_ext_policy *policy, struct ws_deflate *out)
{
    *out = (struct ws_deflate){
        .server_bits = o->server_bits ? o->server_bits : BITS_MAX,
        .client_bits = o->client_bits ? o->client_bits : BITS_MAX,
        .server_takeover = policy->takeover && !o->server_no_takeover,
        .client_takeover = policy->takeover && !o->client_no_takeover,
        .say_server_bits = o->server_bits > 0,
        .say_client_bits = o->client_bits > 0,
    };
}

enum ws_ext_result ws_ext_negotiate(const struct span *lines, unsigned n, const struct ws_ext_policy *policy,
                                    struct ws_deflate *out)
{
    enum ws_ext_result result = WS_EXT_NONE;
    bool any = false;
    struct offer o;

    *out = (struct ws_deflate){0};
    for (unsigned i = 0; i < n; i++) {
        struct reader r = {lines[i].p, lines[i].n ? lines[i].p + lines[i].n : lines[i].p};
        skip_space(&r);
        while (r.p < r.end) {
            if (take_byte(&r, ',')) { /* an empty element */
                continue;
            }
            if (!take_extension(&r, &o) || (r.p < r.end && !take_byte(&r, ','))) {
                *out = (struct ws_deflate){0};
                return WS_EXT_BAD;
            }
            any = true;
            if (policy->deflate && result == WS_EXT_NONE && !o.bad) {
                agree(&o, policy, out);
                result = WS_EXT_DEFLATE;
            }
        }
    }
    return any || n == 0 ? result : WS_EXT_BAD;
}

size_t ws_ext_answer(const struct ws_deflate *d, char out[WS_EXT_ANSWER_MAX])
{
    int n = snprintf(out, WS_EXT_ANSWER_MAX, "permessage-deflate%s%s",
                     d->server_takeover ? "" : "; server_no_context_takeover",
                     d->client_takeover ? "" : "; client_no_context_takeover");

    if (d->say_server_bits) {
        n += snprintf(out + n, WS_EXT_ANSWER_MAX - (size_t)n, "; server_max_window_bits=%u", d->server_bits);
    }
    if (d->say_client_bits) {
        n += snprintf(out + n, WS_EXT_ANSWER_MAX - (size_t)n, "; client_max_window_bits=%u", d->client_bits);
    }
    return (size_t)n;
}
