/*
 * http.h - one HTTP/1.1 request and its answer over a link; the answer's head also serves the WebSocket handshake.
 */
#ifndef CMD_CRIERCTL_HTTP_H
#define CMD_CRIERCTL_HTTP_H

#include "cmd/crierctl/net_io.h"
#include "core/buf.h"

struct http_reply {
    unsigned status;
    struct buf head; /* status line and fields */
    struct buf body;
};

void http_reply_init(struct http_reply *r);
void http_reply_fini(struct http_reply *r);

/* Sends a request (body empty: none) and reads the whole answer. False: one sentence in err; the link is then of no
 * more use. */
bool http_call(struct link *l, const struct url *u, const struct server *s, const char *method, const char *path,
               const char *bearer, struct span body, struct http_reply *out, char *err, size_t errlen) MUST_CHECK;

/* Reads an answer's head into r->head and r->status; bytes behind it stay in `in`. */
bool http_read_head(struct link *l, const struct server *s, struct buf *in, struct http_reply *r, char *err,
                    size_t errlen) MUST_CHECK;
/* A field's trimmed value by case-insensitive name; p NULL when it is not there. */
struct span http_reply_field(const struct http_reply *r, const char *name);

/* "code: message" of an {"error":{...}} body, else the status and the body's beginning. */
void http_error_text(const struct http_reply *r, char *out, size_t cap);

#endif
