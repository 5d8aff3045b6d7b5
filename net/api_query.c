/*
 * api_query.c - from a request of the server API to a question for the store, and back.
 *
 * Runs on the shard that took the request; touches no other connection. The route says what is asked (struct api_call),
 * the path, the query string and the body give the arguments, and the op's reply is the body of the answer, byte for
 * byte: net knows nothing of what is in it.
 */
#include "net/api_query.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/config.h"
#include "net/http.h"
#include "net/route.h"
#include "net/shard.h"

#define RETRY_AFTER_S 1
#define ARG_MAX_BYTES 512
#define BODY_RULES    8

/* Why there is no op. */
struct fault {
    bool memory;
    const char *code;
    char message[160];
};

static bool PRINTF_LIKE(3, 4) refuse(struct fault *f, const char *code, const char *fmt, ...)
{
    va_list args;

    f->code = code;
    va_start(args, fmt);
    vsnprintf(f->message, sizeof(f->message), fmt, args);
    va_end(args);
    return false;
}

static bool no_memory(struct fault *f)
{
    f->memory = true;
    return false;
}

/* ---- rules ---- */

static bool short_text_ok(struct span s)
{
    return name_event_ok(s);
}

const struct member_rule api_body_user[2] = {{"user", MEMBER_STRING, 0, name_user_ok, MUST_BE_NAME},
                                             {"device", MEMBER_STRING, 0, name_device_ok, MUST_BE_SHORT}};
const struct member_rule api_body_disconnect[2] = {{"device", MEMBER_STRING, 0, name_device_ok, MUST_BE_SHORT},
                                                   {"reason", MEMBER_STRING, 0, short_text_ok, MUST_BE_SHORT}};

#define MUST_BE_ADDRESS "must be a string of 1 to 512 bytes without control characters"
#define MUST_BE_WEBHOOK "must be an http:// or https:// address of at most 512 bytes"
const struct member_rule api_body_addresses[RELAY_CHANNELS] = {
    {"wecom", MEMBER_STRING, 0, name_address_ok, MUST_BE_ADDRESS},
    {"wechat", MEMBER_STRING, 0, name_address_ok, MUST_BE_ADDRESS},
    {"webhook", MEMBER_STRING, 0, name_webhook_ok, MUST_BE_WEBHOOK},
};

static bool number_upto(struct span s, uint64_t most)
{
    uint64_t n = 0;

    if (s.n == 0 || s.n > 16)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s.p[i] - '0');
    }
    return n <= most;
}

bool api_is_limit(struct span s)
{
    return number_upto(s, 1000) && s.p[0] != '0';
}

bool api_is_seq(struct span s)
{
    return number_upto(s, (UINT64_C(1) << 53) - 1);
}

/* "u:alice", "a:", or from the beginning. */
bool api_is_cursor(struct span s)
{
    return s.n == 0 || (s.n >= 2 && s.p[1] == ':' && (s.n == 2 || name_id_ok(span_of(s.p + 2, s.n - 2))));
}

/* ---- arguments ---- */

static bool add(struct op_query *q, const struct api_call *call, unsigned n, const char *name, struct span value,
                struct fault *f)
{
    const struct api_rule *rule = &call->rules[n];

    if (rule->ok && !rule->ok(value))
        return refuse(f, "bad_request", "%s %s", name, rule->must);
    q->args[n] = span_dup(value);
    return q->args[n] || no_memory(f);
}

/* The segments of the path that stand for a "*". */
static bool take_segments(struct op_query *q, const struct route *route, struct span path, unsigned *n, struct fault *f)
{
    char text[ARG_MAX_BYTES];
    size_t at = 0;

    for (const char *w = route->path; *w; w += strcspn(w, "/")) {
        w++; /* both begin with a slash, and the route has matched */
        size_t begin = ++at;
        while (at < path.n && path.p[at] != '/')
            at++;
        if (*w != '*')
            continue;
        int len = http_unescape(span_of(path.p + begin, at - begin), text, sizeof(text));
        if (len < 1)
            return refuse(f, "bad_request", "the path is malformed, or a name in it longer than %d bytes",
                          ARG_MAX_BYTES);
        if (!add(q, route->call, *n, "the name in the path", span_of(text, (size_t)len), f))
            return false;
        (*n)++;
    }
    return true;
}

static bool take_params(struct op_query *q, const struct api_call *call, struct span query, unsigned *n,
                        struct fault *f)
{
    char text[ARG_MAX_BYTES];

    for (unsigned i = 0; i < QUERY_ARGS && call->params[i]; i++, (*n)++) {
        int len = http_query(query, call->params[i], text, sizeof(text));
        if (len == -2)
            return refuse(f, "bad_request", "%s is malformed, or longer than %d bytes", call->params[i], ARG_MAX_BYTES);
        if (len >= 0 && !add(q, call, *n, call->params[i], span_of(text, (size_t)len), f))
            return false;
    }
    return true;
}

