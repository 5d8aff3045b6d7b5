/*
 * redis_ledger_query.c - reading the ledger, and sending again.
 *
 * Idea: an index page names targets in order; each is read (or retried) by one call, all of a page pipelined; the
 * answers come in that order and are written straight into the open answer. When more targets are there and fewer than
 * `limit` were shown, the next page follows. A retry needs the payload too, which is fetched once and kept until a
 * target names another one.
 *
 * A walk (`struct walk`) belongs to its callbacks: `left` counts those under way, and the last one goes on or ends the
 * op. Bounded: at most PAGE calls at a time, at most TARGETS_A_CALL targets are looked at for one question; past that
 * the answer says `more` and a cursor.
 *
 * Dispatcher thread.
 */
#include <stdio.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/config.h"
#include "core/op.h"
#include "proto/envelope.h"
#include "store/ledger_view.h"
#include "store/query.h"
#include "store/redis_keys.h"
#include "store/redis_ledger.h"
#include "store/redis_page.h"
#include "store/redis_store.h"
#include "store/user_view.h"

enum { PAGE = 100, DEFAULT_LIMIT = 100, TARGETS_A_CALL = 5000, ANSWER_HEAD = 4096, FIELD_MAX = 160 };

struct target {
    size_t len;
    char field[FIELD_MAX]; /* "u:alice" */
    char hash[LEDGER_HASH + 1];
};

struct walk {
    struct op *op;
    struct span id; /* the op's */
    unsigned left, limit, shown, looked;
    bool failed, known, more, told;
    enum op_status status;
    char why[96];
    struct buf out;
    struct emit e;
    unsigned n, next; /* targets of the page; the first that was not asked about */
    unsigned read;    /* and the first that is not answered */
    struct target v[PAGE];
    char cursor[FIELD_MAX];
    /* retry */
    char hash[LEDGER_HASH + 1]; /* of the payload at hand; empty: none */
    char *payload;
    size_t payload_len;
    uint32_t ttl_s;
};

static void step(struct redis_store *s, struct walk *w);

static bool retrying(const struct walk *w)
{
    return w->op->query.kind == QUERY_RETRY;
}

/* ---- the end ---- */

static void finish(struct redis_store *s, struct walk *w)
{
    struct op *op = w->op;
    if (w->status == OP_OK && !w->known) {
        w->status = query_absent(op, "The ledger knows nothing of this message: it was not tracked, or so long ago "
                                     "that it is forgotten.");
    } else if (w->status == OP_OK) {
        emit_close(&w->e);
        if (w->cursor[0])
            emit_str(&w->e, SPAN_LIT("cursor"), span_str(w->cursor));
        emit_bool(&w->e, SPAN_LIT("more"), w->more);
        w->status = query_reply(op, &w->out, emit_end(&w->e));
    }
    buf_fini(&w->out);
    redis_finish(s, op, w->status, w->why);
    free(w->payload);
    free(w);
}

static void fail(struct walk *w, enum op_status status, const char *why)
{
    w->status = status;
    snprintf(w->why, sizeof(w->why), "%s", why);
}

static void answered(struct redis_store *s, struct walk *w)
{
    if (--w->left > 0)
        return;
    if (w->status == OP_OK)
        step(s, w);
    else
        finish(s, w);
}

/* True when the reply can be read. */
static bool good(struct redis_store *s, struct walk *w, const struct redisReply *r, int type)
{
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK && (r->type == type || r->type == REDIS_REPLY_NIL))
        return true;
    if (w->status == OP_OK)
        fail(w, status == OP_OK ? OP_AWAY : status, status == OP_OK ? "Redis gave a strange answer." : why);
    return false;
}

static void ask(struct redis_store *s, struct walk *w, redis_reply_cb *cb)
{
    enum redis_sent sent = redis_send(s, cb, w, false);
    if (sent == REDIS_SENT)
        w->left++;
    else
        fail(w, sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY, "Redis does not take more now.");
}

/* ---- one target ---- */

static struct span text(const struct redisReply *r)
{
    return r->type == REDIS_REPLY_STRING ? span_of(r->str, (size_t)r->len) : span_of(NULL, 0);
}

static struct span word(struct span *line)
{
    return span_cut(line, ' ');
}

