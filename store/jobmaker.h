/*
 * jobmaker.h - turns what a publisher sent (P, PROTOCOL.md section 3) into a job, once, when it reaches this node.
 */
#ifndef STORE_JOBMAKER_H
#define STORE_JOBMAKER_H

#include "core/buf.h"
#include "core/job.h"

struct metrics;
struct pool;

struct jobmaker {
    struct buf scratch; /* unescaped strings of the envelope under work */
    struct metrics *metrics;
    struct pool *pool; /* jobs come from there; NULL: from the heap */
    size_t max_data;
    /* the name of the last message that nobody named: this node's, this incarnation's, and a count in base 36 */
    char name[40];
    unsigned name_len, count_at;
};

/* pooled: jobs are on their way and gone in a moment, not kept. */
void jobmaker_init(struct jobmaker *jm, struct metrics *m, size_t max_data, bool pooled);
void jobmaker_fini(struct jobmaker *jm);

/* Where a P came from and what the inbox says about it; these win over the members of P. */
struct job_source {
    enum target_kind kind;
    struct span target;
    uint64_t seq, prev, expires_s; /* seq 0: live only */
    struct span id;                /* empty: P's own, else one is made */
    struct span payload;
    bool again;          /* job.again */
    const uint8_t *hash; /* the first 4 bytes of SHA-1(target) where they are known, NULL: not */
};

enum job_made { JOB_MADE, JOB_REFUSED, JOB_NO_MEMORY };
/* New job with one reference in *out; JOB_REFUSED: `why` holds one sentence. */
enum job_made job_make(struct jobmaker *jm, const struct job_source *src, struct job **out, char *why,
                       size_t whylen) MUST_CHECK;

/* The same for a P without a place in an inbox that is for those alone who are here now: it says ttl 0, and has no id
 * that somebody would have to claim, and is not tracked. JOB_REFUSED: it is no such P, or broken. Not `wanted`: *out
 * stays NULL. */
enum job_made job_make_live(struct jobmaker *jm, const struct job_source *src, bool wanted,
                            struct job **out) MUST_CHECK;

/* What a store must know of a P before it is kept: time to live and id. */
struct job_terms {
    uint32_t ttl_s; /* TTL_UNSET: not said */
    struct span id; /* borrows from P and from the jobmaker until its next call */
    bool track;
};
enum job_made job_read_terms(struct jobmaker *jm, struct span payload, struct job_terms *out, char *why,
                             size_t whylen) MUST_CHECK;

#endif
