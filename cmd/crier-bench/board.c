/*
 * board.c - the shared mapping and sums over it. Unmapped by the first process at its end; children keep theirs until
 * they exit.
 */
#include "board.h"

#include <sys/mman.h>

static size_t board_size(unsigned procs)
{
    return sizeof(struct board) + procs * sizeof(struct slot);
}

struct board *board_new(unsigned procs, unsigned subs)
{
    void *p = mmap(NULL, board_size(procs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    struct board *b = p;
    b->procs = procs;
    uint64_t first = 0;
    for (unsigned i = 0; i < procs; i++) {
        b->slots[i].first = first;
        b->slots[i].conns = subs / procs + (i < subs % procs ? 1 : 0);
        first += b->slots[i].conns;
    }
    return b;
}

void board_free(struct board *b)
{
    if (b)
        munmap(b, board_size(b->procs));
}

struct tally board_tally(struct board *b)
{
    struct tally t = {0};
    for (unsigned i = 0; i < b->procs; i++) {
        struct slot *s = &b->slots[i];
        t.deliveries += board_get(&s->deliveries);
        t.ready += board_get(&s->ready);
        t.gone += board_get(&s->gone);
        t.lost += board_get(&s->lost);
        t.duplicates += board_get(&s->duplicates);
        t.bytes += board_get(&s->bytes);
        t.reads += board_get(&s->reads);
        t.others += board_get(&s->others);
        t.resumed += board_get(&s->resumed);
        t.connects += board_get(&s->connects);
        t.answers += board_get(&s->answers);
    }
    return t;
}

uint64_t board_slowest(struct board *b)
{
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < b->procs; i++) {
        struct slot *s = &b->slots[i];
        uint64_t had = (board_get(&s->deliveries) + board_get(&s->lost)) / s->conns;
        if (had < least)
            least = had;
    }
    return least;
}
