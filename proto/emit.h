/*
 * emit.h - one object written member by member, in JSON or as a msgpack map, so that each message is described once.
 * Pure. At most 15 members a map and EMIT_DEPTH maps and lists inside each other.
 */
#ifndef PROTO_EMIT_H
#define PROTO_EMIT_H

#include "core/buf.h"
#include "proto/codec.h"

enum { EMIT_DEPTH = 8 };

struct emit {
    enum codec codec;
    struct buf *out;
    size_t start;               /* out->len before the object */
    size_t head[EMIT_DEPTH];    /* msgpack: where the head of each open map or list is; counts what is in it */
    uint32_t items[EMIT_DEPTH]; /* of each open list */
    bool list[EMIT_DEPTH];      /* a list, not a map */
    unsigned depth;
    bool first; /* nothing written yet in the innermost map or list */
    bool ok;    /* false: the buffer was full; what follows does nothing */
};

/* Starts an object at the end of `out`, which stays borrowed until emit_end. */
void emit_begin(struct emit *e, enum codec c, struct buf *out);
/* Closes it. False when something did not fit: then `out` is as it was. */
bool emit_end(struct emit *e) MUST_CHECK;

/* Keys are ASCII literals that need no escaping. */
void emit_str(struct emit *e, struct span key, struct span value);
void emit_uint(struct emit *e, struct span key, uint64_t value);
void emit_double(struct emit *e, struct span key, double value);
void emit_bool(struct emit *e, struct span key, bool value);
/* A value in the emit's own codec already, byte for byte. */
void emit_raw(struct emit *e, struct span key, struct span value);
/* A message's data: byte for byte in its own codec, else transcoded; text as a string, bytes as bin or base64. */
void emit_data(struct emit *e, struct span key, enum data_format format, struct span value);
/* All members of an object of the emit's own codec that was written by another emit. */
void emit_members(struct emit *e, struct span object);
/* A map inside, up to emit_close. */
void emit_open(struct emit *e, struct span key);
void emit_close(struct emit *e);
/* A list inside, up to emit_close, of maps (emit_item, each up to its own emit_close) or strings. */
void emit_list(struct emit *e, struct span key);
void emit_item(struct emit *e);
void emit_item_str(struct emit *e, struct span value);
/* A value in the emit's own codec already. */
void emit_item_raw(struct emit *e, struct span value);

#endif
