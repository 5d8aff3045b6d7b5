/*
 * test_ingest.c - raw messages among nodes, without Redis: several nodes read one stream, some die, miss parts or come
 * late, and every message is stored once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/ingest.h"

enum { MAX_CLAIMS = 65536 };

/* What Redis grants once. */
struct claims {
    unsigned n;
    struct claim {
        uint64_t marker;
        uint32_t count;
        bool before;
        uint8_t part;
        enum target_kind kind;
    } v[MAX_CLAIMS];
    unsigned stored[MAX_CLAIMS]; /* how often message i was stored */
};

static bool grant(struct claims *c, const struct ingest_entry *e)
{
    for (unsigned i = 0; i < c->n; i++) {
        const struct claim *x = &c->v[i];
        if (x->marker == e->marker && x->count == e->count && x->before == e->before && x->part == e->part &&
            x->kind == e->kind)
            return false;
    }
    assert_true(c->n < MAX_CLAIMS);
    c->v[c->n++] = (struct claim){e->marker, e->count, e->before, e->part, e->kind};
    return true;
}

static struct ingest *node(const char *name)
{
    struct ingest *in = ingest_new(&(struct ingest_cfg){10000, 40000, 1 << 20});
    assert_non_null(in);
    ingest_set_name(in, name);
    return in;
}

static void marker(struct ingest *in, const char *text, uint64_t now)
{
    ingest_marker(in, span_str(text), now);
}

static uint8_t part_of(unsigned message)
{
    return (uint8_t)(message * 37);
}

static void message(struct ingest *in, unsigned i, uint64_t now)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", i);
    ingest_message(in, TARGET_USER, part_of(i), SPAN_LIT("user"), span_str(text), now);
}

static unsigned number_of(const struct ingest_entry *e)
{
    char text[16] = "";
    memcpy(text, ingest_payload(e).p, ingest_payload(e).n);
    return (unsigned)strtoul(text, NULL, 10);
}

/* Stores what the node has to store; returns how many claims were granted. */
static unsigned run(struct claims *c, struct ingest *in)
{
    struct ingest_entry *e;
    unsigned n = 0;
    while ((e = ingest_take(in)) != NULL) {
        if (grant(c, e)) {
            c->stored[number_of(e)]++;
            n++;
        }
        ingest_done(in, e);
    }
    return n;
}

static void each_once(const struct claims *c, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        if (c->stored[i] != 1)
            fail_msg("message %u was stored %u times", i, c->stored[i]);
    }
}

static struct claims *claims_new(void)
{
    struct claims *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    return c;
}

/* ---- owners ---- */

static void owners_are_even_and_stay_when_another_goes(void **state)
{
    (void)state;
    const struct span three[] = {SPAN_LIT("a.1"), SPAN_LIT("b.2"), SPAN_LIT("c.3")};
    const struct span other_order[] = {SPAN_LIT("c.3"), SPAN_LIT("a.1"), SPAN_LIT("b.2")};
    const struct span two[] = {SPAN_LIT("a.1"), SPAN_LIT("c.3")};
    unsigned share[3] = {0};
    for (unsigned part = 0; part < INGEST_PARTS; part++) {
        unsigned o = ingest_owner(three, 3, (uint8_t)part);
        share[o]++;
        assert_true(span_eq(three[o], other_order[ingest_owner(other_order, 3, (uint8_t)part)]));
        if (o != 1)
            assert_true(span_eq(three[o], two[ingest_owner(two, 2, (uint8_t)part)]));
    }
    for (unsigned i = 0; i < 3; i++)
        assert_true(share[i] > 50 && share[i] < 130);
}

static void each_message_has_one_owner(void **state)
{
    (void)state;
    struct claims *c = claims_new();
    struct ingest *v[3] = {node("a"), node("b"), node("c")};
    unsigned sum = 0;
    for (unsigned k = 0; k < 3; k++)
        marker(v[k], "100 a b c", 0);
    for (unsigned i = 0; i < 600; i++) {
        for (unsigned k = 0; k < 3; k++)
            message(v[k], i, 1);
    }
    for (unsigned k = 0; k < 3; k++) {
        unsigned n = run(c, v[k]);
        assert_true(n > 50);
        sum += n;
    }
    assert_int_equal(sum, 600);
    each_once(c, 0, 600);
    for (unsigned k = 0; k < 3; k++) {
        assert_int_equal(ingest_stats(v[k])->replays, 0);
        ingest_tick(v[k], 20000);
        assert_int_equal(ingest_stats(v[k])->entries, 0);
        assert_int_equal(ingest_stats(v[k])->bytes, 0);
        ingest_free(v[k]);
    }
    free(c);
}

