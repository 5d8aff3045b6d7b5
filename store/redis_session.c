/*
 * redis_session.c - attach, fetch, detach and ack of users' devices.
 *
 * Idea: each is one function call whose argument is the op itself. A user enters the table (redis_users.c) when its
 * attach is sent, not when it is answered: what is published in between may arrive before the answer and must pass.
 *
 * A detach is never lost: when it cannot be sent, or the connection dies before its answer, what it says is kept, one
 * entry a user and device (the higher ack, and whether the user is gone), and sent again before anything else once
 * Redis is back. An attach whose answer was lost, of a user nobody else is attached with, is taken back the same way;
 * the shard that asks again finds the order kept, since all commands stand in one queue.
 *
 * Dispatcher thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/config.h"
#include "core/metrics.h"
#include "proto/room_rules.h"
#include "store/redis_keys.h"
#include "store/redis_page.h"
#include "store/redis_store.h"
#include "store/redis_users.h"

enum { KEPT_A_TURN = 1024 };

static bool refuse_when_away(struct redis_store *s, struct op *op)
{
    char sentence[96];
    if (redis_store_usable(s))
        return false;
    snprintf(sentence, sizeof(sentence), "Redis is away: %.70s", s->why);
    redis_finish(s, op, OP_AWAY, sentence);
    return true;
}

static void refuse_unsent(struct redis_store *s, struct op *op, enum redis_sent sent)
{
    if (sent == REDIS_TOO_MUCH)
        redis_finish(s, op, OP_FULL, "Too much is waiting for Redis.");
    else
        redis_finish(s, op, OP_AWAY, "Redis is away.");
}

static const char *kind_of(bool named)
{
    return named ? "n" : "g";
}

static void arg_sessions(struct redis_store *s)
{
    resp_u64(&s->args, s->cfg->session_s);
    resp_u64(&s->args, s->cfg->guest_session_s);
}

/* ---- detaches that are kept ---- */

struct kept {
    bool named, last;
    uint64_t acked;
    size_t user_len, len;
    char key[]; /* user NUL device NUL */
};

static void keep(struct redis_store *s, const char *user, const char *device, bool named, bool last, uint64_t acked)
{
    size_t user_len = strlen(user), device_len = strlen(device), len = user_len + 1 + device_len;
    struct kept *fresh = malloc(sizeof(*fresh) + len + 1);
    if (!fresh) {
        log_limited(&s->noise, 5, LOG_ERROR, "redis", "memory is out: a leave is forgotten");
        return;
    }
    memcpy(fresh->key, user, user_len + 1);
    memcpy(fresh->key + user_len + 1, device, device_len + 1);
    *fresh = (struct kept){.named = named, .last = last, .acked = acked, .user_len = user_len, .len = len};
    struct kept *k = map_get(&s->kept, span_of(fresh->key, len));
    if (k) {
        k->last |= last;
        if (acked > k->acked)
            k->acked = acked;
        free(fresh);
    } else if (!map_put(&s->kept, span_of(fresh->key, len), fresh)) {
        free(fresh);
    }
}

struct detach {
    bool named, last;
    uint64_t acked;
    char *device;
    char user[];
};

static struct detach *detach_new(const char *user, const char *device, bool named, bool last, uint64_t acked)
{
    size_t user_len = strlen(user) + 1, device_len = strlen(device) + 1;
    struct detach *d = malloc(sizeof(*d) + user_len + device_len);
    if (!d)
        return NULL;
    *d = (struct detach){.named = named, .last = last, .acked = acked, .device = d->user + user_len};
    memcpy(d->user, user, user_len);
    memcpy(d->device, device, device_len);
    return d;
}

static void on_detached(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct detach *d = arg;
    char why[96];
    enum redis_fault fault = redis_fault_of(r);
    if (fault != REDIS_FINE && fault != REDIS_REJECTED)
        keep(s, d->user, d->device, d->named, d->last, d->acked);
    (void)redis_judge(s, r, why, sizeof(why));
    free(d);
}

