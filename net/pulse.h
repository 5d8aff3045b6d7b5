/*
 * pulse.h - heartbeats of a connection whose client answers pings, and what the answers prove: that the client lives,
 * and that what was sent before the ping has arrived. One for each such connection; runs on its shard.
 */
#ifndef NET_PULSE_H
#define NET_PULSE_H

#include "core/base.h"

struct conn;
struct session;

struct pulse {
    uint64_t seq; /* what the answer to the last ping proves */
    uint32_t last_ms;
    bool out; /* a ping is not answered yet */
};

/* Begins; the connection's timer fires when it is first of use. */
void pulse_start(struct pulse *p, struct conn *c);
/* The connection's timer fired: a ping when it is time (by ping()), evidence for the cursor, the token's end; the next
 * look. Closes a connection that was silent for too long. A corked one is uncorked. */
void pulse_beat(struct pulse *p, struct conn *c, struct session *s, void (*ping)(struct conn *c));
/* session_io.want_evidence. */
void pulse_want(struct pulse *p, struct session *s);
/* The last ping was answered. */
void pulse_proven(struct pulse *p, struct session *s);

#endif
