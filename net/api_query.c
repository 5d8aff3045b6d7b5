/*
 * api_query.c - from a request of the server API to a question for the store, and back.
 *
 * Runs on the shard that took the request; touches no other connection. The route says what is asked (struct api_call),
 * the path and the query string give the arguments, and the op's reply is the body of the answer, byte for byte: net
 * knows nothing of what is in it.
 */
#include "net/api_query.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/http.h"
#include "net/route.h"
#include "net/shard.h"

#define RETRY_AFTER_S 1
#define ARG_MAX_BYTES 512

/* The segments of `path` that stand for a "*". -1: one is malformed; -2: no memory; else how many. */
static int take_segments(struct op_query *q, const char *pattern, struct span path)
{
    char text[ARG_MAX_BYTES];
    int n = 0;
    size_t at = 0;

    for (const char *w = pattern; *w; w += strcspn(w, "/")) {
        w++; /* both begin with a slash, and the route has matched */
        size_t begin = ++at;
        while (at < path.n && path.p[at] != '/')
            at++;
        if (*w != '*')
            continue;
        int len = http_unescape(span_of(path.p + begin, at - begin), text, sizeof(text));
        if (len < 1 || n == QUERY_ARGS)
            return -1;
        if (!(q->args[n++] = span_dup(span_of(text, (size_t)len))))
            return -2;
    }
    return n;
}

/* False: no memory, or *bad names the parameter that is malformed. */
static bool take_params(struct op_query *q, int n, const struct api_call *call, struct span query, const char **bad)
{
    char text[ARG_MAX_BYTES];

    for (unsigned i = 0; i < QUERY_ARGS && call->params[i]; i++, n++) {
        int len = http_query(query, call->params[i], text, sizeof(text));
        if (len == -2 || n == QUERY_ARGS) {
            *bad = call->params[i];
            return false;
        }
        if (len >= 0 && !(q->args[n] = span_dup(span_of(text, (size_t)len))))
            return false;
    }
    return true;
}

static bool take_body(struct op_query *q, struct span body)
{
    if (body.n == 0)
        return true;
    q->body = (uint8_t *)span_dup(body);
    q->body_len = body.n;
    return q->body != NULL;
}

static void answer_refused(struct conn *c, const struct op *op)
{
    const char *why = op->error[0] ? op->error : "the store refused it";

    if (op->query.absent)
        http_fail(c, 404, "not_found", why, 0);
    else
        http_fail(c, 400, "refused", why, 0);
}

static void query_done(struct conn *c, void *arg, struct op *op)
{
    const char *why = op->error[0] ? op->error : "the store does not answer";

    (void)arg;
    switch (op->status) {
    case OP_OK:
        http_answer(c, 200, op->query.msgpack ? "application/msgpack" : "application/json",
                    span_of(op->query.reply, op->query.reply_len), "Cache-Control: no-store\r\n");
        break;
    case OP_REFUSED:
        answer_refused(c, op);
        break;
    case OP_AWAY:
        http_fail(c, 503, "store_away", why, RETRY_AFTER_S);
        break;
    case OP_FULL:
        http_fail(c, 503, "overloaded", why, RETRY_AFTER_S);
        break;
    }
    op_free(op);
}

static enum codec wanted_format(const struct http_request *r)
{
    bool mp = http_list_has(&r->head, "Accept", "application/msgpack") && r->body.n == 0;

    return mp ? CODEC_MSGPACK : http_format(&r->head);
}

/* NULL: it has been answered, or `*bad` says what is wrong, or memory is out. */
static struct op *make_op(const struct http_request *r, const char **bad)
{
    struct op *op = op_new(OP_QUERY);
    int n = op ? take_segments(&op->query, r->route->path, r->head.path) : -2;

    if (n == -1)
        *bad = "path";
    if (n < 0 || !take_params(&op->query, n, r->route->call, r->head.query, bad) || !take_body(&op->query, r->body)) {
        op_free(op);
        return NULL;
    }
    op->query.kind = r->route->call->kind;
    op->query.msgpack = wanted_format(r) == CODEC_MSGPACK;
    return op;
}

void api_query(struct conn *c, const struct http_request *r)
{
    const char *bad = NULL;
    struct op *op = NULL;

    if (shard_congested(c->shard)) {
        http_fail(c, 503, "overloaded", "too much is waiting for the store; ask again later", RETRY_AFTER_S);
        return;
    }
    op = make_op(r, &bad);
    if (op) {
        op->conn = c->id;
        http_wait(c, query_done, NULL);
        shard_submit(c->shard, op);
    } else if (bad) {
        char why[128];
        snprintf(why, sizeof(why), "%s: malformed, or longer than %d bytes", bad, ARG_MAX_BYTES);
        http_fail(c, 400, "bad_request", why, 0);
    } else {
        http_fail(c, 503, "no_memory", "the broker is out of memory", RETRY_AFTER_S);
    }
}
