/*
 * test_ws_deflate.c - compressed WebSocket frames as many clients get them: how often a message is compressed, who
 * shares the result, what stays plain, and contexts of slow clients. A real shard thread, real sockets, the test in the
 * dispatcher's place; frames are inflated by zlib itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "core/buf.h"
#include "core/hash.h"
#include "proto/job_codec.h"
#include "proto/ws_frame.h"
#include "shard_world.h"

#define CLIENTS 100
#define JSON    "crier.v1.json"
#define MSGPACK "crier.v1.msgpack"

/* ---- clients ---- */

struct client {
    int fd;
    struct buf in;
    bool agreed;
    bool squeezed; /* the last frame was */
    enum ws_opcode op;
    z_stream z;
    bool takeover;
    uint8_t text[70000];
    size_t n;
};

static void fill(struct client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    uint8_t *to = buf_reserve(&c->in, 65536);
    assert_non_null(to);
    if (poll(&p, 1, DEADLINE_MS) != 1)
        fail_msg("the broker sent nothing");
    ssize_t n = recv(c->fd, to, 65536, 0);
    if (n <= 0)
        fail_msg("the broker closed the connection");
    buf_commit(&c->in, (size_t)n);
}

static void inflate_text(struct client *c, struct span in)
{
    static const uint8_t tail[4] = {0, 0, 0xff, 0xff};
    struct span parts[2] = {in, span_of(tail, 4)};
    if (!c->takeover)
        assert_int_equal(inflateReset(&c->z), Z_OK);
    c->z.next_out = c->text;
    c->z.avail_out = sizeof c->text;
    for (int i = 0; i < 2; i++) {
        c->z.next_in = (Bytef *)(uintptr_t)parts[i].p;
        c->z.avail_in = (uInt)parts[i].n;
        int r = inflate(&c->z, Z_SYNC_FLUSH);
        if (r != Z_OK && r != Z_BUF_ERROR)
            fail_msg("inflate: %d", r);
        assert_int_equal(c->z.avail_in, 0);
    }
    c->n = sizeof c->text - c->z.avail_out;
}

/* The next frame, inflated. */
static struct span next_frame(struct client *c)
{
    struct ws_head h;
    while (ws_head_parse(buf_span(&c->in), false, c->agreed, &h) == WS_NEED_MORE || c->in.len - h.size < h.length)
        fill(c);
    assert_true(h.fin && h.length <= sizeof c->text);
    struct span payload = span_of(c->in.data + h.size, (size_t)h.length);
    c->op = h.opcode;
    c->squeezed = h.rsv1;
    if (h.rsv1) {
        inflate_text(c, payload);
    } else {
        if (payload.n)
            memcpy(c->text, payload.p, payload.n);
        c->n = payload.n;
    }
    buf_consume(&c->in, h.size + (size_t)h.length);
    return span_of(c->text, c->n);
}

static bool has(struct span s, const char *part)
{
    return memmem(s.p, s.n, part, strlen(part)) != NULL;
}

/* extensions: the offer, NULL for none; answer: what must be in the answer's line, NULL: there is none. */
static struct client *join(struct world *w, const char *protocol, const char *extensions, const char *answer)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
    struct client *c = calloc(1, sizeof *c);
    char req[768];
    uint8_t *end;
    assert_non_null(c);
    buf_init(&c->in, 64u << 20);
    assert_int_equal(inflateInit2(&c->z, -15), Z_OK);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof a), 0);
    int n = snprintf(req, sizeof req,
                     "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Protocol: %s\r\n%s%s%s\r\n",
                     protocol, extensions ? "Sec-WebSocket-Extensions: " : "", extensions ? extensions : "",
                     extensions ? "\r\n" : "");
    assert_int_equal(send(c->fd, req, (size_t)n, 0), n);
    do {
        fill(c);
        end = memmem(c->in.data, c->in.len, "\r\n\r\n", 4);
    } while (!end);
    struct span head = span_of(c->in.data, (size_t)(end - c->in.data) + 2);
    assert_true(has(head, "HTTP/1.1 101 "));
    c->agreed = has(head, "Sec-WebSocket-Extensions: permessage-deflate");
    assert_int_equal(c->agreed, answer != NULL);
    assert_true(!answer || has(head, answer));
    c->takeover = c->agreed && !has(head, "server_no_context_takeover");
    buf_consume(&c->in, head.n + 2);
    assert_true(has(next_frame(c), "welcome"));
    return c;
}

static void leave(struct client *c)
{
    close(c->fd);
    (void)inflateEnd(&c->z);
    buf_fini(&c->in);
    free(c);
}

static void say(struct client *c, const char *text)
{
    uint8_t f[256] = {0x81, (uint8_t)(0x80 | strlen(text)), 0, 0, 0, 0};
    memcpy(f + 6, text, strlen(text));
    assert_int_equal(send(c->fd, f, 6 + strlen(text), 0), 6 + strlen(text));
}

/* ---- messages ---- */

