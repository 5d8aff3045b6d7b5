/*
 * redis_presence.c - the rooms that users of this node are in, as far as those rooms know who is in them.
 *
 * Idea: a table of what is true here, one entry a room and user, and a list of the entries that Redis may not know
 * rightly (`dirty`). At the end of a turn those are written, one call for neighbours of one partition; the function in
 * Redis sees whether it is the user's first or last node in the room and tells those who watch. What fails is dirty
 * again and goes with the next tick; after a reconnect, a restart of Redis or a new name of this node all of it is.
 * Who comes and goes within one turn was never there. A server that was restarted, or a replica in its place, may have
 * forgotten that somebody went: what it holds in this node's name is then read and compared.
 *
 * An entry lives while it is true, dirty, under way, or may still be known in Redis.
 *
 * Dispatcher thread.
 */
#include "store/redis_presence.h"

#include <event2/event.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "store/redis_beat.h"
#include "store/redis_keys.h"
#include "store/redis_store.h"

enum { BATCH = 64, SWEEP_COUNT = 200 };

struct here {
    struct list link;  /* its partition's */
    struct list dirty; /* linked: Redis may not know it as it is */
    unsigned refs;     /* calls under way */
    bool wanted;       /* the user is in the room */
    bool known;        /* Redis may have it */
    uint8_t part, room_len, user_len;
    char text[]; /* room, line feed, user */
};

struct redis_presence {
    struct map all;
    struct list parts[REDIS_PARTS];
    struct list dirty;
    struct event *turn;
    char run_id[64]; /* of the server that was last written to */
};

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    redis_presence_flush(arg);
}

struct redis_presence *redis_presence_new(struct redis_store *s)
{
    struct redis_presence *p = malloc(sizeof(*p));
    if (!p)
        return NULL;
    p->run_id[0] = '\0';
    map_init(&p->all);
    list_init(&p->dirty);
    for (unsigned i = 0; i < REDIS_PARTS; i++)
        list_init(&p->parts[i]);
    p->turn = event_new(s->loop, -1, 0, on_turn, s);
    if (p->turn)
        return p;
    redis_presence_free(p);
    return NULL;
}

void redis_presence_free(struct redis_presence *p)
{
    if (!p)
        return;
    size_t it = 0;
    struct here *h;
    while ((h = map_next(&p->all, &it)) != NULL)
        free(h);
    map_fini(&p->all);
    if (p->turn)
        event_free(p->turn);
    free(p);
}

static struct span key_of(const struct here *h)
{
    return span_of(h->text, (size_t)h->room_len + 1 + h->user_len);
}
static struct span room_of(const struct here *h)
{
    return span_of(h->text, h->room_len);
}
static struct span user_of(const struct here *h)
{
    return span_of(h->text + h->room_len + 1, h->user_len);
}

static struct here *make(struct span room, struct span user)
{
    if (room.n > UINT8_MAX || user.n > UINT8_MAX)
        return NULL;
    struct here *h = calloc(1, sizeof(*h) + room.n + user.n + 1);
    if (!h)
        return NULL;
    h->part = redis_part(room);
    h->room_len = (uint8_t)room.n;
    h->user_len = (uint8_t)user.n;
    memcpy(h->text, room.p, room.n);
    h->text[room.n] = '\n';
    memcpy(h->text + room.n + 1, user.p, user.n);
    return h;
}

/* NULL: memory is out. */
static struct here *find_or_add(struct redis_presence *p, struct span room, struct span user)
{
    struct here *fresh = make(room, user);
    struct here *h = fresh ? map_get(&p->all, key_of(fresh)) : NULL;
    if (!fresh || h || !map_put(&p->all, key_of(fresh), fresh)) {
        free(fresh);
        return h;
    }
    list_push(&p->parts[fresh->part], &fresh->link);
    return fresh;
}

static void release(struct redis_store *s, struct here *h)
{
    if (h->wanted || h->known || h->refs || list_linked(&h->dirty))
        return;
    list_unlink(&h->link);
    map_remove(&s->presence->all, key_of(h));
    free(h);
}

static void soil(struct redis_store *s, struct here *h)
{
    if (!list_linked(&h->dirty))
        list_push(&s->presence->dirty, &h->dirty);
}

void redis_presence_set(struct redis_store *s, struct op *op)
{
    const struct op_presence *o = &op->presence;
    struct here *h = find_or_add(s->presence, span_str(o->room), span_str(o->user));
    if (h) {
        h->wanted = o->on;
        soil(s, h);
        event_active(s->presence->turn, EV_TIMEOUT, 0);
    } else {
        log_limited(&s->noise, 5, LOG_ERROR, "redis", "memory is out: who is in a room is not known rightly");
    }
    redis_finish(s, op, h ? OP_OK : OP_FULL, "Memory is out.");
}

/* ---- writing ---- */

struct writing {
    bool come;
    unsigned n;
    struct here *v[BATCH]; /* one reference each */
};

static void end_writing(struct redis_store *s, struct writing *c, bool good)
{
    for (unsigned i = 0; i < c->n; i++) {
        struct here *h = c->v[i];
        h->refs--;
        if (!good) {
            h->known = true;
            soil(s, h);
        } else if (!c->come && !h->wanted) {
            h->known = false;
        }
        release(s, h);
    }
    free(c);
}

static void on_written(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    char why[96];
    end_writing(s, arg, redis_judge(s, r, why, sizeof(why)) == OP_OK);
}

