/*
 * room_query.h - questions about rooms: their arguments read, their answers rendered; both back-ends use it. Dispatcher
 * thread.
 *
 *   QUERY_ROOMS          after, limit                  {"rooms":["a","b"],"next":"b"}
 *   QUERY_ROOM           room                          {"room","nodes","presence"?,"history"?}
 *   QUERY_ROOM_HISTORY   room, before, since, limit    {"room","seq","messages":[...],"more","next"?}
 *   QUERY_ROOM_PRESENCE  room, after, limit            {"room","seq","count","users":["a","b"],"next"?}
 */
#ifndef STORE_ROOM_QUERY_H
#define STORE_ROOM_QUERY_H

#include "core/op.h"
#include "core/room_rule.h"

struct config;

struct room_ask {
    struct span room;
    struct span after;
    bool has_since;
    uint64_t before, since; /* before 0: from the newest on */
    unsigned limit;         /* 1 to 1000; of messages 1 to 100 */
    bool has_history, has_presence;
    struct room_rule rule;
};
/* Reads the arguments. False: op->error and op->query.absent say what is wrong with them. Borrows from op. */
bool room_ask_read(const struct config *cfg, struct op *op, struct room_ask *out) MUST_CHECK;

struct room_facts {
    uint64_t top, oldest;
    uint64_t entries, users;
    unsigned nodes;
};

/* Each fills the reply and returns the status. */
enum op_status room_answer_history(struct op *op, const struct room_ask *a, const struct op_page *page) MUST_CHECK;
/* names: sorted; more: there are others behind them. */
enum op_status room_answer_presence(struct op *op, const struct room_ask *a, uint64_t seq, uint64_t count,
                                    const struct span *names, size_t n, bool more) MUST_CHECK;
enum op_status room_answer_facts(struct op *op, const struct room_ask *a, const struct room_facts *f) MUST_CHECK;

/* Names collected from several places. */
struct room_names {
    size_t n, cap;
    char **v;
    bool bad; /* memory was out */
};
void room_names_add(struct room_names *names, struct span name);
void room_names_fini(struct room_names *names);
/* Sorts, takes out what is there twice or not behind `after`, cuts at the limit. */
enum op_status room_answer_names(struct op *op, const struct room_ask *a, struct room_names *names) MUST_CHECK;

#endif