static void send_detach(struct redis_store *s, const char *user, const char *device, bool named, bool last,
                        uint64_t acked)
{
    struct detach *d = redis_store_usable(s) ? detach_new(user, device, named, last, acked) : NULL;
    if (!d) {
        keep(s, user, device, named, last, acked);
        return;
    }
    struct span name = span_str(user);
    uint8_t part = redis_user_part(s, name);
    redis_fcall(s, "crier_detach", 3);
    redis_key(s, &s->args, part, "m", name);
    redis_key(s, &s->args, part, "q", name);
    redis_key(s, &s->args, part, "o", span_str(s->node));
    resp_arg(&s->args, name);
    resp_str(&s->args, s->node);
    resp_str(&s->args, device);
    resp_str(&s->args, kind_of(named));
    resp_u64(&s->args, acked);
    resp_str(&s->args, last ? "1" : "0");
    arg_sessions(s);
    if (redis_send(s, on_detached, d, true) == REDIS_SENT)
        return;
    keep(s, user, device, named, last, acked);
    free(d);
}

void redis_unregister(struct redis_store *s, const char *user)
{
    send_detach(s, user, "", false, true, 0);
}

void redis_kept_flush(struct redis_store *s)
{
    size_t it = 0;
    struct kept *k;
    for (unsigned n = 0; n < KEPT_A_TURN && redis_store_usable(s) && (k = map_next(&s->kept, &it)) != NULL; n++) {
        map_remove(&s->kept, span_of(k->key, k->len));
        send_detach(s, k->key, k->key + k->user_len + 1, k->named, k->last, k->acked);
        free(k);
    }
}

void redis_kept_free(struct redis_store *s)
{
    size_t it = 0;
    struct kept *k;
    while ((k = map_next(&s->kept, &it)) != NULL)
        free(k);
    map_fini(&s->kept);
}

void redis_detach(struct redis_store *s, struct op *op)
{
    struct op_detach *d = &op->detach;
    struct ruser *u = d->last ? redis_user(s, span_str(d->user)) : NULL;
    if (u)
        redis_user_unwant(s, u);
    send_detach(s, d->user, d->device, d->named, d->last, d->acked);
    redis_finish(s, op, OP_OK, NULL);
}

/* ---- attach ---- */

/* Nobody knows whether it was carried out: if no other session holds the user here, it is taken back. */
static void attach_failed(struct redis_store *s, struct op *op, struct ruser *u)
{
    if (!u->registered || u->attached || u->refs > 1)
        return;
    u->registered = false;
    send_detach(s, op->attach.user, "", false, true, 0);
}

static enum op_status read_attach(struct redis_store *s, struct op_attach *a, struct ruser *u,
                                  const struct redisReply *r)
{
    if (!redis_integers(r, 6))
        return OP_AWAY;
    a->page.top = redis_integer(r, 0);
    a->cursor = redis_integer(r, 1);
    a->page.gap = redis_integer(r, 2);
    a->page.more = redis_integer(r, 4) != 0;
    a->pending = redis_integer(r, 5);
    uint64_t reached = 0;
    if (!redis_page_read(s, TARGET_USER, a->user, r, 6, &a->page, &reached))
        return OP_FULL;
    if (a->page.top > u->last)
        u->last = a->page.top;
    u->attached |= u->registered;
    return OP_OK;
}

static void on_attached(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct op *op = arg;
    struct ruser *u = redis_user(s, span_str(op->attach.user)); /* our reference keeps it there */
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK) {
        status = read_attach(s, &op->attach, u, r);
        snprintf(why, sizeof(why), "%s", status == OP_FULL ? "Memory is out." : "Redis gave a strange answer.");
    }
    if (status != OP_OK) {
        redis_page_drop(&op->attach.page);
        attach_failed(s, op, u);
    }
    redis_user_unref(s, u);
    redis_finish_now(s, op, status, why);
}

