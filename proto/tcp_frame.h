/*
 * tcp_frame.h - objects on a bare byte stream: JSON, one object a line, or msgpack, each behind its length. Pure. Which
 * of the two it is says the first byte: '{' is JSON; a length that starts like that would be over the limit.
 */
#ifndef PROTO_TCP_FRAME_H
#define PROTO_TCP_FRAME_H

#include "proto/codec.h"

#define TCP_FRAME_HEAD 4 /* big-endian length of a msgpack frame */

enum tcp_frame_result { TCP_FRAME_OK, TCP_FRAME_NEED_MORE, TCP_FRAME_TOO_BIG, TCP_FRAME_EMPTY };

static inline enum codec tcp_frame_codec(uint8_t first)
{
    return first == '{' ? CODEC_JSON : CODEC_MSGPACK;
}

/* The next frame at the front of `in`. TCP_FRAME_OK: *used bytes are done with, and *object (borrowed, inside them) is
 * the object without its line end or length; an empty line is an empty object, to be read over. `max` bounds the
 * object. *scanned: 0 at first, kept by the caller between calls with more bytes of the same frame, so that all of them
 * together are linear. TCP_FRAME_EMPTY: a length of 0. */
enum tcp_frame_result tcp_frame_next(enum codec c, struct span in, size_t max, size_t *scanned, struct span *object,
                                     size_t *used) MUST_CHECK;

/* An object as a frame: how long, and written (out has room for it). Line ends inside JSON become spaces: they are
 * white space between its tokens, since in strings they are escaped. */
size_t tcp_frame_size(enum codec c, struct span object);
void tcp_frame_write(enum codec c, struct span object, uint8_t *out);

#endif
