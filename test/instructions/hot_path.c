/*
 * hot_path.c - what callgrind counts (scripts/instructions): a fixed number of messages through the broker's own code,
 * with nothing in it that depends on time or luck.
 *
 *   hot_path all N    N broadcasts, one a turn, through a real shard thread to CLIENTS WebSocket clients
 *   hot_path jobs N   N publishes as they come from Redis, each made a job and let go
 *
 * The counted functions are the shard's `run` and, here, `make_jobs`. Two runs with different N, subtracted, leave the
 * cost of a message without that of starting and connecting.
 */
#include "test/unit/net/shard_world.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/job_codec.h"
#include "proto/ws_frame.h"
#include "store/jobmaker.h"

enum { CLIENTS = 32, READ_BYTES = 4096 };

struct client {
    int fd;
    size_t n;
    uint8_t in[READ_BYTES];
};

static void need(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "hot_path: %s\n", what);
    exit(1);
}

static void fill(struct client *c)
{
    ssize_t n = recv(c->fd, c->in + c->n, sizeof c->in - c->n, 0);
    need(n > 0, "the broker closed a connection");
    c->n += (size_t)n;
}

static void drop(struct client *c, size_t n)
{
    c->n -= n;
    memmove(c->in, c->in + n, c->n);
}

static void take_frame(struct client *c)
{
    struct ws_head h;
    while (ws_head_parse(span_of(c->in, c->n), false, false, &h) == WS_NEED_MORE || c->n - h.size < h.length)
        fill(c);
    drop(c, h.size + (size_t)h.length);
}

static void join(struct world *w, struct client *c)
{
    static const char request[] = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                  "Sec-WebSocket-Protocol: crier.v1.json\r\n\r\n";
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
    uint8_t *end;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->n = 0;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    need(connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0, "no connection");
    need(send(c->fd, request, sizeof request - 1, 0) == sizeof request - 1, "no request");
    do
        fill(c);
    while (!(end = memmem(c->in, c->n, "\r\n\r\n", 4)));
    drop(c, (size_t)(end - c->in) + 4);
    take_frame(c); /* the welcome */
}

static void broadcast(unsigned n)
{
    static const char text[] = "{\"n\":1,\"text\":\"a message of a hundred bytes or so, as a backend might send it\"}";
    struct world w;
    struct client *c = calloc(CLIENTS, sizeof *c);
    need(c != NULL, "memory is out");
    world_prepare(&w);
    world_start(&w);
    for (unsigned i = 0; i < CLIENTS; i++)
        join(&w, &c[i]);
    for (unsigned k = 0; k < n; k++) {
        struct job *j = job_pack(&(struct job_head){.kind = TARGET_ALL,
                                                    .ts_ms = 1,
                                                    .id = SPAN_LIT("id"),
                                                    .priority = PRIO_NORMAL,
                                                    .format = DATA_JSON,
                                                    .data = SPAN_LIT(text)});
        need(j != NULL, "memory is out");
        world_send(&w, MSG_JOB, j, 0);
        for (unsigned i = 0; i < CLIENTS; i++)
            take_frame(&c[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        close(c[i].fd);
    world_stop(&w);
    free(c);
}

__attribute__((noinline)) static void make_jobs(struct jobmaker *jm, unsigned n)
{
    const struct job_source src = {.kind = TARGET_USER,
                                   .target = SPAN_LIT("user-4711"),
                                   .seq = 1700000000000000,
                                   .payload = SPAN_LIT("{\"event\":\"chat\",\"priority\":\"high\",\"ttl\":60,\"data\":"
                                                       "{\"from\":\"alice\",\"text\":\"hello, how are you?\"}}")};
    char why[120];
    for (unsigned i = 0; i < n; i++) {
        struct job *j;
        need(job_make(jm, &src, &j, why, sizeof why) == JOB_MADE, "a publish was refused");
        job_unref(j);
    }
}

int main(int argc, char **argv)
{
    unsigned n = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    need(n > 0, "usage: hot_path all|jobs N");
    if (strcmp(argv[1], "all") == 0) {
        broadcast(n);
        return 0;
    }
    struct metrics m;
    struct jobmaker jm;
    metrics_init(&m, "jobs");
    jobmaker_init(&jm, &m, 65536, true);
    make_jobs(&jm, n);
    jobmaker_fini(&jm);
    return 0;
}
