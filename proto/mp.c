/*
 * mp.c - msgpack read in place, and written.
 *
 * Idea: one function reads one head, table-free, from the format byte; skipping a whole value is that function in a
 * loop over a small stack of "how many are left at this level", so hostile nesting costs a fixed 64 numbers and a
 * hostile count costs nothing: n entries need at least n bytes, and who claims more is refused before a loop begins.
 * Writing is msgpack-c's packer with a callback into a struct buf.
 *
 * Any thread; pure. Invariant: p <= end, and p only moves over bytes that were checked. Nothing is owned here.
 */
#include "proto/mp.h"

#include <msgpack/pack.h>

static size_t left(const struct mp_reader *r)
{
    return (size_t)(r->end - r->p);
}

/* n big-endian bytes at p. */
static uint64_t big_endian(const uint8_t *p, size_t n)
{
    uint64_t u = 0;
    for (size_t i = 0; i < n; i++)
        u = u << 8 | p[i];
    return u;
}

static void set_int(struct mp_value *v, int64_t i)
{
    v->kind = i < 0 ? MP_INT : MP_UINT;
    v->i = i;
    v->u = (uint64_t)i;
}

static double float_bits(uint64_t bits, size_t width)
{
    float f;
    double d;
    uint32_t low = (uint32_t)bits;
    memcpy(&f, &low, sizeof f);
    memcpy(&d, &bits, sizeof d);
    return width == 4 ? (double)f : d;
}

/* The body of a str, bin or ext: n bytes at `at`, of which `head` come before the content (an ext's type). */
static bool body(struct mp_reader *r, struct mp_value *v, enum mp_kind kind, size_t at, uint64_t n)
{
    size_t type = kind == MP_EXT ? 1 : 0;
    if (left(r) < at + type || n > left(r) - at - type)
        return false;
    v->kind = kind;
    if (type > 0)
        v->ext = (int8_t)r->p[at];
    v->s = span_of(r->p + at + type, (size_t)n);
    r->p += at + type + n;
    return true;
}

static bool container(struct mp_reader *r, struct mp_value *v, enum mp_kind kind, size_t at, uint64_t count)
{
    if (count * (kind == MP_MAP ? 2 : 1) > left(r) - at)
        return false;
    v->kind = kind;
    v->count = (uint32_t)count;
    r->p += at;
    return true;
}

/* Formats whose first byte holds a small number itself: 00-bf and e0-ff. */
static bool read_fix(struct mp_reader *r, struct mp_value *v)
{
    uint8_t c = *r->p;
    if (c >= 0xA0 && c <= 0xBF)
        return body(r, v, MP_STR, 1, c & 31);
    if (c >= 0x80 && c <= 0x9F)
        return container(r, v, c < 0x90 ? MP_MAP : MP_ARRAY, 1, c & 15);
    set_int(v, (int8_t)c);
    r->p++;
    return true;
}

/* What the format bytes c0 to df mean, and how many bytes of number follow them (a length, a count or the value). */
enum form { F_NEVER, F_NIL, F_FALSE, F_TRUE, F_BIN, F_EXT, F_FLOAT, F_UINT, F_INT, F_FIXEXT, F_STR, F_ARRAY, F_MAP };
static const struct {
    uint8_t form, width;
} forms[32] = {
    {F_NIL, 0},    {F_NEVER, 0}, {F_FALSE, 0}, {F_TRUE, 0},  {F_BIN, 1},    {F_BIN, 2},    {F_BIN, 4},    {F_EXT, 1},
    {F_EXT, 2},    {F_EXT, 4},   {F_FLOAT, 4}, {F_FLOAT, 8}, {F_UINT, 1},   {F_UINT, 2},   {F_UINT, 4},   {F_UINT, 8},
    {F_INT, 1},    {F_INT, 2},   {F_INT, 4},   {F_INT, 8},   {F_FIXEXT, 0}, {F_FIXEXT, 0}, {F_FIXEXT, 0}, {F_FIXEXT, 0},
    {F_FIXEXT, 0}, {F_STR, 1},   {F_STR, 2},   {F_STR, 4},   {F_ARRAY, 2},  {F_ARRAY, 4},  {F_MAP, 2},    {F_MAP, 4},
};

/* A number of `width` bytes that says the value itself. */
static bool number(struct mp_reader *r, struct mp_value *v, enum form f, size_t width, uint64_t n)
{
    if (f == F_INT) {
        unsigned unused = 64 - 8 * (unsigned)width;
        set_int(v, (int64_t)(n << unused) >> unused);
    } else if (f == F_UINT) {
        v->kind = MP_UINT;
        v->u = n;
    } else {
        v->kind = MP_FLOAT;
        v->d = float_bits(n, width);
    }
    r->p += 1 + width;
    return true;
}

static bool word(struct mp_reader *r, struct mp_value *v, enum mp_kind kind, bool b)
{
    v->kind = kind;
    v->b = b;
    r->p++;
    return true;
}

