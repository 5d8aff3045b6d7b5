/*
 * census.h - a page of the users of one shard: the dispatcher sends it empty, the shard fills it, the dispatcher reads
 * it and sends it again until `end`. One page a shard and round, owned by whoever has it; freed with free().
 */
#ifndef CORE_CENSUS_H
#define CORE_CENSUS_H

#include "core/base.h"

enum { CENSUS_USERS = 256, CENSUS_NAME = 128 };

/* No message is compared: the user is here, but what it has got cannot be said. */
#define CENSUS_HERE UINT64_MAX

struct census {
    unsigned shard;
    bool first; /* a new round: from the first user on */
    /* filled by the shard */
    bool end; /* no more users */
    unsigned n;
    struct census_user {
        uint64_t last; /* lowest of all its sessions: the highest seq that each has got or will fetch */
        uint8_t len;
        char name[CENSUS_NAME];
    } v[CENSUS_USERS];
};

#endif
