/*
 * rollcall.c - rounds of questions to the shards.
 *
 * Idea: each shard has one page on its way, to it or back; the store reads it and it goes out again until the shard has
 * told all. When the last shard has, the store is told so (a NULL page) and compares. Nobody waits: a page that finds a
 * lane full waits in the outlane, and rounds that are asked for meanwhile become one more.
 *
 * Dispatcher thread. A page is freed when its shard is through; at the end of the world by whoever holds it.
 */
#include "store/rollcall.h"

#include <stdlib.h>

#include "core/census.h"
#include "store/outlane.h"
#include "store/store.h"

static void begin(struct rollcall *r)
{
    r->again = r->partial = false;
    for (unsigned i = 0; i < r->nshards; i++) {
        struct census *page = calloc(1, sizeof(*page));
        if (!page) {
            r->partial = true;
            continue;
        }
        page->shard = i;
        page->first = true;
        r->left++;
        outlane_census(&r->lanes[i], page);
    }
}

void rollcall_start(struct rollcall *r)
{
    if (r->left)
        r->again = true;
    else
        begin(r);
}

void rollcall_take(struct rollcall *r, struct census *page)
{
    if (page->shard >= r->nshards || r->left == 0) {
        free(page);
        return;
    }
    r->store->ops->census(r->store, page);
    if (!page->end) {
        page->first = false;
        outlane_census(&r->lanes[page->shard], page);
        return;
    }
    free(page);
    if (--r->left > 0)
        return;
    if (!r->partial) /* or some would be taken for gone */
        r->store->ops->census(r->store, NULL);
    if (r->again)
        begin(r);
}
