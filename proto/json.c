/*
 * json.c - the JSON reader.
 *
 * Idea: a pull tokenizer with a state of one number and a stack of one word (a bit a level says whether it is an
 * object), so nothing recurses and nothing is allocated. UTF-8 is checked once over the whole text at the start, in the
 * fast validator; behind that a string scan only looks for quotes, backslashes and control characters, and any other
 * byte above ASCII outside a string is a syntax error like every other stranger.
 *
 * Any thread; pure. Invariants: p <= end; a fault is final. Nothing here owns memory: readers die with their frame.
 */
#include "proto/json.h"

#include "proto/json_plain.h"
#include "proto/utf8.h"

enum state {
    WANT_VALUE,
    WANT_ELEMENT_OR_CLOSE, /* behind [ */
    WANT_KEY,              /* behind , in an object */
    WANT_KEY_OR_CLOSE,     /* behind { */
    WANT_COMMA_OR_CLOSE,
    WANT_END,
};

void json_reader_init(struct json_reader *r, struct span in, unsigned max_depth)
{
    assert(max_depth <= JSON_MAX_DEPTH);
    if (in.n == 0)
        in = SPAN_LIT(""); /* never a NULL to do sums with */
    *r = (struct json_reader){.p = in.p, .end = in.p + in.n, .max_depth = max_depth, .state = WANT_VALUE};
    if (!utf8_valid(in))
        r->status = JSON_UTF8;
}

static enum json_token fault(struct json_reader *r, enum json_status why)
{
    if (r->status == JSON_OK)
        r->status = why;
    return JSON_T_FAULT;
}

static void skip_space(struct json_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* One escape, p at the backslash; NULL when it is none of the grammar's. */
static const uint8_t *scan_escape(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 2)
        return NULL;
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        if (end - p < 6 || !is_hex(p[2]) || !is_hex(p[3]) || !is_hex(p[4]) || !is_hex(p[5]))
            return NULL;
        return p + 6;
    default:
        return NULL;
    }
}

/* A whole string from its opening quote on; the place behind its closing quote, or NULL. */
static const uint8_t *scan_string(const uint8_t *p, const uint8_t *end, bool *escaped)
{
    *escaped = false;
    p++;
    for (;;) {
        p = json_plain_end(p, end);
        if (p == end || *p < 0x20)
            return NULL;
        if (*p == '"')
            return p + 1;
        *escaped = true;
        p = scan_escape(p, end);
        if (p == NULL)
            return NULL;
    }
}

static const uint8_t *scan_digits(const uint8_t *p, const uint8_t *end)
{
    if (p == end || !is_digit(*p))
        return NULL;
    while (p < end && is_digit(*p))
        p++;
    return p;
}

/* -? int frac? exp?, or NULL. What may follow is the caller's affair. */
static const uint8_t *scan_number(const uint8_t *p, const uint8_t *end)
{
    if (p < end && *p == '-')
        p++;
    if (p < end && *p == '0')
        p++;
    else
        p = scan_digits(p, end);
    if (p != NULL && p < end && *p == '.')
        p = scan_digits(p + 1, end);
    if (p != NULL && p < end && (*p | 0x20) == 'e') {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = scan_digits(p, end);
    }
    return p;
}

static const uint8_t *scan_word(const uint8_t *p, const uint8_t *end, struct span word)
{
    return (size_t)(end - p) >= word.n && memcmp(p, word.p, word.n) == 0 ? p + word.n : NULL;
}

static enum json_token scalar(struct json_reader *r, struct json_value *v)
{
    const uint8_t *from = r->p, *to;
    *v = (struct json_value){.kind = JSON_NUMBER};
    switch (*from) {
    case '"':
        v->kind = JSON_STRING;
        to = scan_string(from, r->end, &v->escaped);
        break;
    case 't':
        v->kind = JSON_TRUE;
        to = scan_word(from, r->end, SPAN_LIT("true"));
        break;
    case 'f':
        v->kind = JSON_FALSE;
        to = scan_word(from, r->end, SPAN_LIT("false"));
        break;
    case 'n':
        v->kind = JSON_NULL;
        to = scan_word(from, r->end, SPAN_LIT("null"));
        break;
    default:
        to = scan_number(from, r->end);
        break;
    }
    if (to == NULL)
        return fault(r, JSON_SYNTAX);
    v->raw = span_of(from, (size_t)(to - from));
    r->p = to;
    r->state = r->depth == 0 ? WANT_END : WANT_COMMA_OR_CLOSE;
    return JSON_T_SCALAR;
}