/* Users and rooms of one partition count apart. */
static void kinds_count_apart(void **state)
{
    (void)state;
    struct ingest *in = node("a");
    marker(in, "5 a", 0);
    ingest_message(in, TARGET_USER, 7, SPAN_LIT("u"), SPAN_LIT("x"), 0);
    ingest_message(in, TARGET_ROOM, 7, SPAN_LIT("u"), SPAN_LIT("x"), 0);
    ingest_message(in, TARGET_USER, 7, SPAN_LIT("v"), SPAN_LIT(""), 0);
    struct ingest_entry *e = ingest_take(in);
    assert_int_equal(e->count, 0);
    assert_int_equal(e->kind, TARGET_USER);
    ingest_done(in, e);
    e = ingest_take(in);
    assert_int_equal(e->count, 0);
    assert_int_equal(e->kind, TARGET_ROOM);
    ingest_done(in, e);
    e = ingest_take(in);
    assert_int_equal(e->count, 1);
    assert_true(SPAN_IS(ingest_name(e), "v"));
    assert_int_equal(ingest_payload(e).n, 0);
    ingest_done(in, e);
    assert_null(ingest_take(in));
    ingest_free(in);
}

/* ---- deaths and holes ---- */

static void the_share_of_a_dead_owner_is_stored_by_the_others_once(void **state)
{
    (void)state;
    struct claims *c = claims_new();
    struct ingest *a = node("a"), *b = node("b"), *d = node("c");
    struct ingest *v[3] = {a, b, d};
    for (unsigned k = 0; k < 3; k++)
        marker(v[k], "100 a b c", 0);
    for (unsigned i = 0; i < 300; i++) {
        for (unsigned k = 0; k < 3; k++)
            message(v[k], i, 1);
        if (i == 150)
            run(c, a); /* half of its share is stored; the rest dies with it */
    }
    run(c, b);
    run(c, d);
    ingest_dead(b, SPAN_LIT("a"));
    ingest_dead(d, SPAN_LIT("a"));
    for (unsigned i = 300; i < 400; i++) { /* before a marker says so: what a owns is stored at once */
        message(b, i, 2);
        message(d, i, 2);
    }
    run(c, b);
    assert_true(ingest_stats(b)->replays > 50);
    run(c, d);
    assert_int_equal(ingest_stats(b)->replays, ingest_stats(d)->replays); /* both tried all of it */
    each_once(c, 0, 400);
    ingest_dead(b, SPAN_LIT("a")); /* heard again */
    assert_null(ingest_take(b));
    for (unsigned k = 0; k < 3; k++)
        ingest_free(v[k]);
    free(c);
}

static void a_hole_is_filled_up_to_its_marker(void **state)
{
    (void)state;
    struct claims *c = claims_new();
    struct ingest *a = node("a"), *b = node("b");
    marker(a, "100 a b", 0);
    marker(b, "100 a b", 0);
    for (unsigned i = 0; i < 100; i++) {
        message(b, i, 1);
        if (i < 40)
            message(a, i, 1);
    }
    run(c, a);
    run(c, b);
    ingest_cut(a); /* it missed 40 to 99, and says so in a marker that it does not read itself */
    assert_false(ingest_placed(a));
    marker(b, "200 b !a", 2);
    run(c, b);
    each_once(c, 0, 100);
    /* Once more, late, by way of the heartbeat: nothing happens twice. */
    ingest_hole(b, SPAN_LIT("a"), 200);
    assert_null(ingest_take(b));
    /* It reads again; what comes before its next marker is not its own. */
    for (unsigned i = 100; i < 150; i++) {
        message(a, i, 3);
        message(b, i, 3);
    }
    marker(a, "300 a b", 4);
    marker(b, "300 a b", 4);
    run(c, a);
    assert_int_equal(ingest_stats(a)->unplaced, 50);
    run(c, b);
    each_once(c, 0, 150);
    ingest_free(a);
    ingest_free(b);
    free(c);
}

