/*
 * way.h - the ways `crierctl listen` can take: a WebSocket, an event stream, polls, bare TCP. Each gives the server's
 * objects one at a time, as JSON, whatever went over the wire.
 */
#ifndef CMD_CRIERCTL_WAY_H
#define CMD_CRIERCTL_WAY_H

#include "cmd/crierctl/opts.h"
#include "cmd/crierctl/ws_client.h"
#include "proto/codec.h"
#include "proto/http_head.h"

/* Who listens, and from where. Borrowed for as long as it is open. */
struct way_ask {
    const struct server *server;
    const struct url *url;
    const char *user;   /* with --dev; NULL: the token says it */
    const char *device; /* "": the server picks one */
    uint64_t since;     /* 0: what the server knows */
    const struct opt_list *rooms;
    enum codec codec;
    uint64_t count; /* messages wanted at most */
};

struct http_reply;
struct transport;

struct way {
    const struct transport *t;
    const struct way_ask *ask;
    struct buf object;   /* after WS_MESSAGE, until the next call */
    unsigned close_code; /* after WS_CLOSED, as in struct ws */
    char close_reason[124];
    struct ws ws;     /* the WebSocket's */
    struct link link; /* of the others */
    struct buf in;    /* bytes read and not used yet */
    struct buf text;  /* event stream: the body, chunks joined; poll: the answer */
    size_t scanned, at;
    size_t id_at, id_len; /* event stream: the id of the event being read, in text */
    bool chunked;
    struct chunked chunks;
    char *place; /* event stream: the last event id; poll: the last cursor. Survives way_end; NULL: none */
};

struct transport {
    const char *name;
    bool asks;    /* rooms and acks are commands on the way itself; else the request names the rooms */
    bool msgpack; /* it can */
    enum ws_open_result (*open)(struct way *w, char *err, size_t errlen);
    /* As ws_next: WS_CLOSED fills close_code and close_reason. */
    enum ws_event (*next)(struct way *w, unsigned timeout_ms);
    bool (*more)(const struct way *w);
    /* A command, as JSON. NULL: there is no way back on this way. */
    bool (*send)(struct way *w, struct span command);
    /* Everything up to seq is printed. NULL: an `ack` command. */
    bool (*ack)(struct way *w, uint64_t seq);
    /* Asks for a sign of life; NULL: none can be had. */
    bool (*ping)(struct way *w);
    void (*end)(struct way *w, unsigned code);
};

extern const struct transport way_ws, way_sse, way_poll, way_tcp;
/* NULL: there is none of that name. */
const struct transport *way_find(const char *name);

void way_init(struct way *w, const struct transport *t, const struct way_ask *ask);
enum ws_open_result way_open(struct way *w, char *err, size_t errlen) MUST_CHECK;
void way_end(struct way *w, unsigned code);
/* Forgets the place as well. */
void way_fini(struct way *w);

/* ---- for the transports ---- */

/* Appends "?user=..&device=..", with `first` in the place of the question mark. */
bool way_append_who(const struct way_ask *a, struct buf *b, char first) MUST_CHECK;
/* Appends "&rooms=a,b", if there are any. */
bool way_append_rooms(const struct way_ask *a, struct buf *b) MUST_CHECK;
enum ws_event way_closed(struct way *w, unsigned code, const char *reason);
/* The end of a way that has no close codes: what a `closing` before it said counts. */
enum ws_event way_broken(struct way *w);
/* Notes the code of a `closing`. */
void way_note(struct way *w, struct span object);
/* REFUSED or FAILED, with a sentence, of an answer that is not the one hoped for. */
enum ws_open_result way_judge(const struct way *w, const struct http_reply *r, char *err, size_t errlen);
/* Keeps a copy as the place. */
void way_set_place(struct way *w, struct span place);

#endif
