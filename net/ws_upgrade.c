/*
 * ws_upgrade.c - from an HTTP request to a WebSocket (RFC 6455 section 4.2): checks, subprotocol, who it is, and where
 * it belongs.
 *
 * Runs on the shard that accepted the connection. The 101 is queued and held back (corked); the connection then moves
 * to the shard that owns its user, and the answer leaves there together with the welcome, in one write.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/config.h"
#include "net/admit.h"
#include "net/auth.h"
#include "net/http.h"
#include "net/shard.h"
#include "net/ws.h"
#include "proto/http_text.h"

#define PROTO_JSON    "crier.v1.json"
#define PROTO_MSGPACK "crier.v1.msgpack"
/* What a 426 says it would rather have (RFC 9110 sections 7.8 and 15.5.22, RFC 6455 section 4.4). */
#define OTHERWISE "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"

/* RFC 6455 sections 11.3.1 and 11.3.5: these fields come once. */
static bool said_once(const struct http_head *h, const char *name)
{
    unsigned n = 0;
    for (unsigned i = 0; i < h->nfields; i++)
        n += http_name_is(h->fields[i].name, name);
    return n <= 1;
}

static bool check_upgrade(struct conn *c, const struct http_head *h)
{
    struct span version = http_field(h, "Sec-WebSocket-Version");
    struct span key = http_field(h, "Sec-WebSocket-Key");
    if (!h->upgrade_websocket || h->minor == 0) {
        http_answer(
            c, 426, "application/json",
            SPAN_LIT("{\"error\":{\"code\":\"upgrade_required\",\"message\":\"this is a WebSocket endpoint\"}}"),
            OTHERWISE);
        return false;
    }
    if (!SPAN_IS(version, "13")) {
        metric_add(c->shard->m, M_HANDSHAKE_HTTP_FAILED, 1);
        http_answer(c, 426, "application/json",
                    SPAN_LIT("{\"error\":{\"code\":\"bad_version\",\"message\":\"Sec-WebSocket-Version must be 13\"}}"),
                    OTHERWISE);
        return false;
    }
    if (!said_once(h, "Sec-WebSocket-Version")) {
        admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_version", "more than one Sec-WebSocket-Version");
        return false;
    }
    if (!ws_key_ok(key) || !said_once(h, "Sec-WebSocket-Key")) {
        admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_key", "one Sec-WebSocket-Key is needed, 16 bytes in base64");
        return false;
    }
    return true;
}

static bool check_origin(struct conn *c, const struct http_head *h)
{
    if (auth_origin(c->shard->env->auth, h))
        return true;
    admit_refuse(c, M_HANDSHAKE_ORIGIN, 403, "forbidden_origin", "this Origin is not on the list (option origins)");
    return false;
}

/* Which codec: the client's first subprotocol that we speak. None offered (a token in the list is none): JSON, and no
 * subprotocol is named in the answer. False: it speaks only others. */
static bool choose_protocol(const struct http_head *h, const char **name, bool *msgpack)
{
    struct http_list list;
    struct span t;
    bool others = false;
    *name = NULL;
    *msgpack = false;
    http_list_start(&list, h, "Sec-WebSocket-Protocol");
    while (http_list_next(&list, &t)) {
        *msgpack = SPAN_IS(t, PROTO_MSGPACK);
        if (*msgpack || SPAN_IS(t, PROTO_JSON)) {
            *name = *msgpack ? PROTO_MSGPACK : PROTO_JSON;
            return true;
        }
        others |= t.n < 7 || memcmp(t.p, "bearer.", 7) != 0;
    }
    return !others;
}

/* RFC 6455 section 9.1: a malformed list fails the handshake. */
static bool check_extensions(struct conn *c, const struct http_head *h, struct ws *w)
{
    if (ws_deflate_agree(c, h, w))
        return true;
    admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_extensions", "Sec-WebSocket-Extensions is malformed");
    return false;
}

static bool answer_101(struct conn *c, const struct http_head *h, const struct ws *w, const char *protocol)
{
    char accept[29], extensions[WS_EXT_ANSWER_MAX] = "", out[256 + WS_EXT_ANSWER_MAX];
    ws_accept_key(http_field(h, "Sec-WebSocket-Key"), accept);
    bool z = w->z.server_bits && ws_ext_answer(&w->z, extensions);
    int n = snprintf(out, sizeof out,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n%s%s%s%s%s%s\r\n",
                     accept, protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? protocol : "",
                     protocol ? "\r\n" : "", z ? "Sec-WebSocket-Extensions: " : "", extensions, z ? "\r\n" : "");
    conn_cork(c, true);
    return conn_write(c, span_of(out, (size_t)n));
}

/* ?ping=message */
static bool wants_message_ping(const struct http_head *h)
{
    char v[8];
    int n = http_query(h->query, "ping", v, sizeof v);
    return n == 7 && memcmp(v, "message", 7) == 0;
}

/* Takes the connection over from HTTP and sends it where it belongs. Takes w. */
static void take_over(struct conn *c, const struct http_head *h, struct ws *w, const char *protocol)
{
    if (!check_extensions(c, h, w) || !answer_101(c, h, w, protocol)) {
        identity_free(w->session.who);
        free(w);
        return;
    }
    http_release(c, 101);
    c->proto = &ws_proto;
    c->ext = w;
    admit_to_owner(c, w->session.who);
}

void ws_handle(struct conn *c, const struct http_head *h)
{
    struct identity *who = NULL;
    const char *protocol;
    bool msgpack;
    if (!check_upgrade(c, h) || !check_origin(c, h))
        return;
    if (!admit_running(c))
        return;
    if (!choose_protocol(h, &protocol, &msgpack)) {
        admit_refuse(c, M_HANDSHAKE_HTTP_FAILED, 400, "bad_subprotocol", "speak " PROTO_JSON " or " PROTO_MSGPACK);
        return;
    }
    if (!admit_identity(c, h, &who))
        return;
    struct ws *w = calloc(1, sizeof *w);
    if (!w) {
        identity_free(who);
        http_fail(c, 503, "overloaded", "out of memory", 1);
        return;
    }
    w->session.who = who;
    w->msgpack = msgpack;
    w->message_ping = wants_message_ping(h);
    if (!admit_wishes(c, h, &w->session)) {
        identity_free(who);
        free(w);
        return;
    }
    take_over(c, h, w, protocol);
}

void ws_handle_echo(struct conn *c, const struct http_head *h)
{
    if (!check_upgrade(c, h) || !check_origin(c, h))
        return;
    struct ws *w = calloc(1, sizeof *w);
    if (!w) {
        http_fail(c, 503, "overloaded", "out of memory", 1);
        return;
    }
    w->echo = true;
    take_over(c, h, w, NULL);
}