void redis_attach(struct redis_store *s, struct op *op)
{
    struct op_attach *a = &op->attach;
    if (refuse_when_away(s, op))
        return;
    redis_kept_flush(s);
    struct span name = span_str(a->user);
    struct ruser *u = redis_user_want(s, name);
    if (!u) {
        redis_finish(s, op, OP_FULL, "Memory is out.");
        return;
    }
    redis_fcall(s, "crier_attach", 3);
    redis_key(s, &s->args, u->part, "m", name);
    redis_key(s, &s->args, u->part, "q", name);
    redis_key(s, &s->args, u->part, "o", span_str(s->node));
    resp_arg(&s->args, name);
    resp_str(&s->args, s->node);
    resp_str(&s->args, a->device);
    resp_str(&s->args, kind_of(a->named));
    if (a->has_since)
        resp_u64(&s->args, a->since);
    else
        resp_str(&s->args, "-1");
    resp_u64(&s->args, REDIS_PAGE);
    resp_u64(&s->args, REDIS_PAGE_BYTES);
    arg_sessions(s);
    enum redis_sent sent = redis_send(s, on_attached, op, false);
    if (sent == REDIS_SENT)
        return;
    attach_failed(s, op, u);
    redis_user_unref(s, u);
    refuse_unsent(s, op, sent);
}

/* ---- fetch ---- */

static enum redis_sent send_fetch(struct redis_store *s, struct op *op, uint64_t from);

static void on_fetched(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct op *op = arg;
    const struct op_fetch *f = &op->fetch;
    struct op_page *page = &op->fetch.page;
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK && !redis_integers(r, 3)) {
        status = OP_AWAY;
        snprintf(why, sizeof(why), "Redis gave a strange answer.");
    }
    if (status == OP_OK) {
        page->top = redis_integer(r, 0);
        page->gap = redis_integer(r, 1);
        page->more = redis_integer(r, 2) != 0;
        uint64_t reached = 0;
        if (!redis_page_read(s, f->room ? TARGET_ROOM : TARGET_USER, f->user, r, 3, page, &reached)) {
            status = OP_FULL;
            snprintf(why, sizeof(why), "Memory is out.");
            redis_page_drop(page);
        } else if (page->njobs == 0 && page->more && reached > op->fetch.from) {
            redis_page_drop(page); /* nothing of this page was of use: the asker could not go on from it, so we do */
            if (send_fetch(s, op, reached) == REDIS_SENT)
                return;
            status = OP_AWAY;
        }
    }
    struct ruser *u = f->room ? NULL : redis_user(s, span_str(f->user));
    if (u && status == OP_OK && page->top > u->last)
        u->last = page->top;
    redis_finish_now(s, op, status, why);
}

static enum redis_sent send_fetch(struct redis_store *s, struct op *op, uint64_t from)
{
    struct span name = span_str(op->fetch.user);
    uint8_t part = redis_user_part(s, name);
    struct room_rule rule;
    redis_fcall(s, "crier_fetch", 2);
    redis_key(s, &s->args, part, op->fetch.room ? "R" : "m", name);
    redis_key(s, &s->args, part, op->fetch.room ? "h" : "q", name);
    resp_u64(&s->args, from);
    resp_u64(&s->args, REDIS_PAGE);
    resp_u64(&s->args, REDIS_PAGE_BYTES);
    if (op->fetch.room && room_history(s->cfg, name, &rule))
        resp_u64(&s->args, rule.ttl_s);
    return redis_send(s, on_fetched, op, false);
}

void redis_fetch(struct redis_store *s, struct op *op)
{
    if (refuse_when_away(s, op))
        return;
    enum redis_sent sent = send_fetch(s, op, op->fetch.from);
    if (sent == REDIS_SENT)
        metric_add(s->metrics, M_FETCHES, 1);
    else
        refuse_unsent(s, op, sent);
}

