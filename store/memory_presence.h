/*
 * memory_presence.h - who is in which room, on the one node of the embedded store. Dispatcher thread.
 */
#ifndef STORE_MEMORY_PRESENCE_H
#define STORE_MEMORY_PRESENCE_H

#include "core/map.h"

struct memory_presence {
    struct map rooms;
};

void memory_presence_init(struct memory_presence *p);
void memory_presence_fini(struct memory_presence *p);

enum presence_set { PRESENCE_SAME, PRESENCE_CHANGED, PRESENCE_NO_MEMORY };
/* *seq: the number of the change; *watched: somebody wants to hear of it. */
enum presence_set memory_presence_set(struct memory_presence *p, struct span room, struct span user, bool here,
                                      uint64_t now_us, uint64_t *seq, bool *watched) MUST_CHECK;
/* False: memory is out. */
bool memory_presence_watch(struct memory_presence *p, struct span room, bool on) MUST_CHECK;

uint64_t memory_presence_count(const struct memory_presence *p, struct span room);
/* New array of the first names behind `after`, sorted, one more than `limit` where there are; borrowed from the table.
 * NULL: memory is out. *seq: the last change. */
struct span *memory_presence_list(const struct memory_presence *p, struct span room, struct span after, size_t limit,
                                  size_t *n, uint64_t *seq) MUST_CHECK;

#endif
