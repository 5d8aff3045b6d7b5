/*
 * members.h - the nodes of the cluster as this one last heard of them, and how GET /api/nodes and /api/stats show them.
 * Pure: no Redis, no clock.
 */
#ifndef STORE_MEMBERS_H
#define STORE_MEMBERS_H

#include "core/buf.h"
#include "core/op.h"

struct store_about;

#define MEMBER_NAME 200
#define MEMBERS_MAX 1024

struct member {
    char name[MEMBER_NAME];
    char address[256];
    char version[32];
    uint64_t since_ms; /* unix ms: when it joined */
    bool ingest;       /* it stores bare publishes to users */
    uint64_t clients, users, rooms, stored, delivered;
};

struct members {
    unsigned n, cap;
    struct member *v;
};

void members_init(struct members *m);
void members_fini(struct members *m);
void members_clear(struct members *m);
/* New, zeroed but for the name; borrowed until the next add. NULL: memory is out, or there are MEMBERS_MAX. */
struct member *members_add(struct members *m, struct span name) MUST_CHECK;
const struct member *members_find(const struct members *m, struct span name);

/* What a node says of itself, as words: "v=0.1.0 a=127.0.0.1:8080 c=3 u=2 r=1 s=10 d=20". */
bool member_write_info(const struct store_about *about, struct buf *out) MUST_CHECK;
/* Reads it; what is not known is passed over, so that nodes of several versions understand each other. */
void member_read_info(struct member *m, struct span info);

/* Answers QUERY_NODES or QUERY_STATS of an op: fills its reply and returns the status. self: who answers. */
enum op_status members_answer(const struct members *m, const char *self, struct op *op) MUST_CHECK;

#endif
