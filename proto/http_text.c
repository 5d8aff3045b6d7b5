/*
 * http_text.c - the small questions: is this byte allowed here, is this that field, what does the list, the query
 * parameter or the cookie say.
 *
 * The idea: everything is looked up in the parsed head when it is asked for. A request has a dozen fields and is asked
 * half a dozen questions once, so an index would cost more than it saves, and spans into the input stay the only thing
 * there is to keep alive.
 *
 * Pure; any thread. Nothing is allocated.
 */
#include "proto/http_text.h"

#define T HTTP_CHAR_TOKEN
#define V HTTP_CHAR_VALUE
#define H HTTP_CHAR_HOST

/* RFC 9110 section 5.6.2 (tchar), section 5.5 (field values); RFC 3986 section 3.2.2 (reg-name without escapes). */
const uint8_t http_char_class[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | V | H,
    ['"'] = V,
    ['#'] = T | V,
    ['$'] = T | V | H,
    ['%'] = T | V,
    ['&' ... '\''] = T | V | H,
    ['(' ... ')'] = V | H,
    ['*' ... '+'] = T | V | H,
    [','] = V | H,
    ['-' ... '.'] = T | V | H,
    ['/'] = V,
    ['0' ... '9'] = T | V | H,
    [':'] = V,
    [';'] = V | H,
    ['<'] = V,
    ['='] = V | H,
    ['>' ... '@'] = V,
    ['A' ... 'Z'] = T | V | H,
    ['[' ... ']'] = V,
    ['^'] = T | V,
    ['_'] = T | V | H,
    ['`'] = T | V,
    ['a' ... 'z'] = T | V | H,
    ['{'] = V,
    ['|'] = T | V,
    ['}'] = V,
    ['~'] = T | V | H,
    [0x80 ... 0xFF] = V,
};

#undef T
#undef V
#undef H

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

bool http_starts_with(struct span s, const char *prefix)
{
    for (size_t i = 0; prefix[i]; i++) {
        if (i == s.n || lower(s.p[i]) != lower((uint8_t)prefix[i])) {
            return false;
        }
    }
    return true;
}

bool http_name_is(struct span s, const char *name)
{
    return strlen(name) == s.n && http_starts_with(s, name);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

struct span http_trim(struct span s)
{
    while (s.n > 0 && is_space(s.p[s.n - 1])) {
        s.n--;
    }
    while (s.n > 0 && is_space(s.p[0])) {
        s.p++;
        s.n--;
    }
    return s;
}

bool http_decimal(struct span s, uint64_t *out)
{
    uint64_t v = 0;

    if (s.n < 1 || s.n > 19) { /* 19 digits fit in 64 bits */
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (!http_is_digit(s.p[i])) {
            return false;
        }
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = v;
    return v <= INT64_MAX;
}

/* ---- fields and lists ---- */

struct span http_field(const struct http_head *h, const char *name)
{
    for (unsigned i = 0; i < h->nfields; i++) {
        if (http_name_is(h->fields[i].name, name)) {
            return h->fields[i].value;
        }
    }
    return (struct span){NULL, 0};
}

void http_list_start(struct http_list *l, const struct http_head *h, const char *name)
{
    *l = (struct http_list){.head = h, .name = name};
}

/* Bytes up to the first comma outside a quoted string. */
static size_t element_length(struct span s)
{
    bool quoted = false;
    size_t i;

    for (i = 0; i < s.n && (quoted || s.p[i] != ','); i++) {
        if (s.p[i] == '"') {
            quoted = !quoted;
        } else if (quoted && s.p[i] == '\\' && i + 1 < s.n) {
            i++;
        }
    }
    return i;
}

bool http_list_next(struct http_list *l, struct span *element)
{
    for (;;) {
        while (l->rest.n > 0) {
            size_t n = element_length(l->rest);
            size_t step = n < l->rest.n ? n + 1 : n;

            *element = http_trim(span_of(l->rest.p, n));
            l->rest = span_of(l->rest.p + step, l->rest.n - step);
            if (element->n > 0) {
                return true;
            }
        }
        while (l->next < l->head->nfields && !http_name_is(l->head->fields[l->next].name, l->name)) {
            l->next++;
        }
        if (l->next == l->head->nfields) {
            return false;
        }
        l->rest = l->head->fields[l->next++].value;
    }
}

bool http_list_has(const struct http_head *h, const char *name, const char *token)
{
    struct http_list list;
    struct span element;

    http_list_start(&list, h, name);
    while (http_list_next(&list, &element)) {
        if (http_name_is(element, token)) {
            return true;
        }
    }
    return false;
}

/* Cuts the first piece off, up to `separator` (which goes too) or the end. */
static struct span cut(struct span *rest, uint8_t separator)
{
    const uint8_t *at = rest->n ? memchr(rest->p, separator, rest->n) : NULL;
    size_t n = at ? (size_t)(at - rest->p) : rest->n;
    struct span piece = span_of(rest->p, n);

    *rest = at ? span_of(at + 1, rest->n - n - 1) : span_of(NULL, 0);
    return piece;
}

struct span http_cookie(const struct http_head *h, const char *name)
{
    for (unsigned i = 0; i < h->nfields; i++) {
        struct span rest = h->fields[i].value;

        while (http_name_is(h->fields[i].name, "cookie") && rest.n > 0) {
            struct span value = http_trim(cut(&rest, ';'));
            struct span key = cut(&value, '=');

            if (!value.p || !span_eq(key, span_str(name))) { /* no '=', or another cookie */
                continue;
            }
            if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"') {
                value = span_of(value.p + 1, value.n - 2);
            }
            return value;
        }
    }
    return (struct span){NULL, 0};
}

/* ---- percent-encoding ---- */

/* The byte that begins at *at, which moves behind it; -1 for a broken escape and for %00, which no name or token holds
 * and which C strings further on could not. */
static int unescape_one(struct span s, size_t *at, bool plus)
{
    uint8_t c = s.p[(*at)++];

    if (c == '+' && plus) {
        return ' ';
    }
    if (c != '%') {
        return c;
    }
    if (s.n - *at < 2) {
        return -1;
    }
    int high = http_hex(s.p[*at]), low = http_hex(s.p[*at + 1]);
    *at += 2;
    return high < 0 || low < 0 || high + low == 0 ? -1 : high * 16 + low;
}

static int unescape(struct span in, bool plus, char *out, size_t outlen)
{
    size_t at = 0, n = 0;

    while (at < in.n) {
        int c = unescape_one(in, &at, plus);
        if (c < 0 || n == outlen) {
            return -2;
        }
        out[n++] = (char)c;
    }
    return (int)n;
}

int http_unescape(struct span in, char *out, size_t outlen)
{
    return unescape(in, false, out, outlen);
}

static bool escaped_name_is(struct span s, const char *name)
{
    size_t at = 0;

    while (at < s.n) {
        int c = unescape_one(s, &at, true);
        if (c < 0 || c != (uint8_t)*name) { /* the end of name is 0, which c never is */
            return false;
        }
        name++;
    }
    return *name == '\0';
}

int http_query(struct span query, const char *name, char *out, size_t outlen)
{
    while (query.n > 0) {
        struct span value = cut(&query, '&');
        struct span key = cut(&value, '=');

        if (key.n > 0 && escaped_name_is(key, name)) {
            return unescape(value, true, out, outlen);
        }
    }
    return -1;
}
