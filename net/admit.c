/*
 * admit.c - from a request to a client: see admit.h. Runs on the shard that accepted the connection; owns nothing.
 */
#include "net/admit.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "net/auth.h"
#include "net/http.h"
#include "net/limits.h"
#include "net/session.h"
#include "net/shard.h"
#include "proto/names.h"
#include "proto/sse_id.h"

#define SEQ_DIGITS 16 /* 2^53 has as many */

void admit_refuse(struct conn *c, enum metric why, unsigned status, const char *code, const char *message)
{
    char peer[64];
    struct shard *s = c->shard;
    metric_add(s->m, why, 1);
    log_limited(&s->log_http, 5, LOG_WARN, "upgrade", "peer=%s refused %u %s: %s", conn_peer(c, peer, sizeof peer),
                status, code, message);
    http_fail(c, status, code, message, 0);
}

bool admit_running(struct conn *c)
{
    if (c->shard->draining)
        http_fail(c, 503, "draining", "the broker is about to stop", 1);
    return !c->shard->draining;
}

bool admit_identity(struct conn *c, const struct http_head *h, struct identity **who)
{
    char why[128] = "";
    switch (auth_request(c->shard->env->auth, h, clock_real_us() / 1000000, who, why, sizeof why)) {
    case AUTH_OK:
        return true;
    case AUTH_NONE:
        admit_refuse(c, M_HANDSHAKE_AUTH, 401, "unauthorized", why[0] ? why : "a token is needed");
        return false;
    case AUTH_BAD:
        admit_refuse(c, M_HANDSHAKE_AUTH, 401, "bad_token", why);
        return false;
    case AUTH_EXPIRED:
        admit_refuse(c, M_HANDSHAKE_AUTH, 401, "token_expired", why);
        return false;
    case AUTH_MALFORMED:
        admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_request", why);
        return false;
    case AUTH_NO_MEMORY:
        break;
    }
    http_fail(c, 503, "overloaded", "out of memory", 1);
    return false;
}

bool admit_rates(struct conn *c, const struct identity *who, const struct rate_cost *cost)
{
    struct shard *s = c->shard;
    uint32_t wait = limits_take(s->limits, s->now_ms, NULL, span_str(who->user), cost);
    if (wait == 0)
        return true;
    metric_add(s->m, M_RATE_LIMITED, 1);
    http_fail(c, 429, "rate_limited", LIMITS_SENTENCE, (wait + 999) / 1000);
    return false;
}

int admit_seq(struct conn *c, const struct http_head *h, const char *name, uint64_t *seq)
{
    char v[SEQ_DIGITS + 1], sentence[64];
    int n = http_query(h->query, name, v, sizeof v);
    if (n == -1)
        return 0;
    if (n > 0 && sse_id_seq(span_of(v, (size_t)n), seq))
        return 1;
    snprintf(sentence, sizeof sentence, "%s must be a seq (digits)", name);
    admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_request", sentence);
    return -1;
}

bool admit_wishes(struct conn *c, const struct http_head *h, struct session *s)
{
    char v[32];
    int n = http_query(h->query, "ack", v, sizeof v);
    struct span ack = span_of(v, n > 0 ? (size_t)n : 0);
    if (n == -1 || SPAN_IS(ack, "auto")) {
        s->ack_mode = ACK_AUTO;
    } else if (SPAN_IS(ack, "explicit")) {
        s->ack_mode = ACK_EXPLICIT;
    } else if (SPAN_IS(ack, "sent")) {
        s->ack_mode = ACK_SENT;
    } else {
        admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_request", "ack must be auto, explicit or sent");
        return false;
    }
    s->since = UINT64_MAX;
    return admit_seq(c, h, "since", &s->since) >= 0;
}

bool admit_next_name(struct span *list, struct span *name)
{
    while (list->n && *list->p == ',')
        *list = span_of(list->p + 1, list->n - 1);
    const uint8_t *comma = list->n ? memchr(list->p, ',', list->n) : NULL;
    *name = span_of(list->p, comma ? (size_t)(comma - list->p) : list->n);
    *list = span_of(list->p + name->n, list->n - name->n);
    return name->n > 0;
}

static bool refuse_rooms(struct conn *c, const char *why)
{
    admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_request", why);
    return false;
}

/* Are these names that this client may join all at once? */
static bool check_rooms(struct conn *c, const struct identity *who, struct span list)
{
    struct span name;
    for (unsigned n = 0; admit_next_name(&list, &name); n++) {
        if (!name_room_ok(name))
            return refuse_rooms(c, "rooms: each is 1 to 128 bytes of UTF-8 without control characters");
        if (n == c->shard->cfg->max_rooms)
            return refuse_rooms(c, "rooms: these are more than the broker allows");
        if (!identity_may_room(who, name)) {
            admit_refuse(c, M_HANDSHAKE_AUTH, 403, "forbidden", "the token does not allow one of these rooms");
            return false;
        }
    }
    return true;
}

bool admit_rooms(struct conn *c, const struct http_head *h, const struct identity *who, char **rooms)
{
    char *text = h->query.n ? malloc(h->query.n + 1) : NULL;
    int n = text ? http_query(h->query, "rooms", text, h->query.n) : -1;
    bool good = n == -1 || (n < 0 ? refuse_rooms(c, "rooms is not percent-encoded")
                                  : check_rooms(c, who, span_of(text, (size_t)n)));
    *rooms = NULL;
    if (good && n > 0) {
        text[n] = '\0';
        *rooms = text;
    } else {
        free(text);
    }
    return good;
}

void admit_to_owner(struct conn *c, const struct identity *who)
{
    unsigned owner = who && who->user ? shard_owner(c->shard, span_str(who->user)) : c->shard->index;
    if (owner == c->shard->index)
        c->proto->adopted(c);
    else
        conn_move(c, owner);
}

void admit_preflight(struct conn *c, const struct http_request *r)
{
    const char *method = SPAN_IS(r->head.path, "/send") ? "POST" : "GET";
    char lines[256];
    snprintf(lines, sizeof lines,
             "Allow: %s, OPTIONS\r\nAccess-Control-Allow-Methods: %s\r\nAccess-Control-Allow-Headers: Authorization, "
             "Content-Type, Last-Event-ID, X-Request-Id\r\nAccess-Control-Max-Age: 600\r\n",
             method, method);
    http_answer(c, 204, NULL, (struct span){NULL, 0}, lines);
}
