/*
 * redis_store.h - what the files of the Redis back-end share: the struct and who does what with it. Private to them.
 */
#ifndef STORE_REDIS_STORE_H
#define STORE_REDIS_STORE_H

#include "core/list.h"
#include "core/log.h"
#include "core/map.h"
#include "store/jobmaker.h"
#include "store/members.h"
#include "store/redis_conn.h"
#include "store/redis_sub.h"
#include "store/redis_url.h"
#include "store/store.h"

enum {
    REDIS_PARTS = 256,        /* partitions, DELIVERY.md section 2 */
    REDIS_PAGE = 100,         /* entries a page */
    REDIS_PAGE_BYTES = 65536, /* bytes a page, about */
    REDIS_MAX_PUSHES = 8192,  /* sends without an answer; those of low priority may fill half of it, and of the bytes */
    REDIS_MAX_RAW = 262144,   /* raw messages being stored */
    REDIS_MAX_PUSH_BYTES = 64 * 1024 * 1024,
    REDIS_ID_S = 600, /* an idempotency id is remembered */
    REDIS_TICK_MS = 1000,
    REDIS_DEAD_MS = 3000,  /* without a heartbeat a node is dead */
    REDIS_DEAF_MS = 3500,  /* without its probe coming back a subscription is made anew */
    REDIS_PROBE_MS = 5000, /* and the node is not ready */
};

enum redis_phase {
    REDIS_DOWN,    /* no command connection */
    REDIS_SETUP,   /* connected; version and functions are looked after */
    REDIS_OPEN,    /* commands work */
    REDIS_LEAVING, /* commands work; the node has said goodbye */
};

struct redis_batch; /* sends collected for one call (redis_push.c) */
struct ingest_entry;

struct redis_store {
    struct store store;
    struct store_up up;
    const struct config *cfg;
    struct event_base *loop;
    struct metrics *metrics;
    const char *node_base; /* the node's name as the process knows it */
    char node[200];        /* the name in the cluster: a new incarnation when it was fenced */
    struct redis_url url;
    struct redis_conn *cmd;
    struct redis_sub *sub;
    struct jobmaker jm;
    struct resp_args args; /* the command under construction */
    /* state */
    enum redis_phase phase;
    bool sub_ready, joined;
    bool known;                 /* the other nodes have heard of this one */
    unsigned renames;           /* names given up: a heartbeat's answer is about the name it was sent under */
    char role[24];              /* what the last heartbeat said it does with raw messages */
    struct span prefix;         /* of keys and channels, as configured */
    char run_id[64];            /* of the server */
    bool leaving, stepping_out; /* the goodbye has begun; the node is no longer to be a reader */
    uint64_t leave_due_ms;
    bool tried, told, told_state, told_ready;
    char why[120]; /* why it is away */
    uint64_t probe_back_ms, sub_since_ms;
    struct event *tick;
    struct members members;
    /* answers to be given in the next turn */
    struct list finished;
    struct event *finish;
    /* interest waiting for its confirmation, oldest first */
    struct list interests;
    struct event *interest_timer;
    /* users */
    struct map users;
    uint32_t coming[REDIS_SUB_AHEAD]; /* hashes of the users that the next messages are for; 0: for something else */
    unsigned ncome;                   /* how many of those messages have come */
    struct list parts[REDIS_PARTS];
    struct redis_rooms *rooms;       /* redis_rooms.c */
    struct redis_presence *presence; /* redis_presence.c */
    struct redis_watch *watch;       /* redis_watch.c */
    struct redis_forwards *forwards; /* redis_forward.c */
    struct map kept;                 /* detaches to be made once Redis is back */
    /* sends */
    struct redis_batch *batch; /* open */
    struct event *batch_turn;
    struct resp_args keys; /* of the open batch; `sends` its arguments */
    struct resp_args sends, head;
    unsigned pushes; /* without an answer */
    size_t push_bytes;
    struct redis_ingest *ingest; /* redis_ingest.c: raw messages */
    struct redis_sweep *sweep;   /* redis_sweep.c */
    struct redis_audit *audit;   /* redis_audit.c */
    uint64_t refused_window_ms;
    unsigned refused_seen;
    struct log_limit noise;
};

/* ---- redis_store.c ---- */
/* Ends an op in the next turn; sentence may be NULL. */
void redis_finish(struct redis_store *s, struct op *op, enum op_status status, const char *sentence);
/* Ends an op now (from a callback of the loop). */
void redis_finish_now(struct redis_store *s, struct op *op, enum op_status status, const char *sentence);
/* Looks at a reply: what it means for the store, and the status and sentence for whoever waits for it. */
enum op_status redis_judge(struct redis_store *s, const struct redisReply *r, char *sentence, size_t len);
bool redis_store_usable(const struct redis_store *s);
/* Says state and readiness upstairs where they changed. */
void redis_tell(struct redis_store *s);

/* ---- redis_session.c ---- */
void redis_attach(struct redis_store *s, struct op *op);
void redis_fetch(struct redis_store *s, struct op *op);
void redis_detach(struct redis_store *s, struct op *op);
void redis_ack(struct redis_store *s, struct op *op);
/* Makes the detaches that could not be made. */
void redis_kept_flush(struct redis_store *s);
void redis_kept_free(struct redis_store *s);
/* The user is not on this node: takes its registration back. */
void redis_unregister(struct redis_store *s, const char *user);

/* ---- redis_push.c ---- */
void redis_push(struct redis_store *s, struct op *op);
/* Stores a raw message under its claim, or passes it on live; redis_ingest_outcome follows always. */
void redis_push_raw(struct redis_store *s, struct ingest_entry *e);
/* Is there room for one more? */
bool redis_push_room(const struct redis_store *s);
void redis_batch_flush(struct redis_store *s);
void redis_on_batch_turn(int fd, short what, void *arg);
void redis_push_free(struct redis_store *s);

/* ---- redis_recv.c ---- */
void redis_on_coming(void *arg, const struct span *channels, unsigned n);
void redis_on_message(void *arg, struct span channel, struct span payload, bool by_pattern);
void redis_refuse(struct redis_store *s, struct span channel, struct span payload, const char *why);

#endif
