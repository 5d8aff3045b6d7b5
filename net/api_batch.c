/*
 * api_batch.c - POST /api/push/batch: an array of what POST /api/push takes, and a result for each.
 *
 * Runs on the shard that took the request; touches no other connection. All elements are read before the first is
 * submitted; one that is wrong costs the others nothing. The ops go to the store in the order of the array, FLIGHT at a
 * time, so that a batch does not fill the lane that everybody's ops go through. The state waits with the connection;
 * when the client is gone meanwhile it is dropped with what was not submitted yet, and the shard frees what comes back.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/config.h"
#include "net/api_push.h"
#include "net/http.h"
#include "net/push_answer.h"
#include "net/shard.h"
#include "proto/json.h"
#include "proto/mp.h"

#define RETRY_AFTER_S 1
#define FLIGHT        64

/* One element: an op to be submitted, or on its way (op == NULL), or back; or a refusal. */
struct element {
    struct push_made made;
    bool refused;
    struct push_fault fault;
};

struct batch {
    enum codec format;
    unsigned count, next, flight;
    struct element *v[API_BATCH_SIZE];
};

static void drop(void *arg)
{
    struct batch *b = arg;

    for (unsigned i = 0; i < b->count; i++) {
        op_free(b->v[i]->made.op);
        free(b->v[i]);
    }
    free(b);
}

/* ---- the answer ---- */

static bool write_element(const struct batch *b, const struct element *e, struct buf *out)
{
    struct push_refusal why;

    if (e->refused)
        return push_write_error(e->fault.code, e->fault.message, b->format, out);
    if (push_kept(e->made.op))
        return push_write_results(e->made.op, span_of(e->made.id, e->made.id_len), b->format, out);
    why = push_refusal(e->made.op);
    return push_write_error(why.code, why.message, b->format, out);
}

static bool write_all(const struct batch *b, struct buf *out)
{
    bool json = b->format == CODEC_JSON;
    bool ok = json ? buf_append_str(out, "{\"results\":[")
                   : mp_write_map(out, 1) && mp_write_str(out, SPAN_LIT("results")) && mp_write_array(out, b->count);

    for (unsigned i = 0; ok && i < b->count; i++)
        ok = (!json || i == 0 || buf_append_byte(out, ',')) && write_element(b, b->v[i], out);
    return ok && (!json || buf_append_str(out, "]}"));
}

/* Nothing was kept and all of it is worth sending again: then the whole call is. */
static bool all_later(const struct batch *b, struct push_refusal *why)
{
    for (unsigned i = 0; i < b->count; i++) {
        const struct element *e = b->v[i];
        if (e->refused || push_kept(e->made.op))
            return false;
        *why = push_refusal(e->made.op);
        if (why->status != 503)
            return false;
    }
    return true;
}

static void answer(struct conn *c, struct batch *b)
{
    size_t most = 64;
    struct push_refusal why;
    struct buf out;

    for (unsigned i = 0; i < b->count; i++)
        most += PUSH_ANSWER_MAX(b->v[i]->refused ? 1 : b->v[i]->made.op->push.ntargets);
    buf_init(&out, most);
    if (all_later(b, &why))
        http_fail(c, why.status, why.code, why.message, RETRY_AFTER_S);
    else if (write_all(b, &out))
        http_answer(c, 200, b->format == CODEC_JSON ? "application/json" : "application/msgpack", buf_span(&out),
                    "Cache-Control: no-store\r\n");
    else
        http_fail(c, 503, "no_memory", "done, but the broker is out of memory for the answer", 0);
    buf_fini(&out);
    drop(b);
}

/* ---- to the store and back ---- */

static void element_back(struct conn *c, void *arg, struct op *op);

/* Submits what there is room for; the answer when nothing is left. */
static void go_on(struct conn *c, struct batch *b)
{
    while (b->next < b->count && b->flight < FLIGHT) {
        struct element *e = b->v[b->next];
        struct op *op = e->made.op;
        if (op) {
            e->made.op = NULL;
            op->conn = c->id;
            op->serial = b->next;
            b->flight++;
            shard_submit(c->shard, op);
        }
        b->next++;
    }
    if (b->flight)
        http_wait_with(c, element_back, drop, b);
    else
        answer(c, b);
}

