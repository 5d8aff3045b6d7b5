/*
 * session_block.h - giving a session bytes that other sessions have, too. The owning shard's thread.
 */
#ifndef NET_SESSION_BLOCK_H
#define NET_SESSION_BLOCK_H

#include "net/session.h"

/* What a live message is to the policy of output queues. */
enum out_class session_live_class(const struct job *j);
/* May bytes that others have, too, be queued for it as they are? */
static inline bool session_takes_blocks(const struct session *s)
{
    return s->state != SESSION_OVER && s->conn->state == CONN_OPEN && !s->mutes && !s->io->push;
}
/* One or several live messages of one class as one frame, for a session with nothing queued, or with what the joint
 * may be joined to. False: offer them one by one. */
bool session_offer_block(struct session *s, struct frame *block, const struct job *first, unsigned messages,
                         struct joint *j);

#endif