static void publish(struct world *w, const char *room, enum priority prio, enum data_format format, struct span data)
{
    struct job_head h = {.kind = room ? TARGET_ROOM : TARGET_ALL,
                         .target = span_str(room),
                         .ts_ms = 1,
                         .id = SPAN_LIT("id"),
                         .priority = prio,
                         .format = format,
                         .data = data};
    struct job *j = job_pack(&h);
    assert_non_null(j);
    world_send(w, MSG_JOB, j, 0);
}

/* n letters that compress well. */
static struct span words(char *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = "the same words over and over "[i % 29];
    return span_of(out, n);
}

static uint64_t metric(struct world *w, enum metric id)
{
    return metric_get(&w->metrics, id);
}

/* ---- tests ---- */

static void one_broadcast_is_compressed_once(void **state)
{
    struct world w;
    struct client *c[CLIENTS];
    char text[4000];
    (void)state;
    world_prepare(&w);
    world_start(&w);
    for (unsigned i = 0; i < CLIENTS; i++)
        c[i] =
            join(&w, JSON, i % 2 ? "permessage-deflate" : "permessage-deflate; client_max_window_bits", "; server_no");
    assert_int_equal(metric(&w, M_DEFLATED), 0);
    publish(&w, NULL, PRIO_NORMAL, DATA_TEXT, words(text, sizeof text));
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct span m = next_frame(c[i]);
        assert_true(c[i]->squeezed && c[i]->op == WS_TEXT && m.n > sizeof text && has(m, "\"all\":true"));
        assert_true(memmem(m.p, m.n, text, sizeof text) != NULL);
    }
    assert_int_equal(metric(&w, M_ENCODED), 1);
    assert_int_equal(metric(&w, M_DEFLATED), 1);
    assert_int_equal(metric(&w, M_DELIVERED), CLIENTS);
    assert_in_range(metric(&w, M_DEFLATE_SAVED), sizeof text - 500, sizeof text);
    for (unsigned i = 0; i < CLIENTS; i++)
        leave(c[i]);
    world_stop(&w);
}

/* Both codecs, three windows, and clients without: each form once, each client its own. */
static void mixed_clients(void **state)
{
    static const struct {
        const char *protocol, *offer, *answer;
    } kind[] = {
        {JSON, NULL, NULL},
        {MSGPACK, NULL, NULL},
        {JSON, "permessage-deflate", "takeover\r\n"},
        {JSON, "permessage-deflate; server_max_window_bits=9", "server_max_window_bits=9"},
        {JSON, "permessage-deflate; server_max_window_bits=12", "server_max_window_bits=12"},
        {MSGPACK, "permessage-deflate", "takeover\r\n"},
        {MSGPACK, "permessage-deflate; server_max_window_bits=9", "server_max_window_bits=9"},
        {JSON, "permessage-deflate; server_max_window_bits=8", NULL},
    };
    struct world w;
    struct client *c[3 * ARRAY_LEN(kind)];
    char text[9000];
    (void)state;
    world_prepare(&w);
    world_start(&w);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++)
        c[i] = join(&w, kind[i % ARRAY_LEN(kind)].protocol, kind[i % ARRAY_LEN(kind)].offer,
                    kind[i % ARRAY_LEN(kind)].answer);
    publish(&w, NULL, PRIO_NORMAL, DATA_TEXT, words(text, sizeof text));
    publish(&w, NULL, PRIO_NORMAL, DATA_TEXT, words(text, 20));
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        struct span m = next_frame(c[i]);
        assert_int_equal(c[i]->op, strcmp(kind[i % ARRAY_LEN(kind)].protocol, JSON) == 0 ? WS_TEXT : WS_BINARY);
        assert_int_equal(c[i]->squeezed, c[i]->agreed);
        assert_true(memmem(m.p, m.n, text, sizeof text) != NULL);
        (void)next_frame(c[i]);
        assert_false(c[i]->squeezed); /* below deflate-min */
    }
    assert_int_equal(metric(&w, M_ENCODED), 4);
    assert_int_equal(metric(&w, M_DEFLATED), 5);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++)
        leave(c[i]);
    world_stop(&w);
}

/* What does not shrink goes out plain, and is tried once. */
static void noise_stays_plain(void **state)
{
    struct world w;
    struct client *c[10];
    uint8_t noise[3000];
    (void)state;
    random_bytes(noise, sizeof noise);
    world_prepare(&w);
    world_start(&w);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++)
        c[i] = join(&w, MSGPACK, "permessage-deflate", "");
    publish(&w, NULL, PRIO_NORMAL, DATA_BINARY, span_of(noise, sizeof noise));
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        struct span m = next_frame(c[i]);
        assert_false(c[i]->squeezed);
        assert_true(memmem(m.p, m.n, noise, sizeof noise) != NULL);
    }
    assert_int_equal(metric(&w, M_DEFLATED), 1);
    assert_int_equal(metric(&w, M_DEFLATE_SAVED), 0);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++)
        leave(c[i]);
    world_stop(&w);
}

