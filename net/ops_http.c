/*
 * ops_http.c - what operators and conformance suites ask: /healthz, /readyz, /metrics, POST /echo.
 */
#include <stdlib.h>

#include "core/buf.h"
#include "core/metrics.h"
#include "net/handlers.h"
#include "net/http.h"
#include "net/shard.h"

#define METRICS_MAX_BYTES (1024 * 1024)
#define ECHO_TYPE_MAX     100

static const char no_store[] = "Cache-Control: no-store\r\n";

/* The process turns: whoever reads this has been answered by a shard. */
void ops_healthz(struct conn *c, const struct http_request *r)
{
    (void)r;
    http_answer(c, 200, "text/plain", SPAN_LIT("ok\n"), no_store);
}

void ops_readyz(struct conn *c, const struct http_request *r)
{
    const struct shard *s = c->shard;
    bool ready = atomic_load_explicit(s->env->ready, memory_order_acquire);

    (void)r;
    if (s->draining)
        http_answer(c, 503, "text/plain", SPAN_LIT("stopping\n"), no_store);
    else if (!ready)
        http_answer(c, 503, "text/plain", SPAN_LIT("the store does not answer\n"), no_store);
    else
        http_answer(c, 200, "text/plain", SPAN_LIT("ready\n"), no_store);
}

void ops_metrics(struct conn *c, const struct http_request *r)
{
    const struct net_env *env = c->shard->env;
    struct buf out;

    (void)r;
    buf_init(&out, METRICS_MAX_BYTES);
    if (metrics_render(env->metrics, env->nmetrics, &out))
        http_answer(c, 200, "text/plain; version=0.0.4; charset=utf-8", buf_span(&out), no_store);
    else
        http_fail(c, 503, "no_memory", "the broker is out of memory", 1);
    buf_fini(&out);
}

void ops_echo(struct conn *c, const struct http_request *r)
{
    struct span type = http_field(&r->head, "Content-Type");
    char *copy = type.n && type.n <= ECHO_TYPE_MAX ? span_dup(type) : NULL;

    http_answer(c, 200, copy ? copy : "application/octet-stream", r->body, no_store);
    free(copy);
}