/* Channel prefix and the way to publish: arguments of all functions that tell of changes. */
static void arg_channel(struct redis_store *s)
{
    redis_channel(s, &s->args, "presence:", span_of(NULL, 0));
    resp_str(&s->args, "PUBLISH");
}

static bool send_writing(struct redis_store *s, struct writing *c)
{
    uint8_t part = c->v[0]->part;
    redis_fcall(s, c->come ? "crier_come" : "crier_go", 1 + 2 * c->n);
    redis_key(s, &s->args, part, "P", span_str(s->node));
    for (unsigned i = 0; i < c->n; i++) {
        redis_key(s, &s->args, part, "p", room_of(c->v[i]));
        redis_key(s, &s->args, part, "v", room_of(c->v[i]));
    }
    resp_str(&s->args, s->node);
    arg_channel(s);
    for (unsigned i = 0; i < c->n; i++) {
        resp_arg(&s->args, room_of(c->v[i]));
        resp_arg(&s->args, user_of(c->v[i]));
    }
    return redis_send(s, on_written, c, true) == REDIS_SENT;
}

/* The first dirty entries that go together; false: none is left. */
static bool gather(struct redis_store *s, struct writing *c)
{
    struct list *dirty = &s->presence->dirty, *l = dirty->next;
    c->n = 0;
    while (l != dirty && c->n < BATCH) {
        struct here *h = CONTAINER_OF(l, struct here, dirty);
        l = l->next;
        if (!h->wanted && !h->known) { /* came and went before Redis heard of it */
            list_unlink(&h->dirty);
            release(s, h);
            continue;
        }
        if (c->n > 0 && (h->part != c->v[0]->part || h->wanted != c->come))
            break;
        list_unlink(&h->dirty);
        c->come = h->wanted;
        h->known = true;
        h->refs++;
        c->v[c->n++] = h;
    }
    return c->n > 0;
}

void redis_presence_flush(struct redis_store *s)
{
    while (redis_store_usable(s) && s->joined && !list_empty(&s->presence->dirty)) {
        struct writing *c = malloc(sizeof(*c));
        if (!c)
            return;
        if (!gather(s, c)) {
            free(c);
            return;
        }
        if (!send_writing(s, c)) {
            end_writing(s, c, false);
            return;
        }
    }
}

/* ---- what Redis holds ---- */

/* "room\nuser" that this node knows nothing of: it is to go. */
static void found(struct redis_store *s, struct span text)
{
    const uint8_t *cut = memchr(text.p, '\n', text.n);
    if (!cut || map_get(&s->presence->all, text))
        return;
    size_t n = (size_t)(cut - text.p);
    struct here *h = find_or_add(s->presence, span_of(text.p, n), span_of(cut + 1, text.n - n - 1));
    if (!h)
        return;
    h->known = true;
    soil(s, h);
}

static void on_held(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    (void)arg;
    for (size_t i = 0; r && r->type == REDIS_REPLY_ARRAY && i < r->elements; i++) {
        if (r->element[i]->type == REDIS_REPLY_STRING)
            found(s, span_of(r->element[i]->str, (size_t)r->element[i]->len));
    }
    redis_presence_flush(s);
}

static void compare(struct redis_store *s)
{
    for (unsigned part = 0; part < REDIS_PARTS; part++) {
        resp_reset(&s->args);
        resp_str(&s->args, "SMEMBERS");
        redis_key(s, &s->args, (uint8_t)part, "P", span_str(s->node));
        if (redis_send(s, on_held, NULL, true) != REDIS_SENT) {
            redis_conn_drop(s->cmd, "who is in a room could not be compared");
            return;
        }
    }
}

void redis_presence_sync(struct redis_store *s)
{
    struct redis_presence *p = s->presence;
    bool other = p->run_id[0] && strcmp(p->run_id, s->run_id) != 0;
    memcpy(p->run_id, s->run_id, sizeof(p->run_id));
    if (other)
        compare(s);
    for (unsigned part = 0; part < REDIS_PARTS; part++) {
        struct list *head = &s->presence->parts[part];
        for (struct list *l = head->next; l != head; l = l->next)
            soil(s, CONTAINER_OF(l, struct here, link));
    }
    redis_presence_flush(s);
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
    bool good = r && r->type == REDIS_REPLY_INTEGER;
    bool more = good && r->integer > 0;
    if (more)
        good = more = send_sweep(owner, arg);
    if (!more)
        end_sweep(owner, arg, good);
}

static bool send_sweep(struct redis_store *s, struct sweep *sw)
{
    redis_fcall(s, "crier_presence_sweep", 1);
    redis_key(s, &s->args, sw->part, "P", span_str(sw->node));
    resp_str(&s->args, sw->node);
    resp_u64(&s->args, SWEEP_COUNT);
    redis_part_key(s, &s->args, sw->part, "");
    arg_channel(s);
    return redis_send(s, on_sweep, sw, true) == REDIS_SENT;
}

bool redis_presence_sweep_part(struct redis_store *s, const char *node, uint8_t part, bool dead)
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

void redis_presence_sweep(struct redis_store *s)
{
    redis_presence_flush(s);
    for (unsigned part = 0; part < REDIS_PARTS; part++) {
        if (!list_empty(&s->presence->parts[part]) && !redis_presence_sweep_part(s, s->node, (uint8_t)part, false))
            redis_conn_drop(s->cmd, "what this node had registered could not be taken back");
    }
}
