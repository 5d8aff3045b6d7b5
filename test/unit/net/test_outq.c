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

static void of_large_messages_the_newest_stays(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    outq_init(&q);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(push(&q, OUT_NORMAL, 1500 + i, 0, &d), OUT_OK);
        assert_int_equal(d.normal, i);
        assert_int_equal(q.bytes, 1500 + i);
    }
    assert_int_equal(push(&q, OUT_LOW, 1600, 0, &d), OUT_DROPPED_SELF); /* low makes no room among others */
    assert_int_equal(peek_count(&q), 1);
    outq_fini(&q);
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

static struct frame *text(const char *s)
{
    struct frame *f = frame_copy(span_str(s));
    assert_non_null(f);
    return f;
}

static void assert_bytes(const struct frame *f, const char *want)
{
    assert_int_equal(f->len, strlen(want));
    assert_memory_equal(f->data, want, f->len);
}

/* What goes is counted in messages, however many stand in one entry. */
static void drops_count_messages(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    static uint8_t bytes[400];
    struct frame *f = frame_copy(span_of(bytes, sizeof bytes)), *two = frame_join(f, f), *three = frame_join(two, f);
    assert_int_equal(two->messages, 2);
    outq_init(&q);
    assert_int_equal(outq_push(&q, two, OUT_LOW, &limits, &d), OUT_OK);
    assert_int_equal(outq_push(&q, f, OUT_NORMAL, &limits, &d), OUT_OK);
    assert_int_equal(d.low, 2);
    assert_int_equal(outq_push(&q, three, OUT_LOW, &limits, &d), OUT_DROPPED_SELF);
    assert_int_equal(d.low, 5);
    outq_fini(&q);
    frame_unref(f);
    frame_unref(two);
    frame_unref(three);
}

/* What was joined first keeps its bytes, whatever comes behind it, and whoever else is joined to it. */
static void joined_frames_share_memory(void **state)
{
    (void)state;
    struct frame *a = text("a"), *b = text("bb"), *c = text("ccc"), *d = text("dddd");
    struct frame *ab = frame_join(a, b), *abc = frame_join(ab, c), *abd = frame_join(ab, d), *abcd = frame_join(abc, d);
    assert_bytes(ab, "abb");
    assert_bytes(abc, "abbccc");
    assert_bytes(abd, "abbdddd");
    assert_bytes(abcd, "abbcccdddd");
    assert_ptr_equal(ab->data, abc->data);
    assert_ptr_equal(abc->data, abcd->data);
    assert_ptr_not_equal(abd->data, ab->data);
    struct frame *all[] = {a, b, c, d, ab, abc, abd, abcd};
    for (unsigned i = 0; i < ARRAY_LEN(all); i++)
        frame_unref(all[i]);
}

static void joining_ends_somewhere(void **state)
{
    (void)state;
    static uint8_t bytes[FRAME_JOIN_MOST];
    struct frame *half = frame_copy(span_of(bytes, sizeof bytes / 2)), *one = text("1");
    struct frame *whole = frame_join(half, half);
    assert_non_null(whole);
    assert_int_equal(whole->len, FRAME_JOIN_MOST);
    assert_null(frame_join(whole, one));
    frame_unref(half);
    frame_unref(one);
    frame_unref(whole);
}

/* Many queues with the same get the same; one with something else its own; too many different ones none. */
static void a_joint_remembers_the_last(void **state)
{
    (void)state;
    struct joint j = {0};
    struct frame *a = text("a"), *x = text("x"), *b = text("b");
    struct frame *ab = joint_get(&j, a, b);
    assert_bytes(ab, "ab");
    assert_ptr_equal(joint_get(&j, a, b), ab);
    assert_bytes(joint_get(&j, x, b), "xb");
    unsigned taken = 0;
    for (unsigned i = 0; i < 1000; i++)
        taken += joint_get(&j, i % 2 ? x : a, b) != NULL;
    assert_true(taken < 600);
    joint_fini(&j);
    frame_unref(a);
    frame_unref(x);
    frame_unref(b);
}

static void only_one_waiting_message_is_extended(void **state)
{
    (void)state;
    struct outq q;
    struct outq_drops d = {0};
    struct frame *a = text("a"), *b = text("b"), *ab = frame_join(a, b);
    outq_init(&q);
    assert_null(outq_only(&q, OUT_NORMAL));
    assert_int_equal(outq_push(&q, a, OUT_NORMAL, &limits, &d), OUT_OK);
    assert_null(outq_only(&q, OUT_HIGH));
    assert_ptr_equal(outq_only(&q, OUT_NORMAL), a);
    outq_pin(&q, 1);
    assert_null(outq_only(&q, OUT_NORMAL));
    outq_unpin(&q);
    assert_true(outq_extend(&q, ab, &limits));
    assert_int_equal(q.bytes, 2);
    assert_int_equal(a->refs, 1);
    const struct outq_limits tight = {.soft_bytes = 1, .hard_bytes = 2, .soft_count = 1};
    assert_false(outq_extend(&q, ab, &tight));
    assert_int_equal(outq_push(&q, b, OUT_NORMAL, &limits, &d), OUT_OK);
    assert_null(outq_only(&q, OUT_NORMAL));
    outq_fini(&q);
    b->collapse = 7;
    assert_int_equal(outq_push(&q, b, OUT_NORMAL, &limits, &d), OUT_OK);
    assert_null(outq_only(&q, OUT_NORMAL));
    outq_fini(&q);
    frame_unref(a);
    frame_unref(b);
    frame_unref(ab);
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
        cmocka_unit_test(of_large_messages_the_newest_stays),
        cmocka_unit_test(pinned_head_is_untouched),
        cmocka_unit_test(sums_hold_under_random_use),
        cmocka_unit_test(drops_count_messages),
        cmocka_unit_test(joined_frames_share_memory),
        cmocka_unit_test(joining_ends_somewhere),
        cmocka_unit_test(a_joint_remembers_the_last),
        cmocka_unit_test(only_one_waiting_message_is_extended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
