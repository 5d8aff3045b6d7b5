/*
 * deflate.h - messages compressed and inflated with zlib as permessage-deflate wants them (RFC 7692 section 7.2): raw
 * deflate, flushed to a byte border, the last four bytes (00 00 ff ff) left out.
 *
 * A shard has one struct deflate, reset for each message. A connection with context takeover has a struct packer or
 * unpacker of its own besides, which goes on from message to message.
 */
#ifndef NET_DEFLATE_H
#define NET_DEFLATE_H

#include "core/base.h"

struct deflate;
struct packer;
struct unpacker;

/* level: 1 (fast) to 9 (small). NULL when memory is out. */
struct deflate *deflate_new(unsigned level) MUST_CHECK;
void deflate_free(struct deflate *d); /* NULL is fine */

/* Contexts of one connection; bits: the window agreed on, 8 to 15 (9 to 15 for what is sent). NULL when memory is out.
 */
struct packer *packer_new(unsigned level, unsigned bits) MUST_CHECK;
void packer_free(struct packer *p); /* NULL is fine */
/* The last message was not sent after all: the next begins anew. */
void packer_forget(struct packer *p);
struct unpacker *unpacker_new(unsigned bits) MUST_CHECK;
void unpacker_free(struct unpacker *u); /* NULL is fine */

/* Compresses a message that is not empty, with the connection's own context or, when that is NULL, without any and a
 * window of 2^bits. *out is borrowed until the next call. False: out of memory. */
bool deflate_pack(struct deflate *d, struct packer *own, unsigned bits, struct span in, struct span *out) MUST_CHECK;

enum unpacked {
    UNPACKED,
    UNPACK_BAD,      /* not deflate, or a message that ends inside a block */
    UNPACK_TOO_BIG,  /* more than max bytes come out */
    UNPACK_NOT_TEXT, /* the text that comes out is not UTF-8 */
    UNPACK_NO_MEMORY,
};

/* Inflates one whole message, in steps of bounded size, and stops at the first fault: what comes out never takes more
 * than max bytes and a step. *out is borrowed until the next call or deflate_trim. After a fault the connection's own
 * context is of no more use. */
enum unpacked deflate_unpack(struct deflate *d, struct unpacker *own, struct span in, size_t max, bool text,
                             struct span *out) MUST_CHECK;
/* Gives the memory of a large message back. */
void deflate_trim(struct deflate *d);

#endif
