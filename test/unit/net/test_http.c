/*
 * test_http.c - HTTP on a real shard thread over real sockets, with the test in the dispatcher's place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/config.h"
#include "core/inbox.h"
#include "core/metrics.h"
#include "core/msg.h"
#include "net/auth.h"
#include "net/net_env.h"
#include "net/shard.h"

#define DEADLINE_MS 10000
#define API_KEY     "an-api-key-of-some-length"
#define BIG_ASSET   100000

struct world {
    struct config cfg;
    struct net_env env;
    struct auth *auth;
    struct inbox *shard_in[1], *dispatcher, *main_in;
    struct metrics *metrics;
    struct net_asset assets[3];
    uint64_t key[2];
    _Atomic bool ready;
    struct shard *shard;
    int port, public_port;
    struct op *op; /* taken from the dispatcher's inbox */
};

static void bind_one(int *fd, int *port)
{
    char bound[64], err[256];

    if (!listener_bind("127.0.0.1:0", 1, fd, bound, sizeof(bound), err, sizeof(err)))
        fail_msg("%s", err);
    *port = (int)strtol(strrchr(bound, ':') + 1, NULL, 10);
}

static void set(struct world *w, const char *name, const char *value)
{
    char err[256];

    if (!config_set(&w->cfg, name, value, true, err, sizeof(err)))
        fail_msg("%s", err);
}

static void prepare(struct world *w)
{
    static const unsigned char page[] = "<p>";
    static unsigned char big[BIG_ASSET];

    memset(w, 0, sizeof(*w));
    memset(big, 'x', sizeof(big));
    config_init(&w->cfg);
    w->cfg.dev = w->cfg.echo = true;
    w->assets[0] = (struct net_asset){"/console/", "text/html", "\"t1\"", page, 3};
    w->assets[1] = (struct net_asset){"/crier.js", "text/javascript", NULL, page, 3};
    w->assets[2] = (struct net_asset){"/console/big", "text/plain", NULL, big, sizeof(big)};
}

static void start(struct world *w)
{
    char err[256];
    struct listen_socket ls[2] = {{.fd = -1}, {.public = true}};

    w->auth = auth_new(&w->cfg, err, sizeof(err));
    if (!w->auth)
        fail_msg("%s", err);
    w->shard_in[0] = inbox_new(3, 64);
    w->dispatcher = inbox_new(3, 64);
    w->main_in = inbox_new(3, 64);
    w->metrics = aligned_alloc(_Alignof(struct metrics), sizeof(struct metrics));
    metrics_init(w->metrics, "shard-0");
    w->env = (struct net_env){.cfg = &w->cfg,
                              .node = "test.1",
                              .version = "0",
                              .nshards = 1,
                              .dispatcher = w->dispatcher,
                              .shards = w->shard_in,
                              .main = w->main_in,
                              .metrics = &w->metrics,
                              .nmetrics = 1,
                              .owner_key = w->key,
                              .auth = w->auth,
                              .assets = w->assets,
                              .nassets = 3,
                              .ready = &w->ready};
    bind_one(&ls[0].fd, &w->port);
    bind_one(&ls[1].fd, &w->public_port);
    w->shard = shard_start(&w->env, 0, w->shard_in[0], w->metrics, ls, 2, err, sizeof(err));
    if (!w->shard)
        fail_msg("%s", err);
}

static void to_shard(struct world *w, enum msg_kind kind, void *ptr, uint32_t arg)
{
    assert_true(inbox_push(w->shard_in[0], 1, (struct item){.kind = kind, .arg = arg, .ptr = ptr}));
}

static void stop(struct world *w)
{
    to_shard(w, MSG_STOP, NULL, STOP_NOW);
    shard_join(w->shard);
    shard_free(w->shard);
    op_free(w->op);
    inbox_free(w->shard_in[0], msg_drop, NULL);
    inbox_free(w->dispatcher, msg_drop, NULL);
    inbox_free(w->main_in, msg_drop, NULL);
    free(w->metrics);
    auth_free(w->auth);
    config_fini(&w->cfg);
}