static enum json_token open_container(struct json_reader *r, bool object)
{
    if (r->depth == r->max_depth)
        return fault(r, JSON_DEEP);
    uint64_t bit = UINT64_C(1) << r->depth;
    r->objects = object ? r->objects | bit : r->objects & ~bit;
    r->depth++;
    if (r->depth > r->deepest)
        r->deepest = r->depth;
    r->p++;
    r->state = object ? WANT_KEY_OR_CLOSE : WANT_ELEMENT_OR_CLOSE;
    return object ? JSON_T_OPEN_OBJECT : JSON_T_OPEN_ARRAY;
}

static bool in_object(const struct json_reader *r)
{
    return r->depth > 0 && (r->objects >> (r->depth - 1) & 1) != 0;
}

static enum json_token close_container(struct json_reader *r)
{
    r->p++;
    r->depth--;
    r->state = r->depth == 0 ? WANT_END : WANT_COMMA_OR_CLOSE;
    return JSON_T_CLOSE;
}

static enum json_token value_token(struct json_reader *r, struct json_value *v)
{
    if (*r->p == '{' || *r->p == '[')
        return open_container(r, *r->p == '{');
    return scalar(r, v);
}

static enum json_token key_token(struct json_reader *r, struct json_value *v)
{
    if (*r->p != '"')
        return fault(r, JSON_SYNTAX);
    const uint8_t *from = r->p;
    *v = (struct json_value){.kind = JSON_STRING};
    const uint8_t *to = scan_string(from, r->end, &v->escaped);
    if (to == NULL)
        return fault(r, JSON_SYNTAX);
    v->raw = span_of(from, (size_t)(to - from));
    r->p = to;
    skip_space(r);
    if (r->p == r->end || *r->p != ':')
        return fault(r, JSON_SYNTAX);
    r->p++;
    r->state = WANT_VALUE;
    return JSON_T_KEY;
}

enum json_token json_next(struct json_reader *r, struct json_value *v)
{
    if (r->status != JSON_OK)
        return JSON_T_FAULT;
    skip_space(r);
    if (r->p == r->end)
        return r->state == WANT_END ? JSON_T_END : fault(r, JSON_SYNTAX);
    if (r->state == WANT_COMMA_OR_CLOSE && *r->p == ',') {
        r->state = in_object(r) ? WANT_KEY : WANT_VALUE;
        r->p++;
        skip_space(r);
        if (r->p == r->end)
            return fault(r, JSON_SYNTAX);
    }
    switch ((enum state)r->state) {
    case WANT_VALUE:
        return value_token(r, v);
    case WANT_ELEMENT_OR_CLOSE:
        return *r->p == ']' ? close_container(r) : value_token(r, v);
    case WANT_KEY:
        return key_token(r, v);
    case WANT_KEY_OR_CLOSE:
        return *r->p == '}' ? close_container(r) : key_token(r, v);
    case WANT_COMMA_OR_CLOSE:
        return *r->p == (in_object(r) ? '}' : ']') ? close_container(r) : fault(r, JSON_SYNTAX);
    case WANT_END:
        break;
    }
    return fault(r, JSON_SYNTAX);
}

/* Goes on from an opening token that json_next just gave to the end of that container. */
static bool finish_container(struct json_reader *r, enum json_token t, struct json_value *v)
{
    const uint8_t *from = r->p - 1;
    unsigned outside = r->depth - 1, before = r->deepest;
    struct json_value skipped;
    r->deepest = r->depth;
    while (r->depth > outside) {
        if (json_next(r, &skipped) == JSON_T_FAULT)
            return false;
    }
    *v = (struct json_value){.kind = t == JSON_T_OPEN_OBJECT ? JSON_OBJECT : JSON_ARRAY,
                             .raw = span_of(from, (size_t)(r->p - from)),
                             .depth = r->deepest - outside};
    if (before > r->deepest)
        r->deepest = before;
    return true;
}

