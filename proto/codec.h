/*
 * codec.h - the client protocol's two codecs (PROTOCOL.md section 2): messages to clients written, commands from
 * clients read. Pure. JSON `data` passes byte for byte between JSON clients; between codecs it is transcoded.
 */
#ifndef PROTO_CODEC_H
#define PROTO_CODEC_H

#include "core/buf.h"
#include "core/job.h"

enum codec { CODEC_JSON, CODEC_MSGPACK };

/* ---- server to client; each appends one complete object; false at the buffer's ceiling ---- */

bool encode_message(enum codec c, const struct job_head *h, struct buf *out) MUST_CHECK;

struct welcome {
    uint64_t conn;
    struct span user, device, node; /* user empty: anonymous (the member is left out, device too) */
    uint64_t cursor, pending;
    unsigned ping_s;
    unsigned max_message, max_payload, max_rooms; /* `limits` {message, payload, rooms, window} */
    unsigned window;
};
bool encode_welcome(enum codec c, const struct welcome *w, struct buf *out) MUST_CHECK;

/* A client's `ref`: one scalar (number or string) in the client's own codec, repeated byte for byte; empty: none. */
bool encode_ok(enum codec c, struct span ref, struct buf *out) MUST_CHECK;
/* ok of a send: id, seq (0: left out), online. */
bool encode_ok_send(enum codec c, struct span ref, struct span id, uint64_t seq, unsigned online, bool duplicate,
                    struct buf *out) MUST_CHECK;
/* ok of a subscribe: room; seq for rooms with history (has_history); recovered where a `since` was given (has_since).
 */
struct ok_subscribe {
    struct span room;
    bool has_history, has_since, recovered;
    uint64_t seq;
};
bool encode_ok_subscribe(enum codec c, struct span ref, const struct ok_subscribe *s, struct buf *out) MUST_CHECK;
/* ok with the members of an object that is encoded already; at most 12 of them. */
bool encode_ok_with(enum codec c, struct span ref, struct span object, struct buf *out) MUST_CHECK;
/* {"type":"presence","room","user","change":"join"|"leave","seq"} */
bool encode_presence(enum codec c, struct span room, struct span user, bool join, uint64_t seq,
                     struct buf *out) MUST_CHECK;
/* The server has taken the connection out of a room: {"type":"unsubscribed","room":name}. */
bool encode_unsubscribed(enum codec c, struct span room, struct buf *out) MUST_CHECK;
/* code: a stable word; message: a sentence; retry_after in seconds, 0: left out. */
bool encode_error(enum codec c, struct span ref, const char *code, const char *message, unsigned retry_after,
                  struct buf *out) MUST_CHECK;
bool encode_ping(enum codec c, struct buf *out) MUST_CHECK;
bool encode_expiring(enum codec c, unsigned in_s, struct buf *out) MUST_CHECK;
bool encode_closing(enum codec c, unsigned code, const char *reason, unsigned retry_after_ms,
                    struct buf *out) MUST_CHECK;
/* The inbox (or the history of `room`) dropped entries before the client had them: {"type":"gap","from":seq,"to":seq}.
 */
bool encode_gap(enum codec c, struct span room, uint64_t from, uint64_t to, struct buf *out) MUST_CHECK;

/* ---- client to server ---- */

enum command_type {
    CMD_ACK,
    CMD_SUBSCRIBE,
    CMD_UNSUBSCRIBE,
    CMD_SEND,
    CMD_PRESENCE,
    CMD_HISTORY,
    CMD_REFRESH,
    CMD_PONG
};

struct command {
    enum command_type type;
    struct span ref;        /* raw scalar in the client's codec */
    struct span room, user; /* UTF-8, validated names (proto/names.h) */
    bool all;
    uint64_t seq; /* ack */
    bool has_since, presence;
    uint64_t since;
    uint64_t before, limit;  /* 0: not there */
    struct span after;       /* a user */
    enum data_format format; /* DATA_JSON or DATA_MSGPACK */
    struct span data;
    struct span id, event;
    uint32_t ttl_s; /* TTL_UNSET */
    enum priority priority;
    bool echo; /* true unless "echo": false */
    struct span token;
};

struct command_error {
    const char *code;  /* "bad_json", "bad_msgpack", "unknown_type", "bad_request", "too_deep", "too_big" */
    char message[128]; /* names the member at fault */
    struct span ref;   /* the ref if it could be read */
};

/* Reads one whole frame. Spans borrow from `frame` and from scratch. max_data: bytes of `data` allowed (code
 * "too_big"). Members of the wrong kind, missing ones and duplicates are errors; unknown members are ignored. 0: fine;
 * <0: err filled. */
int command_parse(enum codec c, struct span frame, size_t max_data, struct buf *scratch, struct command *out,
                  struct command_error *err) MUST_CHECK;

#endif