/* ---- the body ---- */

static bool read_fault(enum codec format, enum members_status s, struct fault *f)
{
    bool json = format == CODEC_JSON;

    switch (s) {
    case MEMBERS_OK:
    case MEMBERS_REFUSED:
        f->code = "bad_request"; /* the sentence is there already */
        return false;
    case MEMBERS_NO_MEMORY:
        return no_memory(f);
    case MEMBERS_SYNTAX:
    case MEMBERS_UTF8:
    case MEMBERS_DEEP:
    case MEMBERS_OTHER_VALUE:
        break;
    }
    return refuse(f, json ? "bad_json" : "bad_msgpack", "the body is not one %s", json ? "JSON object" : "msgpack map");
}

static bool take_members(struct op_query *q, const struct api_call *call, enum codec format, struct span body,
                         struct buf *scratch, unsigned n, struct fault *f)
{
    struct member v[BODY_RULES];
    struct members m;
    enum members_status s = members_read(format, body, call->body, call->nbody, v, &m);

    if (s != MEMBERS_OK)
        return read_fault(format, s, f);
    if (m.unknown)
        return refuse(f, "bad_request", "the body holds a member that this call does not know");
    if (m.twice)
        return refuse(f, "bad_request", "%s is there twice", m.twice);
    s = members_check(call->body, call->nbody, UINT32_MAX, v, scratch, f->message, sizeof(f->message));
    if (s != MEMBERS_OK)
        return read_fault(format, s, f);
    for (unsigned i = 0; i < call->nbody; i++, n++) {
        if (v[i].kind == MEMBER_ABSENT && i < call->nneeded)
            return refuse(f, "bad_request", "%s is missing", call->body[i].name);
        if (v[i].kind != MEMBER_ABSENT && !(q->args[n] = span_dup(v[i].text)))
            return no_memory(f);
    }
    return true;
}

static bool take_body(struct op_query *q, const struct api_call *call, enum codec format, struct span body, unsigned n,
                      struct fault *f)
{
    struct buf scratch;
    bool ok;

    if (!call->body && body.n) {
        q->body = (uint8_t *)span_dup(body);
        q->body_len = body.n;
        return q->body || no_memory(f);
    }
    if (!call->body || (body.n == 0 && call->nneeded == 0))
        return true;
    assert(call->nbody <= BODY_RULES && n + call->nbody <= QUERY_ARGS);
    buf_init(&scratch, body.n);
    ok = take_members(q, call, format, body, &scratch, n, f);
    buf_fini(&scratch);
    return ok;
}

/* ---- answers ---- */

struct asked {
    enum codec format;
};

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
    struct asked *a = arg;
    const char *why = op->error[0] ? op->error : "the store does not answer";

    switch (op->status) {
    case OP_OK:
        http_answer(c, 200, a->format == CODEC_JSON ? "application/json" : "application/msgpack",
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
    free(a);
}

/* ---- the request ---- */

static enum codec wanted_format(const struct http_request *r)
{
    bool mp = http_list_has(&r->head, "Accept", "application/msgpack") && r->body.n == 0;

    return mp ? CODEC_MSGPACK : http_format(&r->head);
}

static bool fill(struct op_query *q, const struct http_request *r, struct fault *f)
{
    const struct api_call *call = r->route->call;
    unsigned n = 0;

    q->kind = call->kind;
    q->msgpack = wanted_format(r) == CODEC_MSGPACK;
    return take_segments(q, r->route, r->head.path, &n, f) && take_params(q, call, r->head.query, &n, f) &&
           take_body(q, call, http_format(&r->head), r->body, n, f);
}

void api_query(struct conn *c, const struct http_request *r)
{
    struct fault f = {0};
    struct op *op = NULL;
    struct asked *a = NULL;

    if (shard_congested(c->shard)) {
        http_fail(c, 503, "overloaded", "too much is waiting for the store; ask again later", RETRY_AFTER_S);
        return;
    }
    op = op_new(OP_QUERY);
    a = malloc(sizeof(*a));
    f.memory = !op || !a;
    if (!f.memory && fill(&op->query, r, &f)) {
        a->format = op->query.msgpack ? CODEC_MSGPACK : CODEC_JSON;
        op->conn = c->id;
        http_wait(c, query_done, a);
        shard_submit(c->shard, op);
        return;
    }
    op_free(op);
    free(a);
    if (f.memory)
        http_fail(c, 503, "no_memory", "the broker is out of memory", RETRY_AFTER_S);
    else
        http_fail(c, 400, f.code, f.message, 0);
}

void api_query_relay(struct conn *c, const struct http_request *r)
{
    if (!c->shard->cfg->redis)
        http_fail(c, 501, "not_supported", API_NO_RELAY, 0);
    else if (r->route->call->body && r->body.n == 0)
        http_fail(c, 400, "bad_request", "the body is missing: an object, {} to have none", 0);
    else
        api_query(c, r);
}
