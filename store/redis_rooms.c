/*
 * redis_rooms.c - rooms with history on this node: the same idea as redis_users.c, one size smaller.
 *
 * Idea: Redis' key of a room says which nodes want its messages; this table is what this node wants, so that after any
 * loss everything can be registered again, and `last` tells which rooms have messages that did not come through: those
 * go upstairs as `room_behind`. A room that is no longer wanted stays here until Redis has confirmed that, since what
 * is not taken back would cost a publish a message.
 *
 * An entry lives while it is wanted, a command under way points to it, or its registration is not taken back yet.
 *
 * Dispatcher thread.
 */
#include "store/redis_rooms.h"

#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "store/redis_beat.h"
#include "store/redis_keys.h"
#include "store/redis_store.h"

enum { SYNC_BATCH = 128, SWEEP_COUNT = 500 };

struct rroom {
    struct list link; /* its partition's */
    uint64_t last;    /* highest seq that has been passed on */
    unsigned refs;    /* commands under way that point here */
    bool wanted;
    bool known;      /* it may be registered in Redis */
    bool registered; /* one join has succeeded since it is wanted */
    uint8_t part, len;
    char name[];
};

struct redis_rooms {
    struct map rooms;
    struct list parts[REDIS_PARTS];
};

struct redis_rooms *redis_rooms_new(void)
{
    struct redis_rooms *r = malloc(sizeof(*r));
    if (!r)
        return NULL;
    map_init(&r->rooms);
    for (unsigned i = 0; i < REDIS_PARTS; i++)
        list_init(&r->parts[i]);
    return r;
}

void redis_rooms_free(struct redis_rooms *r)
{
    if (!r)
        return;
    size_t it = 0;
    struct rroom *x;
    while ((x = map_next(&r->rooms, &it)) != NULL)
        free(x);
    map_fini(&r->rooms);
    free(r);
}

static struct span name_of(const struct rroom *x)
{
    return span_of(x->name, x->len);
}

static struct rroom *find_or_add(struct redis_rooms *r, struct span name)
{
    struct rroom *x = map_get(&r->rooms, name);
    if (x || name.n > UINT8_MAX)
        return x;
    x = calloc(1, sizeof(*x) + name.n + 1);
    if (!x)
        return NULL;
    x->len = (uint8_t)name.n;
    memcpy(x->name, name.p, name.n);
    x->part = redis_part(name);
    if (!map_put(&r->rooms, name_of(x), x)) {
        free(x);
        return NULL;
    }
    list_push(&r->parts[x->part], &x->link);
    return x;
}

static void release(struct redis_store *s, struct rroom *x)
{
    if (x->wanted || x->known || x->refs)
        return;
    list_unlink(&x->link);
    map_remove(&s->rooms->rooms, name_of(x));
    free(x);
}

static void unref(struct redis_store *s, struct rroom *x)
{
    x->refs--;
    release(s, x);
}

bool redis_room_came(struct redis_store *s, struct span room, uint64_t seq)
{
    struct rroom *x = map_get(&s->rooms->rooms, room);
    if (!x || !x->wanted)
        return false;
    if (seq > x->last)
        x->last = seq;
    return true;
}

static void rooms_key(struct redis_store *s, uint8_t part)
{
    redis_part_key(s, &s->args, part, "rooms");
}

/* ---- joining ---- */

struct joining {
    struct op *op;
    struct rroom *room;
};

static void on_joined(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct joining *j = arg;
    char why[96];
    enum op_status status = redis_judge(s, r, why, sizeof(why));
    if (status == OP_OK && (r->type != REDIS_REPLY_INTEGER || r->integer < 0)) {
        status = OP_AWAY;
        snprintf(why, sizeof(why), "Redis gave a strange answer.");
    }
    if (status == OP_OK) {
        j->op->interest.top = (uint64_t)r->integer;
        if (!j->room->registered && j->op->interest.top > j->room->last)
            j->room->last = j->op->interest.top;
        j->room->registered |= j->room->wanted;
    }
    unref(s, j->room);
    redis_finish_now(s, j->op, status, why);
    free(j);
}

