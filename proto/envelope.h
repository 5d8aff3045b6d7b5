/*
 * envelope.h - P, the payload of a Redis PUBLISH, an inbox entry or an API push (PROTOCOL.md section 3), read into its
 * members. Pure; bounded nesting; nothing is copied but strings that need unescaping, which go to the caller's scratch
 * buffer.
 */
#ifndef PROTO_ENVELOPE_H
#define PROTO_ENVELOPE_H

#include "core/buf.h"
#include "core/job.h"

#define TTL_UNSET UINT32_MAX

struct envelope {
    struct span id, event, from, collapse; /* UTF-8; empty: not there */
    uint32_t ttl_s;                        /* TTL_UNSET: not there; 0: live only; at most 10 years */
    bool has_priority;
    enum priority priority; /* PRIO_NORMAL when not there */
    bool track;
    enum data_format format;
    struct span data;
    bool odd; /* an object with `data` and unknown members: taken as data whole */
};

enum envelope_result { ENVELOPE_OK, ENVELOPE_REFUSED, ENVELOPE_NO_MEMORY };

/* Reads P. Spans borrow from P and from scratch (whose earlier content is kept). max_data: bytes of data allowed.
 * ENVELOPE_REFUSED: `why` holds one sentence naming the member at fault. */
enum envelope_result envelope_parse(struct span p, size_t max_data, struct buf *scratch, struct envelope *out,
                                    char *why, size_t whylen) MUST_CHECK;

/* Writes an envelope as a JSON object; data of format DATA_JSON goes in byte for byte, other formats are converted
 * (msgpack transcoded, text as a string, binary as base64). False at the buffer's ceiling. */
bool envelope_write_json(const struct envelope *e, struct buf *out) MUST_CHECK;
/* The same as a msgpack map; data of format DATA_MSGPACK goes in byte for byte. */
bool envelope_write_msgpack(const struct envelope *e, struct buf *out) MUST_CHECK;

#endif
