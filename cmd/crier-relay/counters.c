/*
 * counters.c - the counters as text. The loop's thread alone writes and reads them.
 */
#include "cmd/crier-relay/counters.h"

#include <inttypes.h>

#include "core/buf.h"
#include "proto/emit.h"

static bool head(struct buf *out, const char *name, const char *type, const char *help)
{
    return buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static bool by_channel(struct buf *out, const char *name, const char *help, const uint64_t v[RELAY_CHANNELS])
{
    bool good = head(out, name, "counter", help);
    for (unsigned i = 0; i < RELAY_CHANNELS && good; i++)
        good = buf_printf(out, "%s{channel=\"%s\"} %" PRIu64 "\n", name, relay_channels[i], v[i]);
    return good;
}

static bool plain(struct buf *out, const char *name, const char *type, const char *help, uint64_t v)
{
    return head(out, name, type, help) && buf_printf(out, "%s %" PRIu64 "\n", name, v);
}

bool counters_render(const struct counters *c, struct buf *out)
{
    return by_channel(out, "crier_relay_sent_total", "Messages a provider has taken.", c->outcome[OUTCOME_SENT]) &&
           by_channel(out, "crier_relay_again_total", "Attempts that failed and are to be made again.",
                      c->outcome[OUTCOME_AGAIN]) &&
           by_channel(out, "crier_relay_failed_total", "Messages given up by this channel.",
                      c->outcome[OUTCOME_FAILED]) &&
           plain(out, "crier_relay_cancelled_total", "counter",
                 "Claims with nothing to do: acknowledged in time, or forgotten.", c->cancelled) &&
           by_channel(out, "crier_relay_token_refreshes_total", "Access tokens made.", c->token_refreshes) &&
           plain(out, "crier_relay_pending", "gauge", "Escalations that wait, of all workers.", c->pending) &&
           plain(out, "crier_relay_inflight", "gauge", "Attempts under way here.", c->inflight);
}

static uint64_t sum(const uint64_t v[RELAY_CHANNELS])
{
    uint64_t n = 0;
    for (unsigned i = 0; i < RELAY_CHANNELS; i++)
        n += v[i];
    return n;
}

bool counters_status(const struct counters *c, const struct worker_info *w, struct buf *out)
{
    struct emit e;
    emit_begin(&e, CODEC_JSON, out);
    emit_str(&e, SPAN_LIT("host"), span_str(w->host));
    emit_uint(&e, SPAN_LIT("pid"), (uint64_t)w->pid);
    emit_uint(&e, SPAN_LIT("started"), w->started_ms);
    emit_uint(&e, SPAN_LIT("sent"), sum(c->outcome[OUTCOME_SENT]));
    emit_uint(&e, SPAN_LIT("again"), sum(c->outcome[OUTCOME_AGAIN]));
    emit_uint(&e, SPAN_LIT("failed"), sum(c->outcome[OUTCOME_FAILED]));
    emit_uint(&e, SPAN_LIT("cancelled"), c->cancelled);
    emit_uint(&e, SPAN_LIT("inflight"), c->inflight);
    return emit_end(&e);
}