bool json_element(struct json_reader *r, struct json_value *value)
{
    enum json_token t = json_next(r, value);
    switch (t) {
    case JSON_T_SCALAR:
        return true;
    case JSON_T_OPEN_OBJECT:
    case JSON_T_OPEN_ARRAY:
        return finish_container(r, t, value);
    case JSON_T_CLOSE:
    case JSON_T_KEY:
    case JSON_T_END:
    case JSON_T_FAULT:
        break;
    }
    return false;
}

bool json_member(struct json_reader *r, struct json_value *key, struct json_value *value)
{
    return json_next(r, key) == JSON_T_KEY && json_element(r, value);
}

enum json_status json_parse(struct span in, unsigned max_depth, struct json_value *out)
{
    struct json_reader r;
    struct json_value none;
    json_reader_init(&r, in, max_depth);
    if (json_element(&r, out) && json_next(&r, &none) == JSON_T_END)
        return JSON_OK;
    return r.status;
}

static unsigned hex4(const uint8_t *p)
{
    unsigned u = 0;
    for (int i = 0; i < 4; i++)
        u = u << 4 | (is_digit(p[i]) ? p[i] - (unsigned)'0' : (p[i] | 0x20u) - 'a' + 10);
    return u;
}

/* The code point of the escape at *p (valid by the grammar), moving *p behind it; a pair counts as one. -1: half a
 * pair. */
static int32_t decode_escape(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *q = *p;
    *p += 2;
    switch (q[1]) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        break;
    default:
        return q[1];
    }
    *p += 4;
    unsigned u = hex4(q + 2);
    if (u < 0xD800 || u > 0xDFFF)
        return (int32_t)u;
    if (u > 0xDBFF || end - q < 12 || q[6] != '\\' || q[7] != 'u')
        return -1;
    unsigned low = hex4(q + 8);
    if (low < 0xDC00 || low > 0xDFFF)
        return -1;
    *p += 6;
    return (int32_t)(0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00));
}

static size_t put_utf8(uint32_t cp, uint8_t u[4])
{
    if (cp < 0x80) {
        u[0] = (uint8_t)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--, cp >>= 6)
        u[i] = (uint8_t)(0x80 | (cp & 0x3F));
    u[0] = (uint8_t)(lead[n] | cp);
    return n;
}

ptrdiff_t json_decode(const struct json_value *v, bool lenient, uint8_t *out, size_t cap)
{
    const uint8_t *p = v->raw.p + 1, *end = v->raw.p + v->raw.n - 1;
    size_t n = 0;
    while (p < end) {
        uint8_t u[4];
        const uint8_t *from = p;
        size_t len;
        if (*p == '\\') {
            int32_t cp = decode_escape(&p, end);
            if (cp < 0 && !lenient)
                return -1;
            len = put_utf8(cp < 0 ? 0xFFFD : (uint32_t)cp, u);
            from = u;
        } else {
            const uint8_t *slash = memchr(p, '\\', (size_t)(end - p));
            p = slash != NULL ? slash : end;
            len = (size_t)(p - from);
        }
        if (len > cap - n)
            return -2;
        memcpy(out + n, from, len);
        n += len;
    }
    return (ptrdiff_t)n;
}

bool json_string_is(const struct json_value *v, const char *s)
{
    struct span want = span_str(s);
    if (!v->escaped)
        return v->raw.n == want.n + 2 && memcmp(v->raw.p + 1, want.p, want.n) == 0;
    uint8_t text[32];
    ptrdiff_t n = json_decode(v, false, text, sizeof text);
    return n >= 0 && span_eq(span_of(text, (size_t)n), want);
}

bool json_uint(const struct json_value *v, uint64_t *u)
{
    uint64_t x = 0;
    if (v->kind != JSON_NUMBER || v->raw.n > 16)
        return false;
    for (size_t i = 0; i < v->raw.n; i++) {
        if (!is_digit(v->raw.p[i]))
            return false;
        x = x * 10 + (v->raw.p[i] - '0');
    }
    if (x > JSON_MAX_SAFE)
        return false;
    *u = x;
    return true;
}