/* ---- ack ---- */

/* An op's entries leave as one call a partition; the op ends with the last answer, well only if all went well. */
struct acking {
    struct op *op;
    unsigned left;
    enum op_status status;
    char why[96];
};

static void ack_answered(struct redis_store *s, struct acking *a)
{
    if (--a->left > 0)
        return;
    if (a->status == OP_OK)
        metric_add(s->metrics, M_ACKS, a->op->ack.n);
    redis_finish_now(s, a->op, a->status, a->why);
    free(a);
}

static void on_acked(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct acking *a = arg;
    char why[96];
    if (redis_judge(s, r, why, sizeof(why)) != OP_OK) {
        a->status = OP_AWAY; /* full or away: the shard has to try again */
        snprintf(a->why, sizeof(a->why), "%s", why);
    }
    ack_answered(s, a);
}

struct acked {
    const struct op_ack_entry *e;
    uint8_t part;
};

static int by_partition_and_user(const void *pa, const void *pb)
{
    const struct acked *a = pa, *b = pb;
    if (a->part != b->part)
        return a->part < b->part ? -1 : 1;
    return strcmp(a->e->user, b->e->user);
}

static bool same_user(const struct acked *a, const struct acked *b)
{
    return strcmp(a->e->user, b->e->user) == 0;
}

/* One call for v[0..n), all of one partition, sorted by user. */
static bool send_ack(struct redis_store *s, struct acking *a, const struct acked *v, size_t n)
{
    unsigned users = 0;
    for (size_t i = 0; i < n; i++)
        users += i == 0 || !same_user(&v[i - 1], &v[i]);
    redis_fcall(s, "crier_ack", users * 2);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && same_user(&v[i - 1], &v[i]))
            continue;
        redis_key(s, &s->args, v[i].part, "m", span_str(v[i].e->user));
        redis_key(s, &s->args, v[i].part, "q", span_str(v[i].e->user));
    }
    arg_sessions(s);
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && same_user(&v[i], &v[end]))
            end++;
        resp_u64(&s->args, end - i);
        for (; i < end; i++) {
            resp_str(&s->args, v[i].e->device);
            resp_str(&s->args, kind_of(v[i].e->named));
            resp_u64(&s->args, v[i].e->seq);
        }
    }
    return redis_send(s, on_acked, a, false) == REDIS_SENT;
}

static void send_acks(struct redis_store *s, struct acking *a, struct acked *v, size_t n)
{
    qsort(v, n, sizeof(*v), by_partition_and_user);
    a->left = 1; /* ours, so that it lives to the end of the loop */
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && v[end].part == v[i].part)
            end++;
        a->left++;
        if (!send_ack(s, a, v + i, end - i)) {
            a->left--;
            a->status = OP_AWAY;
            snprintf(a->why, sizeof(a->why), "Too much is waiting for Redis.");
        }
        i = end;
    }
    if (a->left > 1) {
        a->left--;
        return;
    }
    redis_finish(s, a->op, a->status, a->why); /* nothing was sent: not from inside submit */
    free(a);
}

void redis_ack(struct redis_store *s, struct op *op)
{
    size_t n = op->ack.n;
    if (refuse_when_away(s, op))
        return;
    if (n == 0) {
        redis_finish(s, op, OP_OK, NULL);
        return;
    }
    struct acked *v = malloc(n * sizeof(*v));
    struct acking *a = calloc(1, sizeof(*a));
    if (v && a) {
        for (size_t i = 0; i < n; i++)
            v[i] = (struct acked){&op->ack.v[i], redis_user_part(s, span_str(op->ack.v[i].user))};
        a->op = op;
        send_acks(s, a, v, n);
    } else {
        free(a);
        redis_finish(s, op, OP_AWAY, "Memory is out.");
    }
    free(v);
}
