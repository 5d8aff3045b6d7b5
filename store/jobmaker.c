/*
 * jobmaker.c - P in, job out; both back-ends use it.
 *
 * Every job has an id. A stored message that nobody named is called after its inbox and seq, so all nodes that ever
 * make a job of it call it the same: "<seq in base 36>.<8 hex digits of SHA-1(user)>". A live-only one gets a name that
 * no other node and no other incarnation of this one will make: "<salt>-<count>", both in base 36.
 *
 * Dispatcher thread. The job copies everything; the scratch buffer is used again for the next P.
 */
#include "store/jobmaker.h"

#include <stdio.h>

#include "core/bytes16.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/metrics.h"
#include "core/pool.h"
#include "proto/envelope.h"
#include "proto/job_codec.h"

enum {
    ID_MAX = 40,
    SCRATCH_SLACK = 4096,
    SCRATCH_KEEP = 256 * 1024,
    JOB_PIECE = 1024, /* a job with 400 bytes of data or so */
#ifdef CRIER_DEBUG
    JOBS_KEPT = 0, /* so that sanitizers see each of them end */
#else
    JOBS_KEPT = 4096,
#endif
};

/* Base 36, most significant digit first; returns how many characters. */
static size_t base36(uint64_t v, char *to)
{
    char tmp[13], *p = tmp + sizeof(tmp);
    do {
        *--p = "0123456789abcdefghijklmnopqrstuvwxyz"[v % 36];
        v /= 36;
    } while (v);
    size_t n = (size_t)(tmp + sizeof(tmp) - p);
    memcpy(to, p, n);
    return n;
}

void jobmaker_init(struct jobmaker *jm, struct metrics *m, size_t max_data, bool pooled)
{
    *jm = (struct jobmaker){.metrics = m, .max_data = max_data};
    buf_init(&jm->scratch, max_data * 2 + SCRATCH_SLACK);
    jm->pool = pooled ? pool_new(JOB_PIECE, JOBS_KEPT) : NULL;
    jm->count_at = (unsigned)base36(random_u64() >> 16, jm->name);
    jm->name[jm->count_at++] = '-';
    jm->name[jm->count_at] = '0';
    jm->name_len = jm->count_at + 1;
}

void jobmaker_fini(struct jobmaker *jm)
{
    buf_fini(&jm->scratch);
    pool_free(jm->pool);
}

/* "<salt>-<count>": counts on, in the text itself. */
static struct span next_name(struct jobmaker *jm)
{
    unsigned i = jm->name_len;
    while (i > jm->count_at && jm->name[i - 1] == 'z')
        jm->name[--i] = '0';
    if (i > jm->count_at) {
        jm->name[i - 1] = jm->name[i - 1] == '9' ? 'a' : (char)(jm->name[i - 1] + 1);
    } else { /* one digit more; sixty-four bits have at most thirteen */
        jm->name[jm->count_at] = '1';
        jm->name[jm->name_len++] = '0';
    }
    return span_of(jm->name, jm->name_len);
}

/* "<seq>.<hash>" */
static struct span place_name(const struct job_source *src, char to[ID_MAX])
{
    uint8_t all[20];
    const uint8_t *hash = src->hash;
    if (!hash) {
        sha1(src->target, all);
        hash = all;
    }
    size_t n = base36(src->seq, to);
    to[n++] = '.';
    for (unsigned i = 0; i < 4; i++) {
        to[n++] = "0123456789abcdef"[hash[i] >> 4];
        to[n++] = "0123456789abcdef"[hash[i] & 15];
    }
    return span_of(to, n);
}

static enum job_made read_envelope(struct jobmaker *jm, struct span payload, struct envelope *env, char *why,
                                   size_t whylen)
{
    if (jm->scratch.cap > SCRATCH_KEEP)
        buf_fini(&jm->scratch);
    jm->scratch.len = 0;
    switch (envelope_parse(payload, jm->max_data, &jm->scratch, env, why, whylen)) {
    case ENVELOPE_OK:
        return JOB_MADE;
    case ENVELOPE_REFUSED:
        return JOB_REFUSED;
    case ENVELOPE_NO_MEMORY:
        break;
    }
    snprintf(why, whylen, "Memory is out.");
    return JOB_NO_MEMORY;
}

static enum job_made pack(struct jobmaker *jm, const struct job_source *src, const struct envelope *env,
                          struct job **out, char *why, size_t whylen)
{
    if (env->odd)
        metric_add(jm->metrics, M_ODD_ENVELOPES, 1);
    char id[ID_MAX];
    struct span name = src->id.n ? src->id : env->id;
    if (name.n == 0)
        name = src->seq ? place_name(src, id) : next_name(jm);
    struct job_head head = {.kind = src->kind,
                            .target = src->target,
                            .seq = src->seq,
                            .prev = src->prev,
                            .expires_s = src->expires_s,
                            .ts_ms = (src->seq ? src->seq : clock_real_us()) / 1000,
                            .id = name,
                            .event = env->event,
                            .from = env->from,
                            .collapse = env->collapse,
                            .priority = env->priority,
                            .track = env->track,
                            .format = env->format,
                            .data = env->data};
    struct job *j = job_pack_in(jm->pool, &head);
    if (!j) {
        snprintf(why, whylen, "Memory is out.");
        return JOB_NO_MEMORY;
    }
    j->born_us = clock_mono_us();
    *out = j;
    return JOB_MADE;
}

enum job_made job_make(struct jobmaker *jm, const struct job_source *src, struct job **out, char *why, size_t whylen)
{
    struct envelope env;
    enum job_made made = read_envelope(jm, src->payload, &env, why, whylen);
    return made == JOB_MADE ? pack(jm, src, &env, out, why, whylen) : made;
}

/* Cheaper than reading it; memmem is made for longer words. */
static bool mentions_ttl(struct span s)
{
    enum { LOOK = 18 }; /* bytes that sixteen beginnings of a word of three take up */
    if (s.n < LOOK)
        return memmem(s.p, s.n, "ttl", 3) != NULL;
    for (size_t i = 0;; i += 16) {
        const uint8_t *p = s.p + (i < s.n - LOOK ? i : s.n - LOOK);
        bytes16 hits = (bytes16)((bytes16_at(p) == 't') & (bytes16_at(p + 1) == 't') & (bytes16_at(p + 2) == 'l'));
        if (bytes16_first(hits) < 16)
            return true;
        if (i + LOOK >= s.n)
            return false;
    }
}

enum job_made job_make_live(struct jobmaker *jm, const struct job_source *src, bool wanted, struct job **out)
{
    struct envelope env;
    char why[120];
    *out = NULL;
    if (!mentions_ttl(src->payload))
        return JOB_REFUSED;
    enum job_made made = read_envelope(jm, src->payload, &env, why, sizeof(why));
    if (made == JOB_MADE && (env.ttl_s != 0 || env.id.n || env.track))
        return JOB_REFUSED;
    return made == JOB_MADE && wanted ? pack(jm, src, &env, out, why, sizeof(why)) : made;
}

enum job_made job_read_terms(struct jobmaker *jm, struct span payload, struct job_terms *out, char *why, size_t whylen)
{
    struct envelope env;
    enum job_made made = read_envelope(jm, payload, &env, why, whylen);
    if (made == JOB_MADE)
        *out = (struct job_terms){env.ttl_s, env.id, env.track};
    return made;
}