static void what_nobody_counted_is_counted_back_from_the_marker(void **state)
{
    (void)state;
    struct claims *c = claims_new();
    struct ingest *a = node("a"), *b = node("b"), *d = node("c");
    /* All were cut; they come back one after the other, and messages go on. */
    for (unsigned i = 0; i < 90; i++) {
        message(a, i, 1);
        if (i >= 30)
            message(b, i, 1);
        if (i >= 60)
            message(d, i, 1);
    }
    /* The one that is named has read least. */
    marker(a, "300 = c", 2);
    marker(b, "300 = c", 2);
    marker(d, "300 = c", 2);
    assert_false(ingest_among(a) || ingest_among(b));
    assert_true(ingest_among(d));
    for (unsigned n = 0; n < 20; n++) { /* a stores some and dies */
        struct ingest_entry *e = ingest_take(a);
        assert_true(grant(c, e));
        c->stored[number_of(e)]++;
        ingest_done(a, e);
    }
    ingest_free(a);
    run(c, d);
    run(c, b);
    each_once(c, 0, 20);
    each_once(c, 30, 90); /* 20 to 29 were read by the dead one alone */
    ingest_free(b);
    ingest_free(d);
    free(c);
}

static void after_a_marker_that_names_nobody_the_next_one_counts_back(void **state)
{
    (void)state;
    struct claims *c = claims_new();
    struct ingest *a = node("a"), *b = node("b");
    message(b, 0, 1); /* was somebody else's */
    marker(b, "100 !x", 1);
    assert_false(ingest_placed(b));
    message(b, 1, 1);
    message(b, 2, 1);
    message(a, 2, 1); /* a comes later */
    marker(a, "150 =", 1);
    marker(b, "150 =", 1); /* still nobody: nothing is forgotten */
    message(a, 3, 1);
    message(b, 3, 1);
    marker(a, "200 = b", 2);
    marker(b, "200 = b", 2);
    run(c, b);
    assert_int_equal(c->stored[0], 0);
    each_once(c, 1, 4);
    assert_int_equal(run(c, a), 0); /* the same identities */
    ingest_free(a);
    ingest_free(b);
    free(c);
}

static void a_node_that_is_not_named_keeps_watch(void **state)
{
    (void)state;
    struct claims *c = claims_new();
    struct ingest *d = node("d");
    marker(d, "100 a b", 0);
    assert_true(ingest_placed(d) && !ingest_among(d));
    for (unsigned i = 0; i < 50; i++)
        message(d, i, 1);
    assert_null(ingest_take(d));
    ingest_dead(d, SPAN_LIT("a"));
    ingest_dead(d, SPAN_LIT("b"));
    run(c, d);
    each_once(c, 0, 50);
    ingest_free(d);
    free(c);
}

/* ---- outcomes and bounds ---- */

static void what_comes_back_keeps_its_place(void **state)
{
    (void)state;
    struct ingest *in = node("a");
    marker(in, "100 a", 0);
    for (unsigned i = 0; i < 6; i++)
        message(in, i, 1);
    struct ingest_entry *v[4];
    for (unsigned i = 0; i < 4; i++)
        v[i] = ingest_take(in);
    ingest_done(in, v[1]);
    ingest_again(in, v[0]);
    ingest_again(in, v[2]);
    message(in, 6, 2);
    ingest_again(in, v[3]);
    const unsigned order[] = {0, 2, 3, 4, 5, 6};
    for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
        struct ingest_entry *e = ingest_take(in);
        assert_int_equal(number_of(e), order[i]);
        ingest_done(in, e);
    }
    assert_int_equal(ingest_stats(in)->entries, 0);
    ingest_free(in);
}

static void the_window_is_bounded_in_time(void **state)
{
    (void)state;
    struct ingest *in = node("a");
    marker(in, "100 a b", 0);
    for (unsigned i = 0; i < 100; i++)
        message(in, i, 1000);
    size_t all = ingest_stats(in)->entries;
    ingest_tick(in, 10999);
    assert_int_equal(ingest_stats(in)->entries, all);
    ingest_tick(in, 11000);
    size_t own = ingest_stats(in)->entries;
    assert_true(own > 20 && own < 80); /* what this node has to store stays */
    struct ingest_entry *flying = ingest_take(in);
    ingest_tick(in, 41000);
    assert_int_equal(ingest_stats(in)->entries, 1);
    assert_int_equal(ingest_stats(in)->lost, own - 1);
    ingest_again(in, flying);
    ingest_tick(in, 41001);
    assert_int_equal(ingest_stats(in)->entries, 0);
    ingest_free(in);
}

