/*
 * ledger_view.c - what follows from the ledger's facts. Pure; dispatcher thread.
 *
 * A stored message is delivered when a device has acknowledged it; one that is live only when it was written to a
 * connection, since nothing else is ever known of it. What has expired or left the inbox without an ack will not come
 * by itself any more: that is what "undelivered" and "retry" are for.
 */
#include "store/ledger_view.h"

struct ledger_device *ledger_device(struct ledger_target *t, struct span name)
{
    for (unsigned i = 0; i < t->ndevices; i++) {
        if (span_eq(t->devices[i].name, name))
            return &t->devices[i];
    }
    if (t->ndevices == LEDGER_DEVICES)
        return NULL;
    struct ledger_device *d = &t->devices[t->ndevices++];
    *d = (struct ledger_device){.name = name};
    return d;
}

static bool any_acked(const struct ledger_target *t)
{
    for (unsigned i = 0; i < t->ndevices; i++) {
        if (t->devices[i].acked)
            return true;
    }
    return false;
}

static bool any_written(const struct ledger_target *t)
{
    for (unsigned i = 0; i < t->ndevices; i++) {
        if (t->devices[i].written_ms)
            return true;
    }
    return t->written > 0;
}

static bool any_dropped(const struct ledger_target *t)
{
    for (unsigned i = 0; i < t->ndevices; i++) {
        if (t->devices[i].dropped_ms)
            return true;
    }
    return t->ndrops > 0;
}

static bool relayed(const struct ledger_target *t)
{
    for (unsigned i = 0; i < t->nrelays; i++) {
        if (SPAN_IS(t->relays[i].state, "sent"))
            return true;
    }
    return false;
}

static bool expired(const struct ledger_target *t)
{
    return t->seq && t->expires_s && t->now_s >= t->expires_s;
}

/* The cap pushed it out, or somebody emptied the inbox. */
static bool evicted(const struct ledger_target *t)
{
    return t->kind == TARGET_USER && t->seq && !t->waiting && !expired(t);
}

const char *ledger_state(const struct ledger_target *t)
{
    if (!t->known)
        return "unknown";
    if (any_acked(t))
        return "acked";
    if (relayed(t))
        return "relayed";
    if (expired(t))
        return "expired";
    if (evicted(t))
        return "dropped";
    if (any_written(t))
        return "written";
    if (any_dropped(t) || (t->kind == TARGET_USER && t->seq == 0 && t->nodes == 0))
        return "dropped";
    return "queued";
}

bool ledger_delivered(const struct ledger_target *t)
{
    if (t->kind != TARGET_USER)
        return true;
    return t->known && (any_acked(t) || (t->seq == 0 && any_written(t)));
}

static const char *device_state(const struct ledger_target *t, const struct ledger_device *d)
{
    if (d->acked)
        return "acked";
    if (expired(t))
        return "expired";
    if (evicted(t))
        return "dropped";
    if (d->dropped_ms && d->dropped_ms >= d->written_ms)
        return "dropped";
    return d->written_ms ? "written" : "queued";
}

static void emit_time(struct emit *e, struct span key, uint64_t ms)
{
    if (ms)
        emit_uint(e, key, ms);
}

static void emit_devices(const struct ledger_target *t, struct emit *e)
{
    emit_list(e, SPAN_LIT("devices"));
    for (unsigned i = 0; i < t->ndevices; i++) {
        const struct ledger_device *d = &t->devices[i];
        emit_item(e);
        emit_str(e, SPAN_LIT("device"), d->name);
        emit_str(e, SPAN_LIT("state"), span_str(device_state(t, d)));
        if (d->written_ms) {
            emit_str(e, SPAN_LIT("node"), d->node);
            emit_uint(e, SPAN_LIT("shard"), d->shard);
            emit_time(e, SPAN_LIT("arrived"), d->arrived_ms);
            emit_time(e, SPAN_LIT("written"), d->written_ms);
            emit_uint(e, SPAN_LIT("times"), d->times);
        }
        emit_time(e, SPAN_LIT("acked"), d->acked_ms);
        emit_time(e, SPAN_LIT("dropped"), d->dropped_ms);
        if (d->dropped_ms)
            emit_str(e, SPAN_LIT("reason"), d->why);
        emit_close(e);
    }
    emit_close(e);
}

static void emit_drop(struct emit *e, struct span why, uint64_t count, uint64_t at_ms)
{
    emit_item(e);
    emit_str(e, SPAN_LIT("reason"), why);
    emit_uint(e, SPAN_LIT("count"), count);
    emit_time(e, SPAN_LIT("at"), at_ms);
    emit_close(e);
}