bool mp_read(struct mp_reader *r, struct mp_value *v)
{
    memset(v, 0, sizeof *v);
    if (left(r) == 0)
        return false;
    uint8_t c = *r->p;
    if (c < 0xC0 || c >= 0xE0)
        return read_fix(r, v);
    enum form f = (enum form)forms[c - 0xC0].form;
    size_t width = forms[c - 0xC0].width;
    if (left(r) < 1 + width)
        return false;
    uint64_t n = big_endian(r->p + 1, width);
    switch (f) {
    case F_NEVER:
        return false;
    case F_NIL:
        return word(r, v, MP_NIL, false);
    case F_FALSE:
    case F_TRUE:
        return word(r, v, MP_BOOL, f == F_TRUE);
    case F_FLOAT:
    case F_UINT:
    case F_INT:
        return number(r, v, f, width, n);
    case F_STR:
        return body(r, v, MP_STR, 1 + width, n);
    case F_BIN:
        return body(r, v, MP_BIN, 1 + width, n);
    case F_EXT:
        return body(r, v, MP_EXT, 1 + width, n);
    case F_FIXEXT:
        return body(r, v, MP_EXT, 1, UINT64_C(1) << (c - 0xD4));
    case F_ARRAY:
        return container(r, v, MP_ARRAY, 1 + width, n);
    case F_MAP:
        return container(r, v, MP_MAP, 1 + width, n);
    }
    return false;
}

enum mp_status mp_skip(struct mp_reader *r, unsigned max_depth, unsigned *depth)
{
    struct {
        uint64_t left; /* values still to come; of a map keys and values, so an even number stands before a key */
        bool map;
    } level[MP_MAX_DEPTH + 1] = {{.left = 1, .map = false}};
    unsigned at = 0, deepest = 0;
    assert(max_depth <= MP_MAX_DEPTH);
    for (;;) {
        while (level[at].left == 0) {
            if (at-- == 0) {
                if (depth != NULL)
                    *depth = deepest;
                return MP_OK;
            }
        }
        struct mp_value v;
        bool key = level[at].map && level[at].left % 2 == 0;
        if (!mp_read(r, &v) || (key && v.kind >= MP_EXT))
            return MP_SYNTAX;
        level[at].left--;
        if (v.kind < MP_EXT)
            continue;
        if (at == max_depth)
            return MP_DEEP;
        if (at + 1 > deepest)
            deepest = at + 1;
        if (v.kind == MP_EXT)
            continue;
        at++;
        level[at].map = v.kind == MP_MAP;
        level[at].left = (uint64_t)v.count * (v.kind == MP_MAP ? 2 : 1);
    }
}

enum mp_status mp_check(struct span in, unsigned max_depth)
{
    struct mp_reader r;
    mp_reader_init(&r, in);
    enum mp_status s = mp_skip(&r, max_depth, NULL);
    return s == MP_OK && left(&r) > 0 ? MP_SYNTAX : s;
}

static int into_buf(void *data, const char *bytes, size_t n)
{
    return buf_append(data, bytes, n) ? 0 : -1;
}

static msgpack_packer packer(struct buf *out)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, out, into_buf);
    return pk;
}

bool mp_write_nil(struct buf *out)
{
    msgpack_packer pk = packer(out);
    return msgpack_pack_nil(&pk) == 0;
}

bool mp_write_bool(struct buf *out, bool b)
{
    msgpack_packer pk = packer(out);
    return (b ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk)) == 0;
}

bool mp_write_uint(struct buf *out, uint64_t u)
{
    msgpack_packer pk = packer(out);
    return msgpack_pack_uint64(&pk, u) == 0;
}

bool mp_write_int(struct buf *out, int64_t i)
{
    msgpack_packer pk = packer(out);
    return msgpack_pack_int64(&pk, i) == 0;
}

bool mp_write_double(struct buf *out, double d)
{
    msgpack_packer pk = packer(out);
    return msgpack_pack_double(&pk, d) == 0;
}

bool mp_write_str(struct buf *out, struct span s)
{
    size_t start = out->len;
    msgpack_packer pk = packer(out);
    if (s.n <= UINT32_MAX && msgpack_pack_str(&pk, s.n) == 0 && buf_append_span(out, s))
        return true;
    out->len = start;
    return false;
}

bool mp_write_bin(struct buf *out, struct span s)
{
    size_t start = out->len;
    msgpack_packer pk = packer(out);
    if (s.n <= UINT32_MAX && msgpack_pack_bin(&pk, s.n) == 0 && buf_append_span(out, s))
        return true;
    out->len = start;
    return false;
}

bool mp_write_array(struct buf *out, uint32_t count)
{
    msgpack_packer pk = packer(out);
    return msgpack_pack_array(&pk, count) == 0;
}

bool mp_write_map(struct buf *out, uint32_t count)
{
    msgpack_packer pk = packer(out);
    return msgpack_pack_map(&pk, count) == 0;
}