static void element_back(struct conn *c, void *arg, struct op *op)
{
    struct batch *b = arg;

    push_count(c->shard->m, op);
    b->v[op->serial]->made.op = op;
    b->flight--;
    go_on(c, b);
}

/* ---- the request ---- */

/* The elements of the array, one at a time, in either format. */
struct elements {
    enum codec format;
    struct json_reader json;
    struct mp_reader mp;
    uint32_t left;
};

/* Depths: an element's own bound is looked at when it is read. */
static bool open_array(struct elements *x, enum codec format, struct span body)
{
    struct json_value jv;
    struct mp_value mv;

    x->format = format;
    if (format == CODEC_JSON) {
        json_reader_init(&x->json, body, JSON_MAX_DEPTH);
        return json_next(&x->json, &jv) == JSON_T_OPEN_ARRAY;
    }
    mp_reader_init(&x->mp, body);
    if (!mp_read(&x->mp, &mv) || mv.kind != MP_ARRAY)
        return false;
    x->left = mv.count;
    return true;
}

/* 1: *out is the next one; 0: the array and the body end here; -1: malformed. */
static int next_element(struct elements *x, struct span *out)
{
    struct json_value v;
    const uint8_t *begin = x->mp.p;

    if (x->format == CODEC_JSON) {
        if (json_element(&x->json, &v)) {
            *out = v.raw;
            return 1;
        }
        return x->json.status == JSON_OK && json_next(&x->json, &v) == JSON_T_END ? 0 : -1;
    }
    if (x->left == 0)
        return x->mp.p == x->mp.end ? 0 : -1;
    x->left--;
    if (mp_skip(&x->mp, MP_MAX_DEPTH, NULL) != MP_OK)
        return -1;
    *out = span_of(begin, (size_t)(x->mp.p - begin));
    return 1;
}

static bool refuse(struct push_fault *f, unsigned status, const char *code, const char *message)
{
    f->status = status;
    f->code = code;
    snprintf(f->message, sizeof(f->message), "%s", message);
    return false;
}

static bool add(struct batch *b, struct span body, const struct config *cfg, struct push_fault *f)
{
    struct element *e = calloc(1, sizeof(*e));

    if (!e)
        return refuse(f, 503, "no_memory", "the broker is out of memory");
    b->v[b->count++] = e;
    e->refused = !api_push_make(cfg, b->format, body, span_of(NULL, 0), &e->made, &e->fault);
    if (e->refused)
        e->made.op = NULL;
    if (e->refused && e->fault.status == 503) {
        *f = e->fault;
        return false;
    }
    return true;
}

static bool read_batch(struct batch *b, struct span body, const struct config *cfg, struct push_fault *f)
{
    bool json = b->format == CODEC_JSON;
    struct elements x;
    struct span one;
    int more = -1;

    if (!open_array(&x, b->format, body))
        return refuse(f, 400, json ? "bad_json" : "bad_msgpack", "the body is not an array");
    while ((more = next_element(&x, &one)) > 0) {
        if (b->count == API_BATCH_SIZE)
            return refuse(f, 400, "bad_request", "a batch holds at most 1000 messages");
        if (!add(b, one, cfg, f))
            return false;
    }
    if (more < 0)
        return refuse(f, 400, json ? "bad_json" : "bad_msgpack", "the body is malformed, or nested too deep");
    return b->count ? true : refuse(f, 400, "bad_request", "the batch is empty");
}

void api_push_batch(struct conn *c, const struct http_request *r)
{
    struct push_fault fault = {503, "no_memory", "the broker is out of memory"};
    struct batch *b;

    if (shard_congested(c->shard)) {
        http_fail(c, 503, "overloaded", "too much is waiting for the store; send it again later", RETRY_AFTER_S);
        return;
    }
    if (http_field(&r->head, "Idempotency-Key").p) {
        http_fail(c, 400, "bad_request", "Idempotency-Key is for one message; give each one of the batch an id", 0);
        return;
    }
    b = calloc(1, sizeof(*b));
    if (b)
        b->format = http_format(&r->head);
    if (b && read_batch(b, r->body, c->shard->cfg, &fault)) {
        go_on(c, b);
        return;
    }
    if (b)
        drop(b);
    http_fail(c, fault.status, fault.code, fault.message, fault.status == 503 ? RETRY_AFTER_S : 0);
}