static enum redis_sent send_join(struct redis_store *s, struct joining *j)
{
    struct rroom *x = j->room;
    redis_fcall(s, "crier_room_join", 3);
    redis_key(s, &s->args, x->part, "R", name_of(x));
    redis_key(s, &s->args, x->part, "O", span_str(s->node));
    rooms_key(s, x->part);
    resp_arg(&s->args, name_of(x));
    resp_str(&s->args, s->node);
    x->known = true;
    x->refs++;
    return redis_send(s, on_joined, j, false);
}

void redis_room_join(struct redis_store *s, struct span room, struct op *op)
{
    struct rroom *x = find_or_add(s->rooms, room);
    struct joining *j = x && op ? malloc(sizeof(*j)) : NULL;
    if (x)
        x->wanted = true; /* a join that fails is made good by the next sync */
    if (!op)
        return;
    if (!j) {
        redis_finish(s, op, OP_FULL, "Memory is out.");
        return;
    }
    if (!redis_store_usable(s)) {
        free(j);
        redis_finish(s, op, OP_AWAY, NULL);
        return;
    }
    *j = (struct joining){op, x};
    enum redis_sent sent = send_join(s, j);
    if (sent == REDIS_SENT)
        return;
    unref(s, x);
    free(j);
    redis_finish(s, op, sent == REDIS_TOO_MUCH ? OP_FULL : OP_AWAY, "Redis does not take more now.");
}

/* ---- leaving ---- */

static void on_left(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct rroom *x = arg;
    char why[96];
    if (redis_judge(s, r, why, sizeof(why)) == OP_OK && !x->wanted)
        x->known = false;
    unref(s, x);
}

static void send_leave(struct redis_store *s, struct rroom *x)
{
    redis_fcall(s, "crier_room_leave", 2);
    redis_key(s, &s->args, x->part, "R", name_of(x));
    redis_key(s, &s->args, x->part, "O", span_str(s->node));
    resp_arg(&s->args, name_of(x));
    resp_str(&s->args, s->node);
    if (redis_send(s, on_left, x, true) == REDIS_SENT)
        x->refs++;
}

void redis_room_leave(struct redis_store *s, struct span room)
{
    struct rroom *x = map_get(&s->rooms->rooms, room);
    if (!x)
        return;
    x->wanted = x->registered = false;
    if (x->known && redis_store_usable(s))
        send_leave(s, x);
    release(s, x);
}

/* ---- sync ---- */

struct sync {
    unsigned n;
    struct rroom *v[SYNC_BATCH]; /* one reference each */
};

static void drop_sync(struct redis_store *s, struct sync *sy)
{
    for (unsigned i = 0; i < sy->n; i++)
        unref(s, sy->v[i]);
    free(sy);
}

/* {index, top, ...} of those that have more than `last`. */
static void take_sync(struct redis_store *s, struct sync *sy, const struct redisReply *r)
{
    for (size_t i = 1; i + 1 < r->elements; i += 2) {
        const struct redisReply *at = r->element[i], *top = r->element[i + 1];
        if (at->type != REDIS_REPLY_INTEGER || top->type != REDIS_REPLY_INTEGER || at->integer < 1 ||
            at->integer > (long long)sy->n || top->integer < 0)
            return;
        struct rroom *x = sy->v[at->integer - 1];
        if ((uint64_t)top->integer <= x->last || !x->wanted)
            continue;
        x->last = (uint64_t)top->integer;
        s->up.room_behind(s->up.arg, name_of(x), x->last);
    }
}

static void on_sync(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct sync *sy = arg;
    char why[96];
    if (redis_judge(s, r, why, sizeof(why)) == OP_OK && r->type == REDIS_REPLY_ARRAY)
        take_sync(s, sy, r);
    else if (r)
        redis_conn_drop(s->cmd, "the rooms could not be registered again");
    drop_sync(s, sy);
}