static void keep(void *arg, struct item it)
{
    struct world *w = arg;

    assert_int_equal(it.kind, MSG_OP);
    assert_null(w->op);
    w->op = it.ptr;
}

static struct op *next_op(struct world *w)
{
    struct op *op;

    while (!w->op) {
        struct pollfd p = {.fd = inbox_fd(w->dispatcher), .events = POLLIN};
        if (poll(&p, 1, DEADLINE_MS) != 1)
            fail_msg("no op came");
        (void)inbox_drain(w->dispatcher, 1, keep, w);
    }
    op = w->op;
    w->op = NULL;
    return op;
}

/* ---- the client ---- */

struct client {
    int fd;
    size_t len;
    char buf[1 << 20];
    /* the last answer */
    unsigned status;
    char head[8192];
    char *body;
    size_t body_len;
};

static void dial(struct client *c, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->len = 0;
    c->body = NULL;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof(a)), 0);
}

static void hang_up(struct client *c)
{
    free(c->body);
    c->body = NULL;
    close(c->fd);
}

static void say_bytes(struct client *c, const void *p, size_t n)
{
    assert_int_equal(send(c->fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void say(struct client *c, const char *text)
{
    say_bytes(c, text, strlen(text));
}

/* False: the broker closed. */
static bool fill(struct client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    ssize_t n;

    if (poll(&p, 1, DEADLINE_MS) != 1)
        fail_msg("the broker sent nothing");
    n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len, 0);
    if (n <= 0)
        return false;
    c->len += (size_t)n;
    c->buf[c->len] = '\0';
    return true;
}

static void assert_closed(struct client *c)
{
    if (c->len || fill(c))
        fail_msg("bytes instead of an end: %s", c->buf);
    hang_up(c);
}

static const char *header(const struct client *c, const char *name)
{
    static char value[512];
    size_t n = strlen(name);

    for (const char *p = strstr(c->head, "\r\n"); p; p = strstr(p + 2, "\r\n")) {
        if (strncasecmp(p + 2, name, n) == 0 && p[2 + n] == ':') {
            const char *from = p + 2 + n + 2;
            snprintf(value, sizeof(value), "%.*s", (int)strcspn(from, "\r"), from);
            return value;
        }
    }
    return NULL;
}

static void read_answer(struct client *c, bool head_only)
{
    char *end = NULL;
    size_t n;

    while (!(end = c->len ? strstr(c->buf, "\r\n\r\n") : NULL)) {
        if (!fill(c))
            fail_msg("closed instead of an answer");
    }
    n = (size_t)(end - c->buf) + 4;
    assert_true(n < sizeof(c->head));
    memcpy(c->head, c->buf, n);
    c->head[n] = '\0';
    assert_memory_equal(c->head, "HTTP/1.1 ", 9);
    c->status = (unsigned)strtoul(c->head + 9, NULL, 10);
    const char *length = header(c, "Content-Length");
    c->body_len = length && !head_only ? strtoul(length, NULL, 10) : 0;
    while (c->len < n + c->body_len) {
        if (!fill(c))
            fail_msg("closed inside a body");
    }
    free(c->body);
    c->body = malloc(c->body_len + 1);
    memcpy(c->body, c->buf + n, c->body_len);
    c->body[c->body_len] = '\0';
    n += c->body_len;
    memmove(c->buf, c->buf + n, c->len - n + 1);
    c->len -= n;
}

static void expect(struct client *c, unsigned status, const char *part)
{
    read_answer(c, false);
    if (c->status != status || (part && !strstr(c->body, part)))
        fail_msg("%s%s", c->head, c->body);
}

/* One request on a new connection. */
static void ask(struct client *c, int port, const char *text, unsigned status, const char *part)
{
    dial(c, port);
    say(c, text);
    expect(c, status, part);
}

#define GET(path)  "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define PUSH(n)    "POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: " #n "\r\n\r\n"
#define PUSH_BODY  "{\"user\":\"alice\",\"data\": [1, 2]}"
#define PUSH_ALICE PUSH(31) PUSH_BODY

static struct client *new_client(void)
{
    struct client *c = malloc(sizeof(*c));
    assert_non_null(c);
    c->body = NULL;
    return c;
}

/* ---- tests ---- */

static void serves_its_paths(void **state)
{
    struct world w;
    struct client *c = new_client();
    (void)state;

    prepare(&w);
    start(&w);
    ask(c, w.port, GET("/healthz"), 200, "ok");
    assert_non_null(header(c, "Date"));
    assert_int_equal(strlen(header(c, "Date")), 29);
    say(c, GET("/readyz")); /* the same connection goes on */
    expect(c, 503, "store");
    atomic_store(&w.ready, true);
    say(c, GET("/readyz"));
    expect(c, 200, "ready");
    say(c, GET("/metrics"));
    expect(c, 200, "crier_connections{");
    say(c, GET("/console"));
    expect(c, 308, "");
    assert_string_equal(header(c, "Location"), "/console/");
    say(c, GET("/"));
    expect(c, 302, "");
    say(c, GET("/console/"));
    expect(c, 200, "<p>");
    assert_string_equal(header(c, "Content-Type"), "text/html");
    assert_string_equal(header(c, "ETag"), "\"t1\"");
    say(c, "GET /console/ HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"t0\", \"t1\"\r\n\r\n");
    expect(c, 304, "");
    say(c, GET("/crier.js?x=1"));
    expect(c, 200, "<p>");
    say(c, "HEAD /crier.js HTTP/1.1\r\nHost: h\r\n\r\n");
    read_answer(c, true);
    assert_int_equal(c->status, 200);
    assert_string_equal(header(c, "Content-Length"), "3");
    say(c, "OPTIONS /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(c, 204, "");
    assert_string_equal(header(c, "Allow"), "GET, HEAD, POST, OPTIONS");
    say(c, "DELETE /api/push HTTP/1.1\r\nHost: h\r\nX-Request-Id: r-1\r\n\r\n");
    expect(c, 405, "\"code\":\"method_not_allowed\"");
    assert_string_equal(header(c, "Allow"), "POST, OPTIONS");
    assert_string_equal(header(c, "X-Request-Id"), "r-1");
    say(c, GET("/nowhere"));
    expect(c, 404, "{\"error\":{\"code\":\"not_found\"");
    assert_null(header(c, "X-Request-Id"));
    say(c, "GET /healthz HTTP/1.1\r\nHost: h\r\nX-Request-Id: a b\r\n\r\n");
    expect(c, 200, "");
    assert_null(header(c, "X-Request-Id"));
    hang_up(c);
    stop(&w);
    free(c);
}

static void public_listeners_serve_less(void **state)
{
    static const char *const hidden[] = {GET("/metrics"), GET("/console/"),
                                         GET("/console"), GET("/"),
                                         PUSH_ALICE,      "OPTIONS /api/push HTTP/1.1\r\nHost: h\r\n\r\n"};
    struct world w;
    struct client *c = new_client();
    (void)state;

    prepare(&w);
    start(&w);
    dial(c, w.public_port);
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
        say(c, hidden[i]);
        expect(c, 404, "not_found");
    }
    say(c, GET("/crier.js"));
    expect(c, 200, "<p>");
    hang_up(c);
    stop(&w);
    free(c);
}

static void options_hide_paths(void **state)
{
    struct world w;
    struct client *c = new_client();
    (void)state;

    prepare(&w);
    w.cfg.echo = w.cfg.dev = false;
    start(&w);
    dial(c, w.port);
    say(c, GET("/"));
    expect(c, 404, "");
    say(c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
    expect(c, 404, "");
    say(c, GET("/console/"));
    expect(c, 200, "");
    hang_up(c);
    stop(&w);
    free(c);
}

static void reads_bodies(void **state)
{
    struct world w;
    struct client *c = new_client();
    (void)state;

    prepare(&w);
    set(&w, "max-message", "1024");
    start(&w);
    ask(c, w.port, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Type: text/x\r\nContent-Length: 5\r\n\r\nhello", 200,
        "hello");
    assert_string_equal(header(c, "Content-Type"), "text/x");
    say(c,
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nT: "
        "1\r\n\r\n");
    expect(c, 200, "hello world");
    say(c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    read_answer(c, true);
    assert_int_equal(c->status, 100);
    say(c, "again");
    expect(c, 200, "again");
    say(c, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    expect(c, 200, "");
    assert_int_equal(c->body_len, 0);
    hang_up(c);

    ask(c, w.port, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1025\r\n\r\n", 413, "1024 bytes");
    assert_closed(c);
    ask(c, w.port, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999\r\n\r\n", 413, "");
    assert_closed(c);
    char over[1100];
    memset(over, 'y', sizeof(over));
    dial(c, w.port);
    say(c, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n");
    say_bytes(c, over, 1025);
    expect(c, 413, "1024 bytes");
    assert_closed(c);
    ask(c, w.port, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "chunked");
    assert_closed(c);
    ask(c, w.port, "GET /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 413, "no body");
    assert_closed(c);
    stop(&w);
    free(c);
}

/* A request in pieces of every size is the same request. */
static void split_anywhere(void **state)
{
    static const char text[] = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
                               "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nhijk"
                               "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    struct world w;
    struct client *c = new_client();
    size_t n = sizeof(text) - 1;
    (void)state;

    prepare(&w);
    start(&w);
    for (size_t piece = 1; piece <= n; piece += piece < 8 ? 1 : 13) {
        dial(c, w.port);
        for (size_t at = 0; at < n; at += piece)
            say_bytes(c, text + at, n - at < piece ? n - at : piece);
        expect(c, 200, "abcdefg");
        expect(c, 200, "hijk");
        expect(c, 200, "ok");
        hang_up(c);
    }
    stop(&w);
    free(c);
}

static void refuses_bad_heads(void **state)
{
    static const struct {
        const char *text;
        unsigned status;
    } rows[] = {
        {"NONSENSE\r\n\r\n", 400},
        {"GET / HTTP/1.1\n\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
    };
    struct world w;
    struct client *c = new_client();
    char *big = malloc(20000);
    (void)state;

    prepare(&w);
    start(&w);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ask(c, w.port, rows[i].text, rows[i].status, "{\"error\":{\"code\":");
        assert_string_equal(header(c, "Connection"), "close");
        assert_closed(c);
    }
    memset(big, 'a', 20000);
    memcpy(big, "GET /", 5);
    big[10000] = '\0';
    ask(c, w.port, big, 414, "error");
    assert_closed(c);
    memset(big, 'a', 20000);
    memcpy(big, "GET / HTTP/1.1\r\nHost: h\r\nX: ", 28);
    big[10000] = '\0';
    ask(c, w.port, big, 431, "error");
    assert_closed(c);
    assert_true(metric_get(w.metrics, M_HANDSHAKE_HTTP_FAILED) >= ARRAY_LEN(rows) + 2);
    stop(&w);
    free(big);
    free(c);
}

static void old_clients(void **state)
{
    struct world w;
    struct client *c = new_client();
    (void)state;

    prepare(&w);
    start(&w);
    ask(c, w.port, "GET /healthz HTTP/1.0\r\n\r\n", 200, "ok");
    assert_string_equal(header(c, "Connection"), "close");
    assert_closed(c);
    ask(c, w.port, "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, "ok");
    assert_string_equal(header(c, "Connection"), "keep-alive");
    say(c, "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    expect(c, 200, "ok");
    assert_closed(c);
    stop(&w);
    free(c);
}

static void deadlines(void **state)
{
    struct world w;
    struct client *c = new_client();
    (void)state;

    prepare(&w);
    w.cfg.handshake_ms = 200;
    w.cfg.keepalive_ms = 200;
    start(&w);
    dial(c, w.port); /* says nothing */
    assert_closed(c);
    ask(c, w.port, "GET / HT", 408, "head");
    assert_closed(c);
    ask(c, w.port, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc", 408, "body");
    assert_closed(c);
    ask(c, w.port, GET("/healthz"), 200, "ok"); /* then nothing */
    assert_closed(c);
    ask(c, w.port, GET("/healthz") "GET / HT", 200, "ok");
    expect(c, 408, "head");
    assert_closed(c);
    assert_true(metric_get(w.metrics, M_CLOSE_HANDSHAKE_TIMEOUT) >= 2);
    stop(&w);
    free(c);
}

/* A byte now and then does not put the deadline of a head off, nor that of a body: both end in 408. */
static void dripping(void **state)
{
    static const char *const texts[] = {GET("/healthz") "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                        GET("/healthz") "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n"
                                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct world w;
    struct client *c = new_client();
    (void)state;

    prepare(&w);
    w.cfg.handshake_ms = 300;
    start(&w);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t n = strlen(texts[i]), at = n - 50;
        struct pollfd p;
        dial(c, w.port);
        say_bytes(c, texts[i], at);
        expect(c, 200, "ok");
        p = (struct pollfd){.fd = c->fd, .events = POLLIN};
        while (at < n && poll(&p, 1, 40) == 0)
            say_bytes(c, texts[i] + at++, 1);
        assert_true(at < n); /* answered long before the last byte */
        expect(c, 408, NULL);
        hang_up(c);
    }
    stop(&w);
    free(c);
}

/* Answers nobody reads are not piled up: reading requests stops at the soft limit, and goes on when they are read. */
static void unread_answers_are_bounded(void **state)
{
    enum { REQUESTS = 400 };
    static const char text[] = GET("/console/big");
    struct world w;
    struct client *c = new_client();
    char *all = malloc(REQUESTS * sizeof(text));
    (void)state;

    prepare(&w);
    start(&w);
    all[0] = '\0';
    for (int i = 0; i < REQUESTS; i++)
        memcpy(all + (size_t)i * (sizeof(text) - 1), text, sizeof(text));
    dial(c, w.port);
    say(c, all);
    for (int i = 0; i < REQUESTS; i++) {
        expect(c, 200, NULL);
        assert_int_equal(c->body_len, BIG_ASSET);
        assert_true(metric_get(w.metrics, M_OUTQ_BYTES) <= w.cfg.outq_soft + 2 * BIG_ASSET);
    }
    hang_up(c);
    stop(&w);
    free(all);
    free(c);
}

/* ---- POST /api/push ---- */

static void push_waits_for_the_store(void **state)
{
    struct world w;
    struct client *c = new_client();
    struct op *op;
    (void)state;

    prepare(&w);
    start(&w);
    dial(c, w.port);
    say(c, GET("/healthz") PUSH_ALICE GET("/healthz")); /* pipelined: answered in order */
    expect(c, 200, "ok");
    op = next_op(&w);
    assert_int_equal(op->kind, OP_PUSH);
    assert_int_equal(op->push.ntargets, 1);
    assert_string_equal(op->push.targets[0].name, "alice");
    assert_null(op->push.id); /* nobody gave one: no idempotency */
    op->push.targets[0].seq = 123;
    op->push.targets[0].online = 2;
    /* {"id":"<12 characters>","data":[1, 2]} */
    assert_int_equal(op->push.payload_len, 35);
    char id[13] = "";
    memcpy(id, op->push.payload + 7, 12);
    assert_memory_equal(op->push.payload + 19, "\",\"data\":[1, 2]}", 16);
    assert_int_equal(c->len, 0);
    to_shard(&w, MSG_OP, op, 0);
    expect(c, 200, NULL);
    char want[200];
    snprintf(want, sizeof(want), "{\"results\":[{\"user\":\"alice\",\"id\":\"%s\",\"seq\":123,\"online\":2}]}", id);
    assert_string_equal(c->body, want);
    assert_string_equal(header(c, "Content-Type"), "application/json");
    expect(c, 200, "ok");
    assert_int_equal(metric_get(w.metrics, M_PUSH_USER), 1);
    hang_up(c);
    stop(&w);
    free(c);
}

static void push_reports_each_target(void **state)
{
    static const char body[] = "{\"users\":[\"a\",\"b\\\"\",\"c\"],\"data\":1,\"id\":\"m1\"}";
    struct world w;
    struct client *c = new_client();
    char text[300];
    struct op *op;
    (void)state;

    prepare(&w);
    start(&w);
    dial(c, w.port);
    snprintf(text, sizeof(text), "POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    say(c, text);
    op = next_op(&w);
    assert_string_equal(op->push.id, "m1");
    op->push.targets[0].duplicate = true;
    op->push.targets[0].seq = 5;
    op->push.targets[1].status = OP_FULL;
    op->push.targets[2].status = OP_REFUSED;
    to_shard(&w, MSG_OP, op, 0);
    expect(c, 200, "{\"user\":\"a\",\"id\":\"m1\",\"seq\":5,\"online\":0,\"duplicate\":true}");
    assert_non_null(strstr(c->body, "{\"user\":\"b\\\"\",\"error\":{\"code\":\"overloaded\""));
    assert_non_null(strstr(c->body, "{\"user\":\"c\",\"error\":{\"code\":\"refused\""));
    hang_up(c);
    stop(&w);
    free(c);
}

static void push_that_nobody_kept(void **state)
{
    static const struct {
        enum op_status whole, one;
        unsigned status;
        const char *code;
    } rows[] = {{OP_AWAY, OP_OK, 503, "store_away"},     {OP_FULL, OP_OK, 503, "overloaded"},
                {OP_OK, OP_AWAY, 503, "store_away"},     {OP_OK, OP_FULL, 503, "overloaded"},
                {OP_REFUSED, OP_OK, 400, "\"refused\""}, {OP_OK, OP_REFUSED, 400, "\"refused\""}};
    struct world w;
    struct client *c = new_client();
    (void)state;

    prepare(&w);
    start(&w);
    dial(c, w.port);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct op *op;
        say(c, PUSH_ALICE);
        op = next_op(&w);
        op->status = rows[i].whole;
        op->push.targets[0].status = rows[i].one;
        to_shard(&w, MSG_OP, op, 0);
        expect(c, rows[i].status, rows[i].code);
        assert_int_equal(header(c, "Retry-After") != NULL, rows[i].status == 503);
    }
    assert_int_equal(metric_get(w.metrics, M_PUSH_USER), 0);
    hang_up(c);
    stop(&w);
    free(c);
}

static void push_in_msgpack(void **state)
{
    /* {"all": true, "data": [1]} */
    static const uint8_t body[] = "\x82\xa3"
                                  "all\xc3\xa4"
                                  "data\x91\x01";
    static const char line[] = "POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-msgpack; v=1\r\n"
                               "Content-Length: 13\r\n\r\n";
    struct world w;
    struct client *c = new_client();
    struct op *op;
    (void)state;

    prepare(&w);
    start(&w);
    dial(c, w.port);
    say(c, line);
    say_bytes(c, body, 13);
    op = next_op(&w);
    assert_int_equal(op->push.targets[0].kind, TARGET_ALL);
    op->push.targets[0].online = 3;
    assert_memory_equal(op->push.payload + op->push.payload_len - 7,
                        "\xa4"
                        "data\x91\x01",
                        7);
    to_shard(&w, MSG_OP, op, 0);
    expect(c, 200, NULL);
    assert_string_equal(header(c, "Content-Type"), "application/msgpack");
    /* {"results": [{"all": true, "id": str, "online": 3}]} */
    assert_memory_equal(c->body,
                        "\x81\xa7results\x91\x83\xa3"
                        "all\xc3\xa2id\xb8",
                        19);
    assert_memory_equal(c->body + c->body_len - 8, "\xa6online\x03", 8);
    say(c, line);
    say(c, "not msgpack!!");
    expect(c, 400, NULL);
    assert_memory_equal(c->body,
                        "\x81\xa5"
                        "error\x82\xa4"
                        "code\xab"
                        "bad_msgpack",
                        25);
    hang_up(c);
    stop(&w);
    free(c);
}

static void push_is_guarded(void **state)
{
    struct world w;
    struct client *c = new_client();
    (void)state;

    prepare(&w);
    set(&w, "api-key", API_KEY);
    start(&w);
    ask(c, w.port, PUSH_ALICE, 401, "unauthorized");
    assert_non_null(strstr(header(c, "WWW-Authenticate"), "Bearer"));
    say(c, GET("/healthz")); /* its body was there and was passed over */
    expect(c, 200, "ok");
    hang_up(c);
    ask(c, w.port, PUSH(500000), 401, "unauthorized"); /* not waited for */
    assert_closed(c);
    ask(c, w.port,
        "POST /api/push HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.example\r\nAuthorization: Bearer " API_KEY
        "\r\nContent-Length: 2\r\n\r\n{}",
        403, "forbidden_origin");
    hang_up(c);
    ask(c, w.port,
        "POST /api/push HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " API_KEY "\r\nContent-Length: 2\r\n\r\n{}", 400,
        "data is missing");
    hang_up(c);
    ask(c, w.port, PUSH(1114113), 413, "1114112");
    assert_closed(c);
    assert_int_equal(metric_get(w.metrics, M_HANDSHAKE_ORIGIN), 1);
    assert_null(w.op);
    assert_int_equal(inbox_depth(w.dispatcher, 0), 0);
    stop(&w);
    free(c);
}

static void push_by_a_client_that_left(void **state)
{
    struct world w;
    struct client *c = new_client();
    struct op *op;
    (void)state;

    prepare(&w);
    start(&w);
    dial(c, w.port);
    say(c, PUSH_ALICE);
    op = next_op(&w);
    struct linger rst = {.l_onoff = 1};
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
    hang_up(c);
    to_shard(&w, MSG_OP, op, 0);
    ask(c, w.port, GET("/healthz"), 200, "ok"); /* the shard lives on */
    hang_up(c);
    stop(&w);
    free(c);
}

static void draining_answers_first(void **state)
{
    struct world w;
    struct client *waiting = new_client(), *idle = new_client();
    struct op *op;
    (void)state;

    prepare(&w);
    start(&w);
    ask(idle, w.port, GET("/healthz"), 200, "ok");
    dial(waiting, w.port);
    say(waiting, PUSH_ALICE);
    op = next_op(&w);
    to_shard(&w, MSG_STOP, NULL, STOP_DRAIN);
    assert_closed(idle);
    to_shard(&w, MSG_OP, op, 0);
    expect(waiting, 200, "results");
    assert_string_equal(header(waiting, "Connection"), "close");
    assert_closed(waiting);
    stop(&w);
    free(waiting);
    free(idle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_its_paths),
        cmocka_unit_test(public_listeners_serve_less),
        cmocka_unit_test(options_hide_paths),
        cmocka_unit_test(reads_bodies),
        cmocka_unit_test(split_anywhere),
        cmocka_unit_test(refuses_bad_heads),
        cmocka_unit_test(old_clients),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(dripping),
        cmocka_unit_test(unread_answers_are_bounded),
        cmocka_unit_test(push_waits_for_the_store),
        cmocka_unit_test(push_reports_each_target),
        cmocka_unit_test(push_that_nobody_kept),
        cmocka_unit_test(push_in_msgpack),
        cmocka_unit_test(push_is_guarded),
        cmocka_unit_test(push_by_a_client_that_left),
        cmocka_unit_test(draining_answers_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
