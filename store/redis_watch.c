/*
 * redis_watch.c - rooms whose changes somebody on this node wants to hear.
 *
 * Idea: for each such room a copy of who is in it, so that a change is told once whatever happens on the way. Changes
 * come over the room's presence channel, numbered and naming the one before. The rule is that of an inbox: what is not
 * newer than the last is dropped, what names the last as the one before it is told, anything else is fetched: Redis
 * keeps a room's last changes. So watchers hear of each change once, under its own number, also of those that this node
 * has missed; whoever asked for the list meanwhile sees by the numbers which of them it holds already.
 *
 * Only where Redis has no unbroken row of changes from the last one on (the first time; after so many that it let some
 * go; after it has lost some itself) the list is read. It takes several calls while changes go on, so each user carries
 * the number of the last change that is known of it, and afterwards the changes since the first page are fetched, of
 * which each user takes those that are newer. What the list and the copy differ in is told as if it had just happened,
 * with one exception: for a while after a reconnect nobody is taken for gone, since other nodes may have to register
 * again too. While a call is under way nothing is taken from the channel: that something came is remembered.
 *
 * The answer to a watcher comes when the channel delivers and the first list is complete. Dispatcher thread. A room
 * here lives until it is no longer wanted and no call points to it.
 */
#include <stdlib.h>

#include <hiredis/hiredis.h>

#include "core/clock.h"
#include "core/config.h"
#include "store/redis_keys.h"
#include "store/redis_page.h"
#include "store/redis_presence.h"
#include "store/redis_store.h"

enum {
    LIST_PAGE = 1000,
    EVENT_HEAD = 17, /* 'J' or 'L', I8 I8 */
    RETRY_MS = 1000,
    AUDIT_MS = 60000,
};

struct wuser {
    uint64_t seq; /* the last change that is known */
    uint32_t gen; /* the last list it stood in */
    bool here;
    uint8_t len;
    char name[];
};

struct watched {
    bool wanted;
    bool filled;   /* a first list is complete */
    bool busy;     /* a list or changes are being read */
    bool again;    /* something came meanwhile */
    unsigned refs; /* calls under way */
    uint32_t gen;
    uint64_t seq;       /* of the last change that is known, and all before it */
    uint64_t first_seq; /* at which the list under way began */
    uint64_t floor;     /* no change is told under a lower number: Redis may have lost some, watchers have not */
    uint64_t leaves_ms; /* before that time nobody is taken for gone */
    uint64_t due_ms;    /* when to look again; 0: not */
    bool distrust;      /* then the list is read, not the changes */
    bool lacking;       /* memory was out for somebody of the list under way */
    uint64_t audit_ms;
    uint64_t asked_ms;
    struct list ops; /* that wait for the first list */
    struct map users;
    size_t len;
    char name[];
};

struct redis_watch {
    struct map rooms;
};

struct redis_watch *redis_watch_new(void)
{
    struct redis_watch *w = malloc(sizeof(*w));
    if (w)
        map_init(&w->rooms);
    return w;
}

static struct span name_of(const struct watched *w)
{
    return span_of(w->name, w->len);
}

static void forget_users(struct watched *w)
{
    size_t it = 0;
    struct wuser *u;
    while ((u = map_next(&w->users, &it)) != NULL)
        free(u);
    map_fini(&w->users);
}

/* Ops that wait have been answered: redis_store's end does so before. */
void redis_watch_free(struct redis_watch *all)
{
    if (!all)
        return;
    size_t it = 0;
    struct watched *w;
    while ((w = map_next(&all->rooms, &it)) != NULL) {
        forget_users(w);
        free(w);
    }
    map_fini(&all->rooms);
    free(all);
}

static void answer(struct redis_store *s, struct watched *w, enum op_status status)
{
    struct list *l;
    while ((l = list_pop(&w->ops)) != NULL)
        redis_finish(s, CONTAINER_OF(l, struct op, link), status, "The room's presence is not known yet.");
}

static void release(struct redis_store *s, struct watched *w)
{
    if (w->wanted || w->refs)
        return;
    map_remove(&s->watch->rooms, name_of(w));
    forget_users(w);
    free(w);
}

/* ---- the copy ---- */