static void send_sync(struct redis_store *s, struct sync *sy, uint8_t part)
{
    redis_fcall(s, "crier_sync", sy->n + 1);
    redis_key(s, &s->args, part, "O", span_str(s->node));
    for (unsigned i = 0; i < sy->n; i++)
        redis_key(s, &s->args, part, "R", name_of(sy->v[i]));
    resp_str(&s->args, s->node);
    for (unsigned i = 0; i < sy->n; i++) {
        resp_arg(&s->args, name_of(sy->v[i]));
        resp_u64(&s->args, sy->v[i]->last);
        sy->v[i]->known = true;
    }
    if (redis_send(s, on_sync, sy, true) == REDIS_SENT)
        return;
    redis_conn_drop(s->cmd, "the rooms could not be registered again");
    drop_sync(s, sy);
}

static void sync_part(struct redis_store *s, uint8_t part)
{
    struct list *head = &s->rooms->parts[part], *l = head->next;
    while (l != head) {
        struct sync *sy = malloc(sizeof(*sy));
        if (!sy) {
            redis_conn_drop(s->cmd, "memory is out");
            return;
        }
        sy->n = 0;
        for (; l != head && sy->n < SYNC_BATCH; l = l->next) {
            struct rroom *x = CONTAINER_OF(l, struct rroom, link);
            if (!x->wanted) {
                send_leave(s, x);
                continue;
            }
            x->refs++;
            sy->v[sy->n++] = x;
        }
        if (sy->n == 0)
            free(sy);
        else
            send_sync(s, sy, part);
    }
}

void redis_rooms_sync(struct redis_store *s)
{
    for (unsigned part = 0; part < REDIS_PARTS && redis_conn_is_up(s->cmd); part++)
        sync_part(s, (uint8_t)part);
}

/* ---- sweeps ---- */

struct sweep {
    bool dead; /* of a dead node: redis_sweep.c waits for its end */
    uint8_t part;
    char node[];
};

static bool send_sweep(struct redis_store *s, struct sweep *sw);

static void end_sweep(struct redis_store *s, struct sweep *sw, bool good)
{
    if (sw->dead)
        redis_sweep_over(s, good);
    free(sw);
}

static void on_sweep(void *owner, void *arg, const struct redisReply *r)
{
    bool good = r && r->type == REDIS_REPLY_ARRAY && r->elements > 0 && r->element[0]->type == REDIS_REPLY_INTEGER;
    bool more = good && r->element[0]->integer > 0;
    if (more)
        good = more = send_sweep(owner, arg);
    if (!more)
        end_sweep(owner, arg, good);
}

static bool send_sweep(struct redis_store *s, struct sweep *sw)
{
    redis_fcall(s, "crier_sweep", 1);
    redis_key(s, &s->args, sw->part, "O", span_str(sw->node));
    resp_str(&s->args, sw->node);
    resp_u64(&s->args, SWEEP_COUNT);
    redis_key(s, &s->args, sw->part, "R", span_of(NULL, 0));
    return redis_send(s, on_sweep, sw, true) == REDIS_SENT;
}

bool redis_rooms_sweep_part(struct redis_store *s, const char *node, uint8_t part, bool dead)
{
    struct sweep *sw = malloc(sizeof(*sw) + strlen(node) + 1);
    if (!sw)
        return false;
    sw->dead = dead;
    sw->part = part;
    memcpy(sw->node, node, strlen(node) + 1);
    if (send_sweep(s, sw))
        return true;
    free(sw);
    return false;
}

void redis_rooms_sweep(struct redis_store *s)
{
    for (unsigned part = 0; part < REDIS_PARTS; part++) {
        if (!list_empty(&s->rooms->parts[part]) && !redis_rooms_sweep_part(s, s->node, (uint8_t)part, false))
            redis_conn_drop(s->cmd, "what this node had registered could not be taken back");
    }
}
