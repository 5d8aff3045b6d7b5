/*
 * test_job_codec.c - jobs packed and read back, the documented layout byte for byte, every prefix and every wrong
 * element, and keys of jobs that collapse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/job_codec.h"
#include "proto/mp.h"
#include "random_value.h"

static const struct job_head sample = {
    .kind = TARGET_ROOM,
    .target = {(const uint8_t *)"news", 4},
    .seq = 1700000000000001,
    .prev = 1700000000000000,
    .expires_s = 1800000000,
    .ts_ms = 1700000000123,
    .id = {(const uint8_t *)"m-1", 3},
    .event = {(const uint8_t *)"tick", 4},
    .from = {(const uint8_t *)"bob", 3},
    .collapse = {(const uint8_t *)"price", 5},
    .priority = PRIO_HIGH,
    .track = true,
    .format = DATA_JSON,
    .data = {(const uint8_t *)"{\"a\": 1}", 8},
};

static void expect_same(const struct job_head *a, const struct job_head *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_true(span_eq(a->target, b->target));
    assert_true(a->seq == b->seq && a->prev == b->prev && a->expires_s == b->expires_s && a->ts_ms == b->ts_ms);
    assert_true(span_eq(a->id, b->id));
    assert_true(span_eq(a->event, b->event));
    assert_true(span_eq(a->from, b->from));
    assert_true(span_eq(a->collapse, b->collapse));
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->track, b->track);
    assert_int_equal(a->format, b->format);
    assert_true(span_eq(a->data, b->data));
}

static bool inside(const struct job *j, struct span s)
{
    return s.n == 0 || (s.p >= j->bytes && s.p + s.n <= j->bytes + j->len);
}

static void expect_round_trip(const struct job_head *h)
{
    struct job *j = job_pack(h);
    assert_non_null(j);
    expect_same(&j->head, h);
    assert_true(inside(j, j->head.target) && inside(j, j->head.id) && inside(j, j->head.event));
    assert_true(inside(j, j->head.from) && inside(j, j->head.collapse) && inside(j, j->head.data));
    assert_int_equal(atomic_load(&j->refs), 1);
    for (int w = 0; w < WIRE_KINDS; w++)
        assert_null(job_wire(j, (enum wire)w));

    struct job *copy = job_from_bytes(span_of(j->bytes, j->len));
    assert_non_null(copy);
    expect_same(&copy->head, h);
    assert_true(inside(copy, copy->head.data));
    assert_true(copy->collapse_key == j->collapse_key);
    job_unref(copy);
    job_unref(j);
}

static void test_round_trips(void **state)
{
    static uint8_t large[70000];
    struct job_head h = sample;
    (void)state;
    expect_round_trip(&h);
    h.event = h.from = h.collapse = span_str(NULL);
    h.seq = h.prev = h.expires_s = 0;
    expect_round_trip(&h);
    h.kind = TARGET_ALL;
    h.target = span_str(NULL);
    h.data = span_str(NULL);
    h.format = DATA_TEXT;
    expect_round_trip(&h);
    h.seq = h.prev = h.expires_s = h.ts_ms = UINT64_MAX;
    h.data = span_of(large, sizeof large);
    h.format = DATA_BINARY;
    expect_round_trip(&h);
    h = sample;
    h.target = h.id = h.event = h.from = h.collapse = span_of(large, 300);
    expect_round_trip(&h);
}

static void test_layout(void **state)
{
    static const char want[] = "\x9f\x01\x01\xa4"
                               "news\xcf\x00\x06\x0a\x24\x18\x1e\x40\x01\xcf\x00\x06\x0a\x24\x18\x1e\x40\x00"
                               "\xce\x6b\x49\xd2\x00\xcf\x00\x00\x01\x8b\xcf\xe5\x68\x7b\xa3"
                               "m-1\xa4tick\xa3"
                               "bob\xa5price\x02\xc3\x00\xc4\x08{\"a\": 1}";
    struct job *j = job_pack(&sample);
    (void)state;
    assert_non_null(j);
    assert_int_equal(j->len, sizeof want - 1);
    assert_memory_equal(j->bytes, want, j->len);
    job_unref(j);
}

static void test_every_prefix(void **state)
{
    struct job *j = job_pack(&sample);
    struct guard g;
    struct job_head h;
    (void)state;
    assert_non_null(j);
    guard_open(&g, j->len + 1);
    for (size_t n = 0; n < j->len; n++) {
        assert_true(job_unpack(guard_load(&g, span_of(j->bytes, n)), &h) < 0);
        assert_null(job_from_bytes(span_of(j->bytes, n)));
    }
    assert_int_equal(job_unpack(guard_load(&g, span_of(j->bytes, j->len)), &h), 0);
    expect_same(&h, &sample);
    guard_free(&g);
    job_unref(j);
}

/* The sample's bytes with element `at` replaced by other msgpack; job_unpack's answer. */
static int unpack_with(unsigned at, struct span other)
{
    struct job *j = job_pack(&sample);
    struct mp_reader r;
    struct mp_value v;
    struct buf b;
    struct job_head h;
    assert_non_null(j);
    buf_init(&b, 4096);
    mp_reader_init(&r, span_of(j->bytes, j->len));
    assert_true(mp_read(&r, &v));
    assert_true(buf_append_byte(&b, 0x9f));
    for (unsigned i = 0; i < v.count; i++) {
        const uint8_t *from = r.p;
        assert_int_equal(mp_skip(&r, MP_MAX_DEPTH, NULL), MP_OK);
        assert_true(buf_append_span(&b, i == at ? other : span_of(from, (size_t)(r.p - from))));
    }
    int answer = job_unpack(buf_span(&b), &h);
    buf_fini(&b);
    job_unref(j);
    return answer;
}

