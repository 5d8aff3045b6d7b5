/*
 * redis_page.c - replies of Redis' functions that hold entries. Dispatcher thread; pages own their jobs.
 */
#include "store/redis_page.h"

#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "store/redis_store.h"

enum { ENTRY_HEAD = 21 };

void redis_put_big_endian(uint8_t *to, unsigned n, uint64_t v)
{
    for (unsigned i = n; i-- > 0; v >>= 8)
        to[i] = (uint8_t)v;
}

/* One list entry: >I8 seq | >I8 prev | >I4 expires | B idlen | id | P. */
static bool read_entry(const struct redisReply *e, struct job_source *src)
{
    if (e->type != REDIS_REPLY_STRING || (size_t)e->len < ENTRY_HEAD)
        return false;
    const uint8_t *p = (const uint8_t *)e->str;
    size_t n = (size_t)e->len, idlen = p[20];
    if (n < ENTRY_HEAD + idlen)
        return false;
    src->seq = redis_big_endian(p, 8);
    src->prev = redis_big_endian(p + 8, 8);
    src->expires_s = redis_big_endian(p + 16, 4);
    src->id = span_of(p + ENTRY_HEAD, idlen);
    src->payload = span_of(p + ENTRY_HEAD + idlen, n - ENTRY_HEAD - idlen);
    return src->seq > 0;
}

bool redis_page_read(struct redis_store *s, enum target_kind kind, const char *name, const struct redisReply *r,
                     size_t first, struct op_page *page, uint64_t *reached)
{
    size_t n = r->elements > first ? r->elements - first : 0;
    if (n == 0)
        return true;
    page->jobs = calloc(n, sizeof(struct job *));
    if (!page->jobs)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct job_source src = {.kind = kind, .target = span_str(name)};
        char why[120] = "the entry is broken";
        enum job_made made = JOB_REFUSED;
        if (read_entry(r->element[first + i], &src)) {
            *reached = src.seq;
            made = job_make(&s->jm, &src, &page->jobs[page->njobs], why, sizeof(why));
        }
        switch (made) {
        case JOB_MADE:
            page->njobs++;
            break;
        case JOB_REFUSED:
            redis_refuse(s, src.target, src.payload, why);
            break;
        case JOB_NO_MEMORY:
            return false;
        }
    }
    return true;
}

bool redis_integers(const struct redisReply *r, size_t n)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (r->element[i]->type != REDIS_REPLY_INTEGER || r->element[i]->integer < 0)
            return false;
    }
    return true;
}

uint64_t redis_integer(const struct redisReply *r, size_t i)
{
    return (uint64_t)r->element[i]->integer;
}

void redis_page_drop(struct op_page *page)
{
    for (unsigned i = 0; i < page->njobs; i++)
        job_unref(page->jobs[i]);
    free(page->jobs);
    *page = (struct op_page){0};
}