static void tell(struct redis_store *s, struct watched *w, const struct wuser *u, uint64_t seq)
{
    if (!w->filled)
        return;
    struct presence *p = presence_new(name_of(w), span_of(u->name, u->len), u->here, seq > w->floor ? seq : w->floor);
    if (p)
        s->up.presence(s->up.arg, p);
    else
        log_limited(&s->noise, 5, LOG_ERROR, "redis", "memory is out: a change of presence is not told");
}

/* Finds or makes it, away as yet. NULL: memory is out; the list will be read. */
static struct wuser *user_of(struct watched *w, struct span name)
{
    struct wuser *u = map_get(&w->users, name);
    if (u)
        return u;
    u = name.n <= UINT8_MAX ? calloc(1, sizeof(*u) + name.n) : NULL;
    if (u) {
        u->len = (uint8_t)name.n;
        memcpy(u->name, name.p, name.n);
    }
    if (u && map_put(&w->users, span_of(u->name, u->len), u))
        return u;
    free(u);
    w->due_ms = clock_mono_ms() + RETRY_MS;
    w->distrust = w->lacking = true;
    return NULL;
}

/* May free u. */
static void set(struct redis_store *s, struct watched *w, struct wuser *u, bool here, uint64_t seq)
{
    bool news = u->here != here;
    u->here = here;
    u->seq = seq;
    if (news)
        tell(s, w, u, seq);
    if (!here) {
        map_remove(&w->users, span_of(u->name, u->len));
        free(u);
    }
}

static void change(struct redis_store *s, struct watched *w, struct span name, bool join, uint64_t seq)
{
    struct wuser *u = map_get(&w->users, name);
    if (!u && join)
        u = user_of(w, name);
    if (u && u->seq < seq)
        set(s, w, u, join, seq);
}

/* ---- the list ---- */

struct asking {
    struct watched *room;
    uint32_t gen;
};

static bool send_list(struct redis_store *s, struct asking *c, struct span after);
static void look(struct redis_store *s, struct watched *w);

static struct asking *asking_new(struct watched *w)
{
    struct asking *c = malloc(sizeof(*c));
    if (c)
        *c = (struct asking){w, w->gen};
    return c;
}

/* Takes c. */
static bool send_call(struct redis_store *s, struct asking *c, redis_reply_cb *cb)
{
    c->room->refs++;
    if (redis_send(s, cb, c, false) == REDIS_SENT)
        return true;
    c->room->refs--;
    free(c);
    return false;
}

static void end_call(struct redis_store *s, struct asking *c)
{
    struct watched *w = c->room;
    free(c);
    w->refs--;
    release(s, w);
}

/* Nobody knows what has changed: everything is read. */
static void begin_list(struct redis_store *s, struct watched *w)
{
    w->due_ms = clock_mono_ms() + RETRY_MS; /* unless it succeeds */
    w->distrust = true;
    w->gen++;
    w->first_seq = UINT64_MAX;
    w->floor = w->filled && w->seq >= w->floor ? w->seq + 1 : w->floor;
    struct asking *c = redis_store_usable(s) ? asking_new(w) : NULL;
    w->again = w->lacking = false;
    w->busy = c && send_list(s, c, span_of(NULL, 0));
}

/* Those that the list did not have are gone. */
static void drop_absent(struct redis_store *s, struct watched *w)
{
    size_t it = 0;
    struct wuser *u;
    while ((u = map_next(&w->users, &it)) != NULL) {
        if (u->gen != w->gen && u->seq <= w->first_seq)
            set(s, w, u, false, w->seq); /* takes out the entry just given, which the walk allows */
    }
}

/* What changed since its first page comes next. */
static void end_list(struct redis_store *s, struct watched *w)
{
    uint64_t now = clock_mono_ms();
    bool leaves = !w->filled || now >= w->leaves_ms;
    w->busy = false;
    w->distrust = !leaves || w->lacking;
    if (!w->distrust)
        w->due_ms = 0;
    else if (!leaves)
        w->due_ms = w->leaves_ms;
    w->audit_ms = now + AUDIT_MS;
    w->seq = w->first_seq;
    if (leaves)
        drop_absent(s, w);
    w->filled = true;
    answer(s, w, OP_OK);
    if (w->again)
        look(s, w);
}

