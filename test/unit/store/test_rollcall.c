/*
 * test_rollcall.c - rounds of questions to three shards, played by the test: pages go out and come back, full lanes
 * make them wait, and the store hears the end once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/census.h"
#include "core/inbox.h"
#include "core/metrics.h"
#include "core/msg.h"
#include "store/outlane.h"
#include "store/rollcall.h"
#include "store/store.h"

enum { SHARDS = 3 };

struct world {
    struct inbox *in[SHARDS];
    struct outlane lanes[SHARDS];
    struct metrics metrics;
    struct store store;
    struct rollcall r;
    unsigned users, ends;
    struct census *got[SHARDS]; /* what a shard has in hand */
    char *node[SHARDS];
    unsigned order; /* items seen before the page */
};

static void census(struct store *s, const struct census *page)
{
    struct world *w = CONTAINER_OF(s, struct world, store);
    if (page)
        w->users += page->n;
    else
        w->ends++;
}

static const struct store_ops ops = {.name = "test", .census = census};

static void world_init(struct world *w, unsigned capacity)
{
    memset(w, 0, sizeof(*w));
    metrics_init(&w->metrics, "test");
    for (unsigned i = 0; i < SHARDS; i++) {
        w->in[i] = inbox_new(1, capacity);
        assert_non_null(w->in[i]);
        outlane_init(&w->lanes[i], w->in[i], 0, &w->metrics);
    }
    w->store.ops = &ops;
    w->r = (struct rollcall){.lanes = w->lanes, .nshards = SHARDS, .store = &w->store};
}

static void world_fini(struct world *w)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        outlane_fini(&w->lanes[i]);
        inbox_free(w->in[i], msg_drop, NULL);
        free(w->got[i]);
        free(w->node[i]);
    }
}

struct reader {
    struct world *w;
    unsigned shard;
};

static void take(void *arg, struct item it)
{
    struct reader *r = arg;
    if (it.kind == MSG_CENSUS) {
        assert_null(r->w->got[r->shard]);
        r->w->got[r->shard] = it.ptr;
        return;
    }
    if (it.kind == MSG_NODE) {
        free(r->w->node[r->shard]);
        r->w->node[r->shard] = it.ptr;
        return;
    }
    assert_null(r->w->got[r->shard]); /* the page comes behind all that was there before it */
    r->w->order++;
    msg_drop(NULL, it);
}

static void read_lane(struct world *w, unsigned shard)
{
    struct reader r = {w, shard};
    while (inbox_drain(w->in[shard], 64, take, &r) > 0)
        continue;
}

static void answer(struct world *w, unsigned shard, unsigned n, bool end)
{
    struct census *c = w->got[shard];
    assert_non_null(c);
    assert_int_equal(c->shard, shard);
    w->got[shard] = NULL;
    c->n = n;
    c->end = end;
    rollcall_take(&w->r, c);
}

static void every_shard_is_asked_until_it_has_told_all(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 8);
    rollcall_start(&w.r);
    for (unsigned i = 0; i < SHARDS; i++) {
        read_lane(&w, i);
        assert_true(w.got[i]->first);
    }
    answer(&w, 1, 0, true);
    answer(&w, 0, CENSUS_USERS, false);
    read_lane(&w, 0);
    assert_false(w.got[0]->first);
    answer(&w, 0, 3, true);
    rollcall_start(&w.r); /* twice while one runs: one more */
    rollcall_start(&w.r);
    assert_int_equal(w.ends, 0);
    answer(&w, 2, 4, true);
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.users, CENSUS_USERS + 7);
    for (unsigned i = 0; i < SHARDS; i++) {
        read_lane(&w, i);
        answer(&w, i, 0, true);
    }
    assert_int_equal(w.ends, 2);
    for (unsigned i = 0; i < SHARDS; i++) {
        read_lane(&w, i);
        assert_null(w.got[i]);
    }
    rollcall_take(&w.r, calloc(1, sizeof(struct census))); /* nobody asked */
    assert_int_equal(w.ends, 2);
    world_fini(&w);
}

static void a_full_lane_keeps_page_and_name_and_their_order(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 2);
    outlane_state(&w.lanes[0], true);
    outlane_state(&w.lanes[0], false); /* full */
    outlane_node(&w.lanes[0], "first");
    rollcall_start(&w.r);
    outlane_behind(&w.lanes[0], SPAN_LIT("alice"), 7);
    outlane_node(&w.lanes[0], "second");
    assert_true(outlane_waiting(&w.lanes[0]));
    for (unsigned i = 0; i < 4; i++) {
        read_lane(&w, 0);
        outlane_flush(&w.lanes[0]);
    }
    read_lane(&w, 0);
    assert_false(outlane_waiting(&w.lanes[0]));
    assert_string_equal(w.node[0], "second");
    assert_non_null(w.got[0]);
    assert_int_equal(w.order, 3);
    world_fini(&w); /* pages in hand, in lanes and waiting are freed once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shard_is_asked_until_it_has_told_all),
        cmocka_unit_test(a_full_lane_keeps_page_and_name_and_their_order),
    };
    return cmocka_run_group_tests_name("rollcall", tests, NULL, NULL);
}
