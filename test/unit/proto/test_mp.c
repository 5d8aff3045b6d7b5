/*
 * test_mp.c - the msgpack reader: every format byte, every prefix against a guard page, counts and depths that lie,
 * the public suite when it is beside the project; and the writer's smallest forms at every ceiling.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/mp.h"
#include "random_value.h"
#include "suite_files.h"

/* Reads one head from guarded bytes; false when refused. *used: bytes it took. */
static bool read_one(struct span s, struct mp_value *v, size_t *used)
{
    struct guard g;
    struct mp_reader r;
    mp_reader_init(&r, guard_copy(&g, s));
    const uint8_t *from = r.p;
    bool ok = mp_read(&r, v);
    *used = (size_t)(r.p - from);
    if (ok && v->s.n > 0)
        v->s.p = s.p + (v->s.p - from); /* stays good when the guard goes */
    guard_free(&g);
    return ok;
}

static void expect_uint(struct span s, uint64_t u)
{
    struct mp_value v;
    size_t used;
    assert_true(read_one(s, &v, &used));
    assert_int_equal(v.kind, MP_UINT);
    assert_true(v.u == u);
    assert_int_equal(used, s.n);
}

static void expect_int(struct span s, int64_t i)
{
    struct mp_value v;
    size_t used;
    assert_true(read_one(s, &v, &used));
    assert_int_equal(v.kind, MP_INT);
    assert_true(v.i == i);
    assert_int_equal(used, s.n);
}

