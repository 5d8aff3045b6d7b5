/*
 * sse_id.h - where an event stream is, as the opaque id of an event: the seq of the user's inbox, and those of the
 * rooms with history that it follows. "1730000012345678", "1730000012345678;4f1d09a2c3=1730000012345999". Pure.
 */
#ifndef PROTO_SSE_ID_H
#define PROTO_SSE_ID_H

#include "core/buf.h"

/* Appends the inbox's seq, or a room's place behind it. False: at the buffer's ceiling. */
bool sse_id_write_user(struct buf *out, uint64_t seq) MUST_CHECK;
bool sse_id_write_room(struct buf *out, struct span room, uint64_t seq) MUST_CHECK;

/* A seq in decimal digits, as clients bring it: 0 to 9,999,999,999,999,999 (2^53 has as many digits). */
bool sse_id_seq(struct span text, uint64_t *seq) MUST_CHECK;
/* Reads them back out of what a client brings. False: it is none of ours; it does not know that room. */
bool sse_id_user(struct span id, uint64_t *seq) MUST_CHECK;
bool sse_id_room(struct span id, struct span room, uint64_t *seq) MUST_CHECK;

#endif
