/*
 * test_outq.c - the output queue's policy: who goes, who stays, what is pinned; and that every frame is let go exactly
 * once (the leak checker of the sanitizer build watches).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/outq.h"

static const struct outq_limits limits = {.soft_bytes = 1000, .hard_bytes = 2000, .soft_count = 100};

static enum out_result push(struct outq *q, enum out_class cls, size_t len, uint64_t collapse, struct outq_drops *d)
{
    static uint8_t bytes[4096];
    struct frame *f = frame_copy(span_of(bytes, len));
    assert_non_null(f);
    f->collapse = collapse;
    enum out_result r = outq_push(q, f, cls, &limits, d);
    frame_unref(f);
    return r;
}

static unsigned peek_count(const struct outq *q)
{
    struct iovec iov[512];
    unsigned n;
    (void)outq_peek(q, iov, 512, &n);
    return n;
}

static void low_goes_first(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    outq_init(&q);
    assert_int_equal(push(&q, OUT_LOW, 300, 0, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_NORMAL, 300, 0, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_NORMAL, 300, 0, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_NORMAL, 300, 0, &d), OUT_OK);
    assert_int_equal(d.low, 1);
    assert_int_equal(d.normal, 0);
    assert_int_equal(q.bytes, 900);
    outq_fini(&q);
}

static void normal_goes_oldest_first(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    outq_init(&q);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(push(&q, OUT_NORMAL, 100 + i, 0, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_NORMAL, 200, 0, &d), OUT_OK);
    assert_true(d.normal >= 2);
    struct iovec iov[16];
    unsigned n;
    (void)outq_peek(&q, iov, 16, &n);
    assert_int_equal(iov[0].iov_len, 100 + d.normal); /* the oldest are gone, the order is kept */
    assert_int_equal(iov[n - 1].iov_len, 200);
    outq_fini(&q);
}

static void low_does_not_push_normal_out(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    outq_init(&q);
    assert_int_equal(push(&q, OUT_NORMAL, 950, 0, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_LOW, 100, 0, &d), OUT_DROPPED_SELF);
    assert_int_equal(d.low, 1);
    assert_int_equal(d.normal, 0);
    outq_fini(&q);
}

static void newest_of_a_collapse_key_stays(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    outq_init(&q);
    assert_int_equal(push(&q, OUT_NORMAL, 101, 7, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_NORMAL, 102, 7, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_NORMAL, 103, 8, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_NORMAL, 600, 0, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_NORMAL, 104, 7, &d), OUT_OK); /* over: the two older sevens are superseded */
    assert_int_equal(d.collapsed, 2);
    assert_int_equal(d.normal, 0);
    struct iovec iov[8];
    unsigned n;
    (void)outq_peek(&q, iov, 8, &n);
    assert_int_equal(n, 3);
    assert_int_equal(iov[0].iov_len, 103);
    assert_int_equal(iov[2].iov_len, 104);
    outq_fini(&q);
}

static void stored_is_left_and_never_dropped(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    outq_init(&q);
    assert_int_equal(push(&q, OUT_STORED, 900, 0, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_STORED, 200, 0, &d), OUT_LEFT);
    assert_int_equal(push(&q, OUT_NORMAL, 200, 0, &d), OUT_DROPPED_SELF);
    assert_int_equal(peek_count(&q), 1);
    assert_int_equal(q.bytes, 900);
    outq_fini(&q);
}

static void high_stays_until_the_hard_limit(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    outq_init(&q);
    for (int i = 0; i < 4; i++)
        assert_int_equal(push(&q, OUT_HIGH, 500, 0, &d), OUT_OK);
    assert_int_equal(push(&q, OUT_HIGH, 1, 0, &d), OUT_OVER);
    assert_int_equal(push(&q, OUT_CONTROL, 1, 0, &d), OUT_OK); /* at the limit, not past it */
    assert_int_equal(push(&q, OUT_CONTROL, 1, 0, &d), OUT_OVER);
    outq_fini(&q);
}

static void one_large_message_always_fits(void **state)
{
    (void)state;
    static const enum out_class all[] = {OUT_CONTROL, OUT_STORED, OUT_LOW, OUT_NORMAL, OUT_HIGH};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct outq q;
        struct outq_drops d = {0};
        outq_init(&q);
        assert_int_equal(push(&q, all[i], 4000, 0, &d), OUT_OK);
        outq_fini(&q);
    }
}

static void pinned_head_is_untouched(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    outq_init(&q);
    for (int i = 0; i < 10; i++)
        assert_int_equal(push(&q, OUT_LOW, 100, 0, &d), OUT_OK);
    outq_written(&q, 150, NULL, NULL); /* the first is out, the second half written */
    assert_int_equal(q.offset, 50);
    assert_int_equal(q.pinned, 1);
    outq_pin(&q, 3);
    assert_int_equal(push(&q, OUT_NORMAL, 900, 0, &d), OUT_DROPPED_SELF);
    assert_int_equal(d.low, 6);
    assert_int_equal(peek_count(&q), 3);
    outq_drop_unpinned(&q);
    assert_int_equal(peek_count(&q), 3);
    outq_written(&q, 250, NULL, NULL);
    assert_true(outq_empty(&q));
    assert_int_equal(q.bytes, 0);
    outq_trim(&q);
    assert_null(q.ring);
    outq_fini(&q);
}

static void counted(void *arg, const struct frame *f)
{
    (void)f;
    ++*(unsigned *)arg;
}

/* Random pushes and writes of random sizes against simple sums. */
static void sums_hold_under_random_use(void **state)
{
    (void)state;
    uint64_t seed = 42;
    struct outq q;
    outq_init(&q);
    for (int round = 0; round < 200000; round++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        unsigned r = (unsigned)(seed >> 33);
        struct outq_drops d = {0};
        if (r % 3 != 0) {
            (void)push(&q, (enum out_class)(r / 3 % 5), r / 16 % 300, r / 7 % 4, &d);
        } else if (q.bytes) {
            unsigned done = 0;
            outq_written(&q, 1 + r % q.bytes, counted, &done);
        } else {
            outq_written(&q, 0, NULL, NULL); /* empty frames leave too */
        }
        struct iovec iov[512];
        unsigned n;
        size_t sum = 0;
        (void)outq_peek(&q, iov, 512, &n);
        for (unsigned i = 0; i < n; i++)
            sum += iov[i].iov_len;
        if (q.count <= 512)
            assert_int_equal(sum, q.bytes);
        assert_true(q.pinned <= q.count);
    }
    outq_fini(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(low_goes_first),
        cmocka_unit_test(normal_goes_oldest_first),
        cmocka_unit_test(low_does_not_push_normal_out),
        cmocka_unit_test(newest_of_a_collapse_key_stays),
        cmocka_unit_test(stored_is_left_and_never_dropped),
        cmocka_unit_test(high_stays_until_the_hard_limit),
        cmocka_unit_test(one_large_message_always_fits),
        cmocka_unit_test(pinned_head_is_untouched),
        cmocka_unit_test(sums_hold_under_random_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
