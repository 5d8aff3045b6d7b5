/*
 * resp.h - Redis' wire protocol (RESP2) where it is hot: commands built straight into a buffer, and what a subscription
 * pushes read in place. Pure. (Replies to commands are read with hiredis' redisReader, see redis_conn.c.)
 */
#ifndef STORE_RESP_H
#define STORE_RESP_H

#include "core/buf.h"

/* Arguments of a command, ready for the wire but for the head; several may be sent as one command (redis_conn_send).
 * Once memory or the ceiling has failed, `bad` stays set and nothing more is added. */
struct resp_args {
    struct buf b;
    unsigned n;
    bool bad;
};

void resp_init(struct resp_args *a, size_t max);
void resp_fini(struct resp_args *a);
void resp_reset(struct resp_args *a); /* empty again, the memory is kept */

void resp_arg(struct resp_args *a, struct span s);
void resp_str(struct resp_args *a, const char *s);
void resp_u64(struct resp_args *a, uint64_t v);
/* Decimal digits, in `tmp`. */
#define RESP_DIGITS 20
struct span resp_digits(uint64_t v, char tmp[RESP_DIGITS]);
/* One argument made of pieces. */
void resp_join(struct resp_args *a, const struct span *pieces, unsigned n);

/* Writes "*<n>\r\n"; false at the ceiling. */
bool resp_head(struct buf *out, unsigned n) MUST_CHECK;

enum resp_push_kind {
    RESP_MESSAGE,    /* channel, payload; pattern too where it came by one */
    RESP_SUBSCRIBED, /* channel or pattern (in `channel`) */
    RESP_UNSUBSCRIBED,
    RESP_ERROR, /* payload: the error line */
    RESP_OTHER, /* a reply to something else (PING) */
};

struct resp_push {
    enum resp_push_kind kind;
    bool is_pattern;
    struct span channel, payload;
};

/* Reads one push. >0: bytes used, `out` borrows from `in`; 0: more is needed; <0: this is not the protocol, or a part
 * is longer than max_bulk. */
ptrdiff_t resp_push_parse(struct span in, size_t max_bulk, struct resp_push *out) MUST_CHECK;

#endif