static void take_listed(struct redis_store *s, struct watched *w, const struct redisReply *r, uint64_t seq)
{
    for (size_t i = 2; i < r->elements; i++) {
        const struct redisReply *e = r->element[i];
        struct wuser *u = e->type == REDIS_REPLY_STRING ? user_of(w, span_of(e->str, (size_t)e->len)) : NULL;
        if (!u)
            continue;
        u->gen = w->gen;
        if (u->seq <= seq && !u->here)
            set(s, w, u, true, seq);
    }
}

static void on_list(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct asking *c = arg;
    struct watched *w = c->room;
    char why[96];
    bool good = redis_judge(s, r, why, sizeof(why)) == OP_OK && redis_integers(r, 2);
    if (c->gen != w->gen) {
        /* of a list that nobody waits for any more */
    } else if (!good || !w->wanted) {
        w->busy = false; /* due_ms stands */
    } else {
        uint64_t seq = redis_integer(r, 0);
        if (w->first_seq > seq)
            w->first_seq = seq;
        take_listed(s, w, r, seq);
        const struct redisReply *last = r->element[r->elements - 1];
        if (r->elements == LIST_PAGE + 2 && last->type == REDIS_REPLY_STRING) {
            w->refs--; /* send_list counts it anew */
            w->busy = send_list(s, c, span_of(last->str, (size_t)last->len));
            return;
        }
        end_list(s, w);
    }
    end_call(s, c);
}

/* Takes c. */
static bool send_list(struct redis_store *s, struct asking *c, struct span after)
{
    struct watched *w = c->room;
    uint8_t part = redis_part(name_of(w));
    redis_fcall(s, "crier_presence", 2);
    redis_key(s, &s->args, part, "p", name_of(w));
    redis_key(s, &s->args, part, "v", name_of(w));
    resp_arg(&s->args, after);
    resp_u64(&s->args, LIST_PAGE);
    return send_call(s, c, on_list);
}

/* ---- changes ---- */

/* One change, as it stands in the channel and in Redis' list. False: it does not follow the last one. */
static bool take_change(struct redis_store *s, struct watched *w, struct span text)
{
    if (text.n <= EVENT_HEAD || (text.p[0] != 'J' && text.p[0] != 'L'))
        return true;
    uint64_t seq = redis_big_endian(text.p + 1, 8), prev = redis_big_endian(text.p + 9, 8);
    if (seq <= w->seq)
        return true;
    if (prev != w->seq)
        return false;
    w->seq = seq;
    change(s, w, span_of(text.p + EVENT_HEAD, text.n - EVENT_HEAD), text.p[0] == 'J', seq);
    return true;
}

static bool take_changes(struct redis_store *s, struct watched *w, const struct redisReply *r)
{
    for (size_t i = 2; i < r->elements; i++) {
        const struct redisReply *e = r->element[i];
        if (e->type != REDIS_REPLY_STRING || !take_change(s, w, span_of(e->str, (size_t)e->len)))
            return false;
    }
    return w->seq == redis_integer(r, 1);
}

static void on_changes(void *owner, void *arg, const struct redisReply *r)
{
    struct redis_store *s = owner;
    struct asking *c = arg;
    struct watched *w = c->room;
    char why[96];
    bool good = redis_judge(s, r, why, sizeof(why)) == OP_OK && redis_integers(r, 2);
    if (c->gen == w->gen) {
        w->busy = false;
        if (good && w->wanted) {
            w->due_ms = w->distrust ? w->due_ms : 0;
            if (redis_integer(r, 0) == 0 || !take_changes(s, w, r))
                begin_list(s, w);
            else if (w->again)
                look(s, w);
        }
    }
    end_call(s, c);
}

/* What has changed since the last change that is known? */
static void look(struct redis_store *s, struct watched *w)
{
    if (w->busy) {
        w->again = true;
        return;
    }
    if (!w->filled) {
        begin_list(s, w);
        return;
    }
    if (!w->due_ms)
        w->due_ms = clock_mono_ms() + RETRY_MS; /* unless it succeeds */
    w->again = false;
    struct asking *c = redis_store_usable(s) ? asking_new(w) : NULL;
    if (!c)
        return;
    uint8_t part = redis_part(name_of(w));
    redis_fcall(s, "crier_changes", 2);
    redis_key(s, &s->args, part, "v", name_of(w));
    redis_key(s, &s->args, part, "V", name_of(w));
    resp_u64(&s->args, w->seq);
    w->busy = send_call(s, c, on_changes);
}