/* Several messages of a room in one turn: short and long, in order, for both kinds of members. */
static void rooms(void **state)
{
    struct world w;
    struct client *c[6];
    char text[2000];
    (void)state;
    world_prepare(&w);
    world_start(&w);
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = join(&w, JSON, i % 2 ? "permessage-deflate" : NULL, i % 2 ? "" : NULL);
        say(c[i], "{\"type\":\"subscribe\",\"room\":\"news\",\"ref\":1}");
        if (i == 0) {
            struct op *op = world_next_op(&w, OP_INTEREST);
            world_send(&w, MSG_OP, op, 0);
        }
        assert_true(has(next_frame(c[i]), "\"ok\""));
    }
    for (unsigned i = 0; i < 40; i++)
        publish(&w, "news", PRIO_NORMAL, DATA_TEXT, words(text, i * 50 + 1));
    for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
        for (unsigned k = 0; k < 40; k++) {
            struct span m = next_frame(c[i]);
            assert_int_equal(c[i]->squeezed, c[i]->agreed && m.n >= w.cfg.deflate_min);
            assert_in_range(m.n, k * 50 + 1, k * 50 + 130);
        }
        leave(c[i]);
    }
    assert_in_range(metric(&w, M_DEFLATED), 30, 40);
    world_stop(&w);
}

/* With takeover each connection has its own context, in which a repetition costs next to nothing. */
static void takeover_is_each_ones_own(void **state)
{
    struct world w;
    struct client *own, *shared;
    uint8_t noise[3000];
    (void)state;
    random_bytes(noise, sizeof noise);
    world_prepare(&w);
    w.cfg.deflate_takeover = true;
    world_start(&w);
    own = join(&w, MSGPACK, "permessage-deflate", "permessage-deflate\r\n");
    shared = join(&w, MSGPACK, "permessage-deflate; server_no_context_takeover", "; server_no_context_takeover\r\n");
    for (int i = 0; i < 5; i++) {
        uint64_t before = metric(&w, M_DEFLATE_SAVED);
        publish(&w, NULL, PRIO_NORMAL, DATA_BINARY, span_of(noise, sizeof noise));
        struct span m = next_frame(own);
        assert_true(own->squeezed && memmem(m.p, m.n, noise, sizeof noise) != NULL);
        m = next_frame(shared);
        assert_true(!shared->squeezed && memmem(m.p, m.n, noise, sizeof noise) != NULL);
        assert_true(i == 0 || metric(&w, M_DEFLATE_SAVED) - before > 2900);
    }
    leave(own);
    leave(shared);
    world_stop(&w);
}

/* A slow client with takeover: its queue overflows, live messages are dropped, and what arrives is still understood, in
 * order. */
static void takeover_survives_drops(void **state)
{
    struct world w;
    struct client *c, *pace;
    char text[3000];
    unsigned got = 0, plain = 0, last = 0;
    (void)state;
    world_prepare(&w);
    w.cfg.deflate_takeover = true;
    w.cfg.deflate_min = 16;
    w.cfg.outq_soft = 64 * 1024;
    world_start(&w);
    c = join(&w, JSON, "permessage-deflate", "permessage-deflate\r\n");
    pace = join(&w, JSON, NULL, NULL);
    int size = 4096;
    (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    unsigned sent = 0;
    while (sent < 20000 && (metric(&w, M_DROP_NORMAL) == 0 || sent % 100)) {
        uint8_t noise[2200];
        char hex[2 * 1100 + 1];
        random_bytes(noise, 1100);
        for (unsigned i = 0; i < 1100; i++)
            (void)snprintf(hex + 2 * i, 3, "%02x", noise[i]);
        int n = snprintf(text, sizeof text, "{\"n\":%u,\"noise\":\"%s\"}", ++sent, hex);
        publish(&w, NULL, PRIO_NORMAL, DATA_JSON, span_of(text, (size_t)n));
        (void)next_frame(pace);
    }
    assert_true(metric(&w, M_DROP_NORMAL) > 0);
    publish(&w, NULL, PRIO_HIGH, DATA_JSON, SPAN_LIT("{\"n\":1000000}"));
    size = 4 << 20; /* now it reads as fast as it can */
    (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    while (last < 1000000) {
        struct span m = next_frame(c);
        const char *at = memmem(m.p, m.n, "\"n\":", 4);
        assert_non_null(at);
        unsigned n = (unsigned)strtoul(at + 4, NULL, 10);
        assert_true(n > last);
        last = n;
        got++;
        plain += !c->squeezed;
    }
    assert_true(got < sent && plain > 0 && plain < got);
    leave(c);
    leave(pace);
    world_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_broadcast_is_compressed_once),
        cmocka_unit_test(mixed_clients),
        cmocka_unit_test(noise_stays_plain),
        cmocka_unit_test(rooms),
        cmocka_unit_test(takeover_is_each_ones_own),
        cmocka_unit_test(takeover_survives_drops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
