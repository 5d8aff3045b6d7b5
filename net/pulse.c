/*
 * pulse.c - see pulse.h. The connection's one timer serves heartbeats, evidence and the token's end; it may come sooner
 * than needed, never later. Owns nothing.
 */
#include "net/pulse.h"

#include "core/config.h"
#include "net/session.h"
#include "net/shard.h"

#define EVIDENCE_MS 1000 /* at most one ping a second asks for evidence */

static uint32_t at_most(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t now32(const struct conn *c)
{
    return (uint32_t)c->shard->now_ms;
}

void pulse_start(struct pulse *p, struct conn *c)
{
    p->last_ms = now32(c);
    conn_timer(c, c->shard->cfg->ping_ms);
}

static void send_ping(struct pulse *p, struct conn *c, const struct session *s, void (*ping)(struct conn *c))
{
    p->seq = s->sent;
    p->out = true;
    p->last_ms = now32(c);
    ping(c);
}

static void seek_evidence(struct pulse *p, struct conn *c, struct session *s, void (*ping)(struct conn *c))
{
    if (s->state != SESSION_LIVE || s->sent <= s->acked || !s->flight_count)
        return;
    if (s->ack_mode == ACK_SENT) {
        if (conn_sent_all(c))
            session_ack(s, s->sent);
    } else if (s->ack_mode == ACK_AUTO && !p->out) {
        send_ping(p, c, s, ping);
    }
}

void pulse_want(struct pulse *p, struct session *s)
{
    struct conn *c = s->conn;
    if (s->evidence_due || p->out)
        return;
    s->evidence_due = true;
    if (now32(c) - p->last_ms >= EVIDENCE_MS && s->ack_mode == ACK_AUTO)
        conn_timer_at_flush(c);
    else
        conn_timer(c, at_most(EVIDENCE_MS, c->shard->cfg->ping_ms));
}

void pulse_proven(struct pulse *p, struct session *s)
{
    p->out = false;
    if (s->ack_mode != ACK_AUTO || s->state != SESSION_LIVE)
        return;
    session_ack(s, p->seq);
    if (s->flight_count)
        pulse_want(p, s);
}

/* A ping when the client was silent for long; how long until the next look. */
static uint32_t heartbeat(struct pulse *p, struct conn *c, const struct session *s, void (*ping)(struct conn *c))
{
    const struct config *cfg = c->shard->cfg;
    uint32_t silent = conn_silent_ms(c), since_ping = now32(c) - p->last_ms;
    if (silent < cfg->ping_ms)
        return at_most(cfg->ping_ms - silent, cfg->idle_ms - silent);
    if (since_ping >= cfg->ping_ms || since_ping > silent)
        send_ping(p, c, s, ping);
    return at_most(cfg->ping_ms, cfg->idle_ms - silent);
}

/* May the connection's session still be used? It is not, once the transport has begun to close. */
static bool lives(const struct conn *c, const struct session *s)
{
    return c->state == CONN_OPEN && s->state != SESSION_OVER;
}

void pulse_beat(struct pulse *p, struct conn *c, struct session *s, void (*ping)(struct conn *c))
{
    if (conn_silent_ms(c) >= c->shard->cfg->idle_ms) {
        conn_close(c, CLOSE_IDLE);
        return;
    }
    if (c->corked)
        conn_cork(c, false); /* no welcome yet: the store takes its time */
    uint32_t next = heartbeat(p, c, s, ping);
    if (lives(c, s) && s->evidence_due) {
        s->evidence_due = false;
        seek_evidence(p, c, s, ping);
        if (s->ack_mode == ACK_SENT && s->flight_count) {
            s->evidence_due = true;
            next = at_most(next, EVIDENCE_MS);
        }
    }
    uint32_t token = lives(c, s) && s->who ? session_token_check(s) : 0;
    if (lives(c, s))
        conn_timer(c, token ? at_most(next, token) : next);
}