void redis_watch_came(struct redis_store *s, struct span room, struct span text)
{
    struct watched *w = map_get(&s->watch->rooms, room);
    if (!w || !w->wanted)
        return;
    if (w->busy)
        w->again = true;
    else if (w->filled && !take_change(s, w, text))
        look(s, w);
}

/* ---- wanting ---- */

static struct watched *add(struct redis_store *s, struct span room)
{
    struct watched *w = calloc(1, sizeof(*w) + room.n + 1);
    if (!w)
        return NULL;
    w->len = room.n;
    memcpy(w->name, room.p, room.n);
    map_init(&w->users);
    list_init(&w->ops);
    if (map_put(&s->watch->rooms, name_of(w), w))
        return w;
    free(w);
    return NULL;
}

/* The room's presence channel, in s->args' buffer; borrowed until the next command is built. */
static struct span channel_of(struct redis_store *s, struct span room)
{
    resp_reset(&s->args);
    if (!buf_append_str(&s->args.b, s->cfg->prefix) || !buf_append_str(&s->args.b, "presence:") ||
        !buf_append_span(&s->args.b, room))
        return span_of(NULL, 0);
    return buf_span(&s->args.b);
}

void redis_watch_start(struct redis_store *s, struct span room, struct op *op)
{
    struct watched *w = map_get(&s->watch->rooms, room);
    bool fresh = !w || !w->wanted;
    if (!w)
        w = add(s, room);
    struct span channel = w ? channel_of(s, room) : span_of(NULL, 0);
    if (!w || !channel.n || !redis_sub_add(s->sub, channel, false)) {
        if (w)
            release(s, w);
        redis_finish(s, op, OP_FULL, "Memory is out.");
        return;
    }
    w->wanted = true;
    if (w->filled && !fresh) {
        redis_finish(s, op, OP_OK, NULL);
        return;
    }
    if (list_empty(&w->ops))
        w->asked_ms = clock_mono_ms();
    list_push(&w->ops, &op->link);
    if (fresh)
        w->filled = false;
    if (fresh && redis_sub_confirmed(s->sub, channel_of(s, room)))
        begin_list(s, w);
}

void redis_watch_stop(struct redis_store *s, struct span room)
{
    struct watched *w = map_get(&s->watch->rooms, room);
    if (!w || !w->wanted)
        return;
    struct span channel = channel_of(s, room);
    if (channel.n)
        redis_sub_remove(s->sub, channel);
    w->wanted = w->filled = w->again = w->busy = false;
    w->gen++; /* what is under way has nobody to tell */
    answer(s, w, OP_AWAY);
    release(s, w);
}

void redis_watch_stop_all(struct redis_store *s)
{
    size_t it = 0;
    struct watched *w;
    while (s->watch && (w = map_next(&s->watch->rooms, &it)) != NULL)
        answer(s, w, OP_AWAY);
}

void redis_watch_confirmed(struct redis_store *s, struct span room)
{
    struct watched *w = map_get(&s->watch->rooms, room);
    if (w && w->wanted)
        look(s, w);
}

void redis_watch_sync(struct redis_store *s)
{
    size_t it = 0;
    struct watched *w;
    while ((w = map_next(&s->watch->rooms, &it)) != NULL) {
        if (!w->wanted)
            continue;
        w->leaves_ms = clock_mono_ms() + REDIS_DEAD_MS;
        look(s, w);
    }
}

void redis_watch_tick(struct redis_store *s)
{
    uint64_t now = clock_mono_ms();
    size_t it = 0;
    struct watched *w;
    while ((w = map_next(&s->watch->rooms, &it)) != NULL) {
        if (!list_empty(&w->ops) && now - w->asked_ms > s->cfg->redis_timeout_ms)
            answer(s, w, OP_AWAY);
        if (!w->wanted || !redis_store_usable(s))
            continue;
        if (w->busy)
            continue;
        if (w->due_ms && now >= w->due_ms && w->distrust) {
            begin_list(s, w);
        } else if ((w->due_ms && now >= w->due_ms) || (w->filled && now >= w->audit_ms)) {
            w->audit_ms = now + AUDIT_MS;
            look(s, w);
        }
    }
}