static void test_integers(void **state)
{
    (void)state;
    expect_uint(SPAN_LIT("\x00"), 0);
    expect_uint(SPAN_LIT("\x7f"), 127);
    expect_uint(SPAN_LIT("\xcc\xff"), 255);
    expect_uint(SPAN_LIT("\xcd\x01\x02"), 0x102);
    expect_uint(SPAN_LIT("\xce\xff\xff\xff\xff"), UINT32_MAX);
    expect_uint(SPAN_LIT("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), UINT64_MAX);
    expect_uint(SPAN_LIT("\xd0\x05"), 5);
    expect_uint(SPAN_LIT("\xd3\x00\x00\x00\x00\x00\x00\x00\x05"), 5);
    expect_int(SPAN_LIT("\xff"), -1);
    expect_int(SPAN_LIT("\xe0"), -32);
    expect_int(SPAN_LIT("\xd0\x80"), -128);
    expect_int(SPAN_LIT("\xd1\x80\x00"), INT16_MIN);
    expect_int(SPAN_LIT("\xd2\x80\x00\x00\x00"), INT32_MIN);
    expect_int(SPAN_LIT("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), INT64_MIN);
}

static void expect_kind(struct span s, enum mp_kind kind, size_t used, struct mp_value *v)
{
    size_t n;
    assert_true(read_one(s, v, &n));
    assert_int_equal(v->kind, kind);
    assert_int_equal(n, used);
}

static void test_scalars(void **state)
{
    struct mp_value v;
    (void)state;
    expect_kind(SPAN_LIT("\xc0"), MP_NIL, 1, &v);
    expect_kind(SPAN_LIT("\xc2"), MP_BOOL, 1, &v);
    assert_false(v.b);
    expect_kind(SPAN_LIT("\xc3"), MP_BOOL, 1, &v);
    assert_true(v.b);
    expect_kind(SPAN_LIT("\xca\x3f\x80\x00\x00"), MP_FLOAT, 5, &v);
    assert_true(v.d == 1.0);
    expect_kind(SPAN_LIT("\xcb\xbf\xf8\x00\x00\x00\x00\x00\x00"), MP_FLOAT, 9, &v);
    assert_true(v.d == -1.5);
    expect_kind(SPAN_LIT("\xa2hi"), MP_STR, 3, &v);
    assert_true(SPAN_IS(v.s, "hi"));
    expect_kind(SPAN_LIT("\xd9\x02hi"), MP_STR, 4, &v);
    assert_true(SPAN_IS(v.s, "hi"));
    expect_kind(SPAN_LIT("\xdb\x00\x00\x00\x01h"), MP_STR, 6, &v);
    expect_kind(SPAN_LIT("\xc4\x01\x00"), MP_BIN, 3, &v);
    assert_int_equal(v.s.n, 1);
    expect_kind(SPAN_LIT("\xd4\xff\x01"), MP_EXT, 3, &v);
    assert_int_equal(v.ext, -1);
    expect_kind(SPAN_LIT("\xd8\x05"
                         "0123456789abcdef"),
                MP_EXT, 18, &v);
    assert_int_equal(v.s.n, 16);
    expect_kind(SPAN_LIT("\xc7\x03\x09"
                         "abc"),
                MP_EXT, 6, &v);
    assert_true(v.ext == 9 && SPAN_IS(v.s, "abc"));
    expect_kind(SPAN_LIT("\xc7\x00\x09"), MP_EXT, 3, &v);
    assert_int_equal(v.s.n, 0);
}

/* With no byte behind them, all format bytes that promise some are refused, and none reads past the end. */
static void test_every_first_byte(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        uint8_t byte = (uint8_t)c;
        struct mp_value v;
        size_t used;
        bool alone = c <= 0x80 || c == 0x90 || c == 0xA0 || c == 0xC0 || c == 0xC2 || c == 0xC3 || c >= 0xE0;
        assert_int_equal(read_one(span_of(&byte, 1), &v, &used), alone);
        assert_int_equal(used, alone ? 1 : 0);
    }
}

/* A count is refused at the head when the bytes cannot hold it. */
static void test_lying_counts(void **state)
{
    static const struct span liars[] = {
        SPAN_LIT("\x91"),
        SPAN_LIT("\x92\x01"),
        SPAN_LIT("\x81\x01"),
        SPAN_LIT("\xdc\xff\xff\x01"),
        SPAN_LIT("\xdd\xff\xff\xff\xff\x01\x01\x01"),
        SPAN_LIT("\xdf\xff\xff\xff\xff\x01\x01"),
        SPAN_LIT("\xdf\x80\x00\x00\x00\x01\x01"),
        SPAN_LIT("\xdb\xff\xff\xff\xff"
                 "abc"),
        SPAN_LIT("\xc6\xff\xff\xff\xff"),
        SPAN_LIT("\xc9\xff\xff\xff\xff\x01"),
        SPAN_LIT("\xc7\x01\x01"),
        SPAN_LIT("\xc1"),
        SPAN_LIT(""),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(liars); i++) {
        struct mp_value v;
        size_t used;
        assert_false(read_one(liars[i], &v, &used));
        assert_int_equal(mp_check(liars[i], MP_MAX_DEPTH), MP_SYNTAX);
    }
}

static void test_check(void **state)
{
    (void)state;
    assert_int_equal(mp_check(SPAN_LIT("\x80"), MP_MAX_DEPTH), MP_OK);
    assert_int_equal(mp_check(SPAN_LIT("\x80\x80"), MP_MAX_DEPTH), MP_SYNTAX);
    assert_int_equal(mp_check(SPAN_LIT("\x82\x01\x02\xa1z\x92\x01\xc0"), MP_MAX_DEPTH), MP_OK);
    assert_int_equal(mp_check(SPAN_LIT("\x81\x90\x01"), MP_MAX_DEPTH), MP_SYNTAX);
    assert_int_equal(mp_check(SPAN_LIT("\x81\x80\x01"), MP_MAX_DEPTH), MP_SYNTAX);
    assert_int_equal(mp_check(SPAN_LIT("\x81\xd4\x01\x01\x01"), MP_MAX_DEPTH), MP_SYNTAX);
    assert_int_equal(mp_check(SPAN_LIT("\x81\xc4\x01z\xd4\x01\x01"), MP_MAX_DEPTH), MP_OK);
    assert_int_equal(mp_check(SPAN_LIT("\x93\x80\x90\x91\x01"), MP_MAX_DEPTH), MP_OK);
}

static void test_depth(void **state)
{
    uint8_t nested[MP_MAX_DEPTH + 2];
    struct mp_reader r;
    unsigned depth;
    (void)state;
    memset(nested, 0x91, sizeof nested);
    nested[MP_MAX_DEPTH + 1] = 0x01;
    assert_int_equal(mp_check(span_of(nested, sizeof nested), MP_MAX_DEPTH), MP_DEEP);
    struct span full = span_of(nested + 1, MP_MAX_DEPTH + 1);
    mp_reader_init(&r, full);
    assert_int_equal(mp_skip(&r, MP_MAX_DEPTH, &depth), MP_OK);
    assert_int_equal(depth, MP_MAX_DEPTH);
    assert_int_equal(mp_check(full, MP_MAX_DEPTH - 1), MP_DEEP);
    /* An ext counts as a level: in JSON it is an object. */
    assert_int_equal(mp_check(SPAN_LIT("\x91\xd4\x01\x01"), 1), MP_DEEP);
    assert_int_equal(mp_check(SPAN_LIT("\x91\xd4\x01\x01"), 2), MP_OK);
    mp_reader_init(&r, SPAN_LIT("\x92\x91\x01\x02"));
    assert_int_equal(mp_skip(&r, MP_MAX_DEPTH, &depth), MP_OK);
    assert_int_equal(depth, 2);
}

static void test_every_prefix(void **state)
{
    static const char text[] = "\x85\xa1"
                               "a\x93\x01\xcd\x01\x02\xcb\x00\x00\x00\x00\x00\x00\x00\x01\xa1"
                               "b\xde\x00\x01\x05\xdc\x00\x01\xc0\x07\xc5\x00\x02xy\xd9\x01"
                               "c\xc7\x02\x01zz\xff\xd2\x00\x00\x00\x01";
    struct guard g;
    (void)state;
    guard_open(&g, sizeof text);
    for (size_t n = 0; n < sizeof text - 1; n++)
        assert_int_equal(mp_check(guard_load(&g, span_of(text, n)), MP_MAX_DEPTH), MP_SYNTAX);
    assert_int_equal(mp_check(guard_load(&g, SPAN_LIT(text)), MP_MAX_DEPTH), MP_OK);
    guard_free(&g);
}

/* Random bytes: whatever comes out, nothing is read behind the end, and a skip never passes it. */
static void test_random_bytes(void **state)
{
    uint64_t seed = 7;
    struct guard g;
    uint8_t bytes[64];
    (void)state;
    guard_open(&g, sizeof bytes);
    for (int i = 0; i < 20000; i++) {
        size_t n = random_next(&seed) % sizeof bytes;
        for (size_t k = 0; k < n; k++)
            bytes[k] = (uint8_t)(random_next(&seed) >> 32);
        struct mp_reader r;
        mp_reader_init(&r, guard_load(&g, span_of(bytes, n)));
        (void)!mp_skip(&r, MP_MAX_DEPTH, NULL);
        assert_true(r.p <= r.end);
    }
    guard_free(&g);
}

/* The write is refused, and leaves nothing, at every ceiling below what it needs. */
#define EXPECT_WRITTEN(call, want)                                                                                     \
    do {                                                                                                               \
        for (size_t max = 0; max <= sizeof(want) - 1; max++) {                                                         \
            struct buf b;                                                                                              \
            buf_init(&b, max);                                                                                         \
            bool fits = max == sizeof(want) - 1;                                                                       \
            assert_int_equal(call, fits);                                                                              \
            assert_int_equal(b.len, fits ? max : 0);                                                                   \
            assert_true(!fits || span_eq(buf_span(&b), SPAN_LIT(want)));                                               \
            buf_fini(&b);                                                                                              \
        }                                                                                                              \
    } while (0)

static void test_writer(void **state)
{
    (void)state;
    EXPECT_WRITTEN(mp_write_nil(&b), "\xc0");
    EXPECT_WRITTEN(mp_write_bool(&b, true), "\xc3");
    EXPECT_WRITTEN(mp_write_bool(&b, false), "\xc2");
    EXPECT_WRITTEN(mp_write_uint(&b, 127), "\x7f");
    EXPECT_WRITTEN(mp_write_uint(&b, 128), "\xcc\x80");
    EXPECT_WRITTEN(mp_write_uint(&b, 65536), "\xce\x00\x01\x00\x00");
    EXPECT_WRITTEN(mp_write_uint(&b, UINT64_MAX), "\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    EXPECT_WRITTEN(mp_write_int(&b, -32), "\xe0");
    EXPECT_WRITTEN(mp_write_int(&b, -33), "\xd0\xdf");
    EXPECT_WRITTEN(mp_write_int(&b, INT64_MIN), "\xd3\x80\x00\x00\x00\x00\x00\x00\x00");
    EXPECT_WRITTEN(mp_write_double(&b, -1.5), "\xcb\xbf\xf8\x00\x00\x00\x00\x00\x00");
    EXPECT_WRITTEN(mp_write_str(&b, SPAN_LIT("hi")), "\xa2hi");
    EXPECT_WRITTEN(mp_write_str(&b, SPAN_LIT("")), "\xa0");
    EXPECT_WRITTEN(mp_write_bin(&b, SPAN_LIT("hi")), "\xc4\x02hi");
    EXPECT_WRITTEN(mp_write_array(&b, 16), "\xdc\x00\x10");
    EXPECT_WRITTEN(mp_write_map(&b, 15), "\x8f");
}

struct first {
    struct mp_value v; /* of the suite's current case */
    struct buf body;
};

/* All encodings of one case are whole values and mean the same. */
static void same_value(void *arg, struct span kind, struct json_value want, struct span bytes, bool first)
{
    struct first *f = arg;
    struct mp_value v;
    size_t used;
    (void)want;
    assert_int_equal(mp_check(bytes, MP_MAX_DEPTH), MP_OK);
    for (size_t n = 0; n < bytes.n; n++)
        assert_int_equal(mp_check(span_of(bytes.p, n), MP_MAX_DEPTH), MP_SYNTAX);
    assert_true(read_one(bytes, &v, &used));
    if (first) {
        f->body.len = 0;
        assert_true(buf_append_span(&f->body, v.s));
        f->v = v;
        f->v.s = buf_span(&f->body);
    }
    if (v.kind == MP_FLOAT && f->v.kind != MP_FLOAT) {
        assert_true(v.d == (f->v.kind == MP_UINT ? (double)f->v.u : (double)f->v.i));
        return;
    }
    bool same =
        v.kind == f->v.kind && v.b == f->v.b && v.ext == f->v.ext && v.count == f->v.count && span_eq(v.s, f->v.s);
    if (v.kind == MP_UINT)
        same = same && v.u == f->v.u;
    else if (v.kind == MP_INT)
        same = same && v.i == f->v.i;
    if (!same)
        fail_msg("encodings of a %.*s differ", SPAN_ARG(kind));
}

static void test_suite(void **state)
{
    (void)state;
    struct first first;
    buf_init(&first.body, 1024);
    unsigned n = suite_msgpack(same_value, &first);
    buf_fini(&first.body);
    if (n == 0) {
        print_message("msgpack-test-suite is not beside the project (" SUITE_FOLDER "): skipped\n");
        skip();
    }
    assert_true(n > 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),     cmocka_unit_test(test_scalars), cmocka_unit_test(test_every_first_byte),
        cmocka_unit_test(test_lying_counts), cmocka_unit_test(test_check),   cmocka_unit_test(test_depth),
        cmocka_unit_test(test_every_prefix), cmocka_unit_test(test_writer),  cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_suite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