static void test_wrong_elements(void **state)
{
    (void)state;
    assert_int_equal(unpack_with(15, SPAN_LIT("")), 0); /* nothing replaced */
    for (unsigned at = 0; at < 15; at++) {
        assert_true(unpack_with(at, SPAN_LIT("\x90")) < 0);
        assert_true(unpack_with(at, SPAN_LIT("\xff")) < 0);
        assert_true(unpack_with(at, SPAN_LIT("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00")) < 0);
        assert_true(unpack_with(at, SPAN_LIT("\xa0")) < 0);
        assert_true(unpack_with(at, SPAN_LIT("\xc1")) < 0);
    }
    assert_true(unpack_with(0, SPAN_LIT("\x02")) < 0); /* another version */
    assert_true(unpack_with(0, SPAN_LIT("\x00")) < 0);
    assert_true(unpack_with(1, SPAN_LIT("\x03")) < 0);  /* no such target kind */
    assert_true(unpack_with(1, SPAN_LIT("\x02")) < 0);  /* all with a name */
    assert_true(unpack_with(2, SPAN_LIT("\xc0")) < 0);  /* a room without one */
    assert_true(unpack_with(7, SPAN_LIT("\xc0")) < 0);  /* no id */
    assert_true(unpack_with(11, SPAN_LIT("\x03")) < 0); /* no such priority */
    assert_true(unpack_with(13, SPAN_LIT("\x04")) < 0); /* no such format */
    assert_int_equal(unpack_with(8, SPAN_LIT("\xc0")), 0);
    assert_int_equal(unpack_with(3, SPAN_LIT("\xd0\x05")), 0); /* however an integer is written */
}

static void test_refused(void **state)
{
    struct job_head h = sample;
    struct job_head out;
    (void)state;
    h.id = span_str(NULL);
    assert_null(job_pack(&h));
    assert_null(job_from_bytes((struct span){(const uint8_t *)"", SIZE_MAX}));
    assert_true(job_unpack((struct span){NULL, 0}, &out) < 0);
    h = sample;
    h.data.n = SIZE_MAX / 2;
    assert_null(job_pack(&h));
}

static uint64_t key_of(enum target_kind kind, const char *target, const char *collapse)
{
    struct job_head h = sample;
    h.kind = kind;
    h.target = span_str(target);
    h.collapse = span_str(collapse);
    struct job *j = job_pack(&h);
    assert_non_null(j);
    uint64_t key = j->collapse_key;
    job_unref(j);
    return key;
}

static void test_collapse_key(void **state)
{
    (void)state;
    uint64_t key = key_of(TARGET_ROOM, "news", "price");
    assert_true(key != 0);
    assert_true(key == key_of(TARGET_ROOM, "news", "price"));
    assert_true(key != key_of(TARGET_USER, "news", "price"));
    assert_true(key != key_of(TARGET_ROOM, "new", "sprice"));
    assert_true(key != key_of(TARGET_ROOM, "news", "prices"));
    assert_true(key_of(TARGET_ROOM, "news", "") == 0);
}

/* Flipped bits: refused or read, never past the end. */
static void test_random_damage(void **state)
{
    uint64_t seed = 99;
    struct job *j = job_pack(&sample);
    struct guard g;
    (void)state;
    assert_non_null(j);
    uint8_t bytes[256];
    assert_true(j->len <= sizeof bytes);
    guard_open(&g, j->len);
    for (int i = 0; i < 20000; i++) {
        struct job_head h;
        memcpy(bytes, j->bytes, j->len);
        for (uint64_t flips = 1 + random_next(&seed) % 3; flips > 0; flips--)
            bytes[random_next(&seed) % j->len] = (uint8_t)(random_next(&seed) >> 40);
        struct span s = guard_load(&g, span_of(bytes, j->len));
        if (job_unpack(s, &h) == 0)
            assert_true(h.data.p + h.data.n == s.p + s.n);
    }
    guard_free(&g);
    job_unref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),    cmocka_unit_test(test_layout),  cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_wrong_elements), cmocka_unit_test(test_refused), cmocka_unit_test(test_collapse_key),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
