/*
 * shard_world.h - one real shard thread with a listener on a free port and the test in the dispatcher's place:
 *
 *     struct world w;
 *     world_prepare(&w);
 *     w.cfg.window = 4;
 *     world_start(&w);
 *     ... sockets to w.port, world_next_op, world_send ...
 *     world_stop(&w);
 */
#ifndef TEST_UNIT_NET_SHARD_WORLD_H
#define TEST_UNIT_NET_SHARD_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/config.h"
#include "core/inbox.h"
#include "core/metrics.h"
#include "core/msg.h"
#include "net/auth.h"
#include "net/net_env.h"
#include "net/shard.h"

#define DEADLINE_MS 10000

struct world {
    struct config cfg;
    struct net_env env;
    struct auth *auth;
    struct inbox *shard_in[1], *dispatcher, *main_in;
    struct metrics metrics;
    struct metrics *blocks[1];
    uint64_t key[2];
    _Atomic bool ready;
    struct shard *shard;
    int port;
    struct op *ops[64]; /* what the shard has asked for and the test has not looked at */
    unsigned nops;
};

static inline void world_prepare(struct world *w)
{
    memset(w, 0, sizeof *w);
    config_init(&w->cfg);
    w->cfg.dev = true;
}

static inline void world_start(struct world *w)
{
    char err[256], bound[64];
    w->auth = auth_new(&w->cfg, err, sizeof err);
    assert_non_null(w->auth);
    w->shard_in[0] = inbox_new(3, 64);
    w->dispatcher = inbox_new(3, 64);
    w->main_in = inbox_new(3, 64);
    metrics_init(&w->metrics, "shard-0");
    w->blocks[0] = &w->metrics;
    w->env = (struct net_env){.cfg = &w->cfg,
                              .node = "test.1",
                              .version = "0",
                              .nshards = 1,
                              .dispatcher = w->dispatcher,
                              .shards = w->shard_in,
                              .main = w->main_in,
                              .metrics = w->blocks,
                              .nmetrics = 1,
                              .owner_key = w->key,
                              .auth = w->auth,
                              .ready = &w->ready};
    int fd;
    if (!listener_bind("127.0.0.1:0", 1, &fd, bound, sizeof bound, err, sizeof err))
        fail_msg("%s", err);
    w->port = (int)strtol(strrchr(bound, ':') + 1, NULL, 10);
    struct listen_socket ls = {.fd = fd};
    w->shard = shard_start(&w->env, 0, w->shard_in[0], &w->metrics, &ls, 1, err, sizeof err);
    if (!w->shard)
        fail_msg("%s", err);
}

static inline void world_send(struct world *w, enum msg_kind kind, void *ptr, uint32_t arg)
{
    assert_true(inbox_push(w->shard_in[0], 1, (struct item){.kind = kind, .arg = arg, .ptr = ptr}));
}

static inline void world_stop(struct world *w)
{
    world_send(w, MSG_STOP, NULL, STOP_DRAIN);
    world_send(w, MSG_STOP, NULL, STOP_NOW);
    shard_join(w->shard);
    shard_free(w->shard);
    for (unsigned i = 0; i < w->nops; i++)
        op_free(w->ops[i]);
    inbox_free(w->shard_in[0], msg_drop, NULL);
    inbox_free(w->dispatcher, msg_drop, NULL);
    inbox_free(w->main_in, msg_drop, NULL);
    auth_free(w->auth);
    config_fini(&w->cfg);
}

/* ---- in the dispatcher's place ---- */

static inline void world_keep(void *arg, struct item it)
{
    struct world *w = arg;
    assert_int_equal(it.kind, MSG_OP);
    assert_true(w->nops < 64);
    w->ops[w->nops++] = it.ptr;
}

/* The next op of a kind; others are kept for later. */
static inline struct op *world_next_op(struct world *w, enum op_kind kind)
{
    for (;;) {
        for (unsigned i = 0; i < w->nops; i++) {
            struct op *op = w->ops[i];
            if (op->kind != kind)
                continue;
            memmove(w->ops + i, w->ops + i + 1, (--w->nops - i) * sizeof w->ops[0]);
            return op;
        }
        struct pollfd p = {.fd = inbox_fd(w->dispatcher), .events = POLLIN};
        if (poll(&p, 1, DEADLINE_MS) != 1)
            fail_msg("no op of kind %d came", (int)kind);
        (void)inbox_drain(w->dispatcher, 64, world_keep, w);
    }
}

#endif