static void the_window_is_bounded_in_bytes(void **state)
{
    (void)state;
    struct ingest *in = ingest_new(&(struct ingest_cfg){10000, 40000, 20000});
    char big[1000];
    memset(big, 'x', sizeof(big));
    ingest_set_name(in, "a");
    for (unsigned i = 0; i < 100; i++)
        ingest_message(in, TARGET_USER, (uint8_t)i, SPAN_LIT("u"), span_of(big, sizeof(big)), 1);
    assert_true(ingest_stats(in)->bytes <= 20000);
    assert_int_equal(ingest_stats(in)->entries + ingest_stats(in)->evicted, 100);
    marker(in, "100 b", 2); /* those before it are b's */
    assert_int_equal(ingest_stats(in)->entries, 0);
    for (unsigned i = 0; i < 100; i++)
        ingest_message(in, TARGET_USER, 9, SPAN_LIT("u"), span_of(big, sizeof(big)), 3);
    assert_true(ingest_stats(in)->bytes <= 20000);
    assert_int_equal(ingest_stats(in)->lost, 0);
    ingest_dead(in, SPAN_LIT("b"));
    struct ingest_entry *oldest = ingest_take(in);
    for (unsigned i = 0; i < 100; i++)
        ingest_message(in, TARGET_USER, 9, SPAN_LIT("u"), span_of(big, sizeof(big)), 3);
    assert_true(ingest_stats(in)->bytes <= 20000);
    assert_true(ingest_stats(in)->lost > 90);
    assert_true(SPAN_IS(ingest_name(oldest), "u"));
    ingest_done(in, oldest); /* whoever held it may go on */
    ingest_free(in);
}

static void hostile_markers(void **state)
{
    (void)state;
    struct ingest *in = node("a");
    static const char *const bad[] = {"", " ", "x a b", "0 a", "99999999999999999999999 a", "-5 a", "1x a"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        marker(in, bad[i], 0);
        assert_false(ingest_placed(in));
    }
    char many[4096] = "7";
    for (unsigned i = 0; i < 200; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), " n%u !h%u", i, i);
    marker(in, many, 0);
    assert_true(ingest_placed(in));
    char longest[1200] = "8 ";
    memset(longest + 2, 'n', 1000);
    marker(in, longest, 0); /* a name that cannot be: nobody */
    assert_false(ingest_placed(in));
    ingest_dead(in, SPAN_LIT(""));
    ingest_dead(in, span_of(longest, 1000));
    ingest_hole(in, SPAN_LIT(""), 0);
    message(in, 1, 0);
    ingest_free(in);
}

/* A renamed node goes on with what it had to store, and owns nothing under its new name. */
static void a_new_name_owns_nothing_yet(void **state)
{
    (void)state;
    struct ingest *in = node("a");
    marker(in, "100 a", 0);
    message(in, 1, 1);
    ingest_set_name(in, "a-2");
    message(in, 2, 1);
    struct ingest_entry *e = ingest_take(in);
    assert_int_equal(number_of(e), 1);
    ingest_done(in, e);
    assert_null(ingest_take(in));
    ingest_dead(in, SPAN_LIT("a"));
    e = ingest_take(in);
    assert_int_equal(number_of(e), 2);
    assert_true(e->replay);
    ingest_done(in, e);
    ingest_free(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_are_even_and_stay_when_another_goes),
        cmocka_unit_test(each_message_has_one_owner),
        cmocka_unit_test(kinds_count_apart),
        cmocka_unit_test(the_share_of_a_dead_owner_is_stored_by_the_others_once),
        cmocka_unit_test(a_hole_is_filled_up_to_its_marker),
        cmocka_unit_test(what_nobody_counted_is_counted_back_from_the_marker),
        cmocka_unit_test(after_a_marker_that_names_nobody_the_next_one_counts_back),
        cmocka_unit_test(a_node_that_is_not_named_keeps_watch),
        cmocka_unit_test(what_comes_back_keeps_its_place),
        cmocka_unit_test(the_window_is_bounded_in_time),
        cmocka_unit_test(the_window_is_bounded_in_bytes),
        cmocka_unit_test(hostile_markers),
        cmocka_unit_test(a_new_name_owns_nothing_yet),
    };
    return cmocka_run_group_tests_name("ingest", tests, NULL, NULL);
}