static void emit_drops(const struct ledger_target *t, struct emit *e)
{
    bool offline = t->kind == TARGET_USER && t->seq == 0 && t->nodes == 0 && !any_written(t);
    bool gone = evicted(t) && !any_acked(t);
    if (!t->ndrops && !offline && !gone)
        return;
    emit_list(e, SPAN_LIT("dropped"));
    for (unsigned i = 0; i < t->ndrops; i++)
        emit_drop(e, t->drops[i].why, t->drops[i].count, t->drops[i].at_ms);
    if (offline)
        emit_drop(e, SPAN_LIT("offline"), 1, t->tried_ms);
    if (gone)
        emit_drop(e, SPAN_LIT("evicted"), 1, 0);
    emit_close(e);
}

static void emit_escalate(const struct ledger_target *t, struct emit *e)
{
    struct span to = t->escalate_to;
    if (!t->escalate_ms)
        return;
    emit_open(e, SPAN_LIT("escalate"));
    emit_uint(e, SPAN_LIT("at"), t->escalate_ms);
    emit_list(e, SPAN_LIT("to"));
    while (to.n)
        emit_item_str(e, span_cut(&to, ','));
    emit_close(e);
    emit_close(e);
}

static void emit_relay(const struct ledger_relay *r, struct emit *e)
{
    emit_item(e);
    emit_str(e, SPAN_LIT("channel"), r->channel);
    emit_str(e, SPAN_LIT("state"), r->state);
    emit_uint(e, SPAN_LIT("attempts"), r->attempts);
    emit_uint(e, SPAN_LIT("at"), r->at_ms);
    emit_str(e, SPAN_LIT("detail"), r->detail);
    emit_close(e);
}

/* In the order in which they are tried. */
static void emit_relays(const struct ledger_target *t, struct emit *e)
{
    struct span to = t->escalate_to;
    if (!t->nrelays)
        return;
    emit_list(e, SPAN_LIT("relayed"));
    while (to.n) {
        struct span channel = span_cut(&to, ',');
        for (unsigned i = 0; i < t->nrelays; i++) {
            if (span_eq(t->relays[i].channel, channel))
                emit_relay(&t->relays[i], e);
        }
    }
    emit_close(e);
}

static void emit_name(const struct ledger_target *t, struct emit *e)
{
    switch (t->kind) {
    case TARGET_USER:
        emit_str(e, SPAN_LIT("user"), t->name);
        break;
    case TARGET_ROOM:
        emit_str(e, SPAN_LIT("room"), t->name);
        break;
    case TARGET_ALL:
        emit_bool(e, SPAN_LIT("all"), true);
        break;
    }
}

void ledger_emit(const struct ledger_target *t, struct emit *e)
{
    emit_item(e);
    emit_name(t, e);
    emit_str(e, SPAN_LIT("state"), span_str(ledger_state(t)));
    if (t->known) {
        emit_time(e, SPAN_LIT("queued"), t->queued_ms);
        if (t->attempts > 1)
            emit_time(e, SPAN_LIT("retried"), t->tried_ms);
        emit_uint(e, SPAN_LIT("attempts"), t->attempts);
        emit_str(e, SPAN_LIT("node"), t->node);
        emit_time(e, SPAN_LIT("seq"), t->seq);
        if (t->kind == TARGET_USER)
            emit_uint(e, SPAN_LIT("online"), t->nodes);
        emit_time(e, expired(t) ? SPAN_LIT("expired") : SPAN_LIT("expires"), t->expires_s * 1000);
        if (t->kind == TARGET_USER) {
            emit_devices(t, e);
        } else {
            emit_uint(e, SPAN_LIT("written"), t->written);
            emit_time(e, SPAN_LIT("last"), t->last_ms);
        }
        emit_drops(t, e);
        emit_escalate(t, e);
        emit_relays(t, e);
    }
    emit_close(e);
}

void ledger_emit_retry(struct span user, enum ledger_retry r, uint64_t seq, uint64_t nodes, struct emit *e)
{
    const char *word = "unknown";
    switch (r) {
    case RETRY_UNTRACKED:
        break;
    case RETRY_HAS_IT:
        word = "delivered";
        break;
    case RETRY_SHOWN:
        word = nodes ? "sent" : "waiting";
        break;
    case RETRY_STORED:
        word = "stored";
        break;
    case RETRY_LIVE:
        word = nodes ? "sent" : "offline";
        break;
    }
    emit_item(e);
    emit_str(e, SPAN_LIT("user"), user);
    emit_str(e, SPAN_LIT("result"), span_str(word));
    emit_time(e, SPAN_LIT("seq"), seq);
    emit_uint(e, SPAN_LIT("online"), nodes);
    emit_close(e);
}

bool ledger_field_parse(struct span field, enum target_kind *kind, struct span *name)
{
    if (field.n < 2 || field.p[1] != ':')
        return false;
    *name = span_of(field.p + 2, field.n - 2);
    if (field.p[0] == 'u')
        *kind = TARGET_USER;
    else if (field.p[0] == 'r')
        *kind = TARGET_ROOM;
    else if (field.p[0] == 'a')
        *kind = TARGET_ALL;
    else
        return false;
    return (*kind == TARGET_ALL) == (name->n == 0);
}