static uint64_t number(struct span s)
{
    uint64_t v = 0;
    for (size_t i = 0; i < s.n && i < 19 && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    return v;
}

static void read_relay(struct ledger_target *t, struct span channel, struct span value)
{
    if (t->nrelays == LEDGER_RELAYS)
        return;
    struct ledger_relay *r = &t->relays[t->nrelays++];
    r->channel = channel;
    r->at_ms = number(word(&value));
    r->attempts = number(word(&value));
    r->state = word(&value);
    r->detail = value;
}

static void read_device_field(struct ledger_target *t, uint8_t letter, struct span name, struct span value)
{
    if (letter == 'x' && name.n == 0 && t->ndrops < LEDGER_DROPS) {
        uint64_t at = number(word(&value));
        t->drops[t->ndrops++] = (struct ledger_drop){value, 1, at};
        return;
    }
    struct ledger_device *d = name.n ? ledger_device(t, name) : NULL;
    if (!d)
        return;
    if (letter == 'w') {
        d->arrived_ms = number(word(&value));
        d->written_ms = number(word(&value));
        d->times = number(word(&value));
        d->node = word(&value);
        d->shard = number(value);
    } else if (letter == 'a') {
        d->acked = true;
        d->acked_ms = number(value);
    } else if (letter == 'x') {
        d->dropped_ms = number(word(&value));
        d->why = value;
    }
}

static void read_field(struct ledger_target *t, struct span field, struct span value)
{
    if (field.n >= 2 && field.p[1] == ':' && field.p[0] == 'X') {
        if (t->ndrops < LEDGER_DROPS)
            t->drops[t->ndrops++] = (struct ledger_drop){span_of(field.p + 2, field.n - 2), number(value), 0};
    } else if (field.n > 2 && field.p[1] == ':' && field.p[0] == 'r') {
        read_relay(t, span_of(field.p + 2, field.n - 2), value);
    } else if (field.n >= 2 && field.p[1] == ':') {
        read_device_field(t, field.p[0], span_of(field.p + 2, field.n - 2), value);
    } else if (SPAN_IS(field, "q")) {
        t->tried_ms = number(word(&value));
        t->seq = number(word(&value));
        t->expires_s = number(word(&value));
        t->nodes = number(word(&value));
        t->node = value;
    } else if (SPAN_IS(field, "e")) {
        t->escalate_ms = number(word(&value));
        t->escalate_to = value;
    } else if (SPAN_IS(field, "f")) {
        t->queued_ms = number(value);
    } else if (SPAN_IS(field, "n")) {
        t->attempts = number(value);
    } else if (SPAN_IS(field, "W")) {
        t->written = number(value);
    } else if (SPAN_IS(field, "L")) {
        t->last_ms = number(value);
    }
}

static int by_name(const void *a, const void *b)
{
    const struct ledger_device *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int c = memcmp(x->name.p, y->name.p, n);
    return c ? c : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

/* {now_s, waiting, {field, value...}, {device that has it...}, {device...}} */
static bool read_target(const struct redisReply *r, struct ledger_target *t)
{
    if (!redis_integers(r, 2) || r->elements < 5)
        return false;
    for (size_t i = 2; i < 5; i++) {
        if (r->element[i]->type != REDIS_REPLY_ARRAY)
            return false;
    }
    const struct redisReply *fields = r->element[2], *have = r->element[3], *all = r->element[4];
    t->now_s = redis_integer(r, 0);
    t->waiting = redis_integer(r, 1) != 0;
    t->known = fields->elements > 0;
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        read_field(t, text(fields->element[i]), text(fields->element[i + 1]));
    for (size_t i = 0; i < all->elements; i++)
        (void)ledger_device(t, text(all->element[i]));
    for (size_t i = 0; i < have->elements; i++) {
        struct ledger_device *d = ledger_device(t, text(have->element[i]));
        if (d)
            d->acked = true;
    }
    qsort(t->devices, t->ndevices, sizeof(t->devices[0]), by_name);
    return true;
}

static void show_target(struct walk *w, const struct target *of, const struct redisReply *r)
{
    struct ledger_target t = {.kind = TARGET_ALL};
    if (!ledger_field_parse(span_of(of->field, of->len), &t.kind, &t.name) || !read_target(r, &t)) {
        fail(w, OP_AWAY, "Redis gave a strange answer.");
        return;
    }
    w->known |= t.known;
    if (w->op->query.kind == QUERY_UNDELIVERED && ledger_delivered(&t))
        return;
    w->shown++;
    ledger_emit(&t, &w->e);
}

static void on_target(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct walk *w = arg;
    const struct target *of = &w->v[w->read++];
    if (good(s, w, r, REDIS_REPLY_ARRAY) && w->status == OP_OK)
        show_target(w, of, r);
    answered(s, w);
}

static void ask_target(struct redis_store *s, struct walk *w, enum target_kind kind, struct span name)
{
    bool user = kind == TARGET_USER;
    redis_fcall(s, "crier_track_read", user ? 3 : 1);
    redis_ledger_key(s, &s->args, kind, name, w->id);
    if (user) {
        redis_key(s, &s->args, redis_part(name), "m", name);
        redis_key(s, &s->args, redis_part(name), "q", name);
    }
    ask(s, w, on_target);
}

/* ---- again ---- */

static void on_retried(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct walk *w = arg;
    const struct target *of = &w->v[w->read++];
    if (good(s, w, r, REDIS_REPLY_ARRAY) && w->status == OP_OK) {
        if (redis_integers(r, 3) && redis_integer(r, 0) <= RETRY_LIVE) {
            enum ledger_retry result = (enum ledger_retry)redis_integer(r, 0);
            w->known |= result != RETRY_UNTRACKED;
            w->shown++;
            ledger_emit_retry(span_of(of->field + 2, of->len - 2), result, redis_integer(r, 1), redis_integer(r, 2),
                              &w->e);
        } else {
            fail(w, OP_AWAY, "Redis gave a strange answer.");
        }
    }
    answered(s, w);
}

static void ask_retry(struct redis_store *s, struct walk *w, struct span user, const char *hash)
{
    uint8_t part = redis_part(user);
    redis_fcall(s, "crier_track_retry", 3);
    redis_ledger_key(s, &s->args, TARGET_USER, user, w->id);
    redis_key(s, &s->args, part, "m", user);
    redis_key(s, &s->args, part, "q", user);
    redis_channel(s, &s->args, "n:", span_of(NULL, 0));
    resp_str(&s->args, "PUBLISH");
    resp_u64(&s->args, s->cfg->inbox_cap);
    resp_arg(&s->args, user);
    resp_arg(&s->args, span_of(w->payload, w->payload_len));
    resp_u64(&s->args, w->ttl_s);
    resp_arg(&s->args, w->id);
    resp_u64(&s->args, s->cfg->ledger_ttl_s);
    resp_str(&s->args, hash);
    resp_str(&s->args, s->node);
    ask(s, w, on_retried);
}

static void on_payload(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct walk *w = arg;
    struct job_terms terms;
    char why[120];
    if (good(s, w, r, REDIS_REPLY_STRING) && w->status == OP_OK) {
        free(w->payload);
        w->payload = span_dup(text(r));
        w->payload_len = r->type == REDIS_REPLY_STRING ? (size_t)r->len : 0;
        struct span p = span_of(w->payload, w->payload_len);
        if (!w->payload || job_read_terms(&s->jm, p, &terms, why, sizeof(why)) != JOB_MADE)
            fail(w, OP_FULL, "The payload cannot be read again.");
        else
            w->ttl_s = terms.ttl_s != TTL_UNSET ? terms.ttl_s : s->cfg->ttl_s;
    }
    answered(s, w);
}

static void ask_payload(struct redis_store *s, struct walk *w, const char *hash)
{
    snprintf(w->hash, sizeof(w->hash), "%s", hash);
    resp_reset(&s->args);
    resp_str(&s->args, "HGET");
    redis_key(s, &s->args, redis_part(w->id), "x", w->id);
    const struct span pieces[] = {SPAN_LIT("p:"), span_str(hash)};
    resp_join(&s->args, pieces, ARRAY_LEN(pieces));
    ask(s, w, on_payload);
}

/* ---- the walk ---- */

static void add_target(struct walk *w, struct span field, struct span hash)
{
    struct target *t = &w->v[w->n];
    if (w->n == PAGE || field.n >= sizeof(t->field) || hash.n >= sizeof(t->hash))
        return;
    memcpy(t->field, field.p, field.n);
    t->field[field.n] = '\0';
    t->len = field.n;
    if (hash.n)
        memcpy(t->hash, hash.p, hash.n);
    t->hash[hash.n] = '\0';
    w->n++;
}

static void on_index(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct walk *w = arg;
    if (!good(s, w, r, REDIS_REPLY_ARRAY)) {
        w->n = 0;
    } else if (!redis_integers(r, 2)) {
        fail(w, OP_AWAY, "Redis gave a strange answer.");
    } else {
        w->told = true;
        w->known |= redis_integer(r, 0) != 0;
        w->more = redis_integer(r, 1) != 0;
        w->n = w->next = w->read = 0;
        for (size_t i = 2; i + 1 < r->elements; i += 2)
            add_target(w, text(r->element[i]), text(r->element[i + 1]));
    }
    answered(s, w);
}

static void ask_index(struct redis_store *s, struct walk *w)
{
    unsigned room = w->limit - w->shown;
    redis_fcall(s, "crier_track_targets", 1);
    redis_key(s, &s->args, redis_part(w->id), "x", w->id);
    resp_str(&s->args, w->cursor);
    resp_u64(&s->args, room < PAGE ? room : PAGE);
    ask(s, w, on_index);
}

/* One user alone: of the index only the payload's name is needed, and that for a retry. */
static void on_hash(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct walk *w = arg;
    if (good(s, w, r, REDIS_REPLY_STRING) && w->status == OP_OK) {
        struct span hash = text(r);
        if (hash.n && hash.n < sizeof(w->v[0].hash)) {
            memcpy(w->v[0].hash, hash.p, hash.n);
            w->v[0].hash[hash.n] = '\0';
        } else {
            w->n = 0; /* not tracked, or not to this user */
        }
    }
    answered(s, w);
}

static void begin_with_user(struct redis_store *s, struct walk *w, const char *user)
{
    char field[FIELD_MAX];
    int n = snprintf(field, sizeof(field), "u:%s", user);
    w->told = true;
    add_target(w, span_of(field, n > 0 ? (size_t)n : 0), span_of(NULL, 0));
    if (!retrying(w)) {
        w->left++;
        answered(s, w);
        return;
    }
    resp_reset(&s->args);
    resp_str(&s->args, "HGET");
    redis_key(s, &s->args, redis_part(w->id), "x", w->id);
    resp_str(&s->args, field);
    ask(s, w, on_hash);
    if (w->left == 0)
        finish(s, w);
}

/* Asks about what is left of the page, as far as the payload at hand allows. */
static void ask_page(struct redis_store *s, struct walk *w)
{
    for (; w->next < w->n && w->status == OP_OK; w->next++) {
        const struct target *t = &w->v[w->next];
        enum target_kind kind = TARGET_ALL;
        struct span name = span_of(NULL, 0);
        bool retry = retrying(w);
        if (!ledger_field_parse(span_of(t->field, t->len), &kind, &name) || (retry && kind != TARGET_USER)) {
            if (w->left)
                return; /* answers come in order: those before first */
            w->known |= kind != TARGET_USER;
            w->read++;
            continue;
        }
        if (retry && strcmp(w->hash, t->hash) != 0) {
            if (w->left == 0)
                ask_payload(s, w, t->hash);
            return;
        }
        if (retry)
            ask_retry(s, w, name, t->hash);
        else
            ask_target(s, w, kind, name);
    }
}

static void step(struct redis_store *s, struct walk *w)
{
    if (w->next < w->n)
        ask_page(s, w);
    if (w->left)
        return;
    if (w->n) {
        w->looked += w->n;
        memcpy(w->cursor, w->v[w->n - 1].field, w->v[w->n - 1].len + 1);
        w->n = w->next = w->read = 0;
    }
    bool on = w->status == OP_OK && (!w->told || w->more) && w->shown < w->limit && w->looked < TARGETS_A_CALL;
    if (on)
        ask_index(s, w);
    if (w->left == 0)
        finish(s, w);
}

void redis_ledger_query(struct redis_store *s, struct op *op)
{
    const struct op_query *q = &op->query;
    struct walk *w = calloc(1, sizeof(*w));
    if (!w) {
        redis_finish(s, op, OP_FULL, "Memory is out.");
        return;
    }
    w->op = op;
    w->id = span_str(q->args[0]);
    w->limit = (unsigned)query_number(op, 2, DEFAULT_LIMIT);
    snprintf(w->cursor, sizeof(w->cursor), "%s", q->args[3] ? q->args[3] : "");
    buf_init(&w->out, ANSWER_HEAD + (size_t)w->limit * LEDGER_TARGET_BYTES);
    emit_begin(&w->e, query_codec(op), &w->out);
    emit_str(&w->e, SPAN_LIT("id"), w->id);
    emit_list(&w->e, retrying(w) ? SPAN_LIT("results") : SPAN_LIT("recipients"));
    if (q->args[1]) {
        begin_with_user(s, w, q->args[1]);
        return;
    }
    ask_index(s, w);
    if (w->left == 0)
        finish(s, w);
}
