/*
 * ledger_view.h - what the ledger knows of a tracked message and one target, what follows from it, and how the server
 * API shows it; both back-ends fill it. Pure; dispatcher thread.
 */
#ifndef STORE_LEDGER_VIEW_H
#define STORE_LEDGER_VIEW_H

#include "core/job.h"
#include "proto/emit.h"

#define LEDGER_DEVICES 32
#define LEDGER_DROPS   8
#define LEDGER_RELAYS  8
/* What a target can take in an answer, in either format. */
#define LEDGER_TARGET_BYTES (8 * 1024 + LEDGER_DEVICES * 2048)

struct ledger_device {
    struct span name, node, why;
    uint64_t arrived_ms, written_ms, acked_ms, dropped_ms; /* unix ms; 0: not */
    uint64_t times;                                        /* how often it was written */
    uint64_t shard;
    bool acked; /* acked_ms is 0 when only its cursor says so */
};

struct ledger_drop {
    struct span why;
    uint64_t count, at_ms;
};

/* What came of bringing it by one of the relay's channels. */
struct ledger_relay {
    struct span channel, state, detail; /* state: sent, again, failed */
    uint64_t at_ms, attempts;
};

/* Spans are borrowed from whoever fills it. */
struct ledger_target {
    enum target_kind kind;
    struct span name; /* empty: all */
    bool known;       /* the ledger still has it */
    bool waiting;     /* its entry is in the inbox */
    uint64_t now_s;
    uint64_t queued_ms, tried_ms; /* the first attempt, the last one */
    uint64_t seq, expires_s;      /* of the last one; 0: live only */
    uint64_t nodes, attempts;
    struct span node; /* that stored it; "-": a backend's function call */
    unsigned ndevices;
    struct ledger_device devices[LEDGER_DEVICES];
    unsigned ndrops; /* without a device */
    struct ledger_drop drops[LEDGER_DROPS];
    uint64_t written, last_ms; /* rooms and all: counts */
    uint64_t escalate_ms;      /* when the relay is to bring it; 0: never */
    struct span escalate_to;   /* "wecom,webhook" */
    unsigned nrelays;
    struct ledger_relay relays[LEDGER_RELAYS];
};

/* The device of that name, added if it is new; NULL: there are too many. */
struct ledger_device *ledger_device(struct ledger_target *t, struct span name);

/* "acked", "relayed", "written", "queued", "expired", "dropped", "unknown" */
const char *ledger_state(const struct ledger_target *t);
/* Has somebody got it? Rooms and all are counted, not named: they always count as delivered. */
bool ledger_delivered(const struct ledger_target *t);

/* One item of the open list. */
void ledger_emit(const struct ledger_target *t, struct emit *e);

/* What a retry came to. */
enum ledger_retry { RETRY_UNTRACKED, RETRY_HAS_IT, RETRY_SHOWN, RETRY_STORED, RETRY_LIVE };
void ledger_emit_retry(struct span user, enum ledger_retry r, uint64_t seq, uint64_t nodes, struct emit *e);

/* Targets as the index writes them: "u:alice", "r:news", "a:". False: none of these. */
bool ledger_field_parse(struct span field, enum target_kind *kind, struct span *name);

#endif
