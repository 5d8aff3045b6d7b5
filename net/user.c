/*
 * user.c - the users of a shard: who is here, on which sessions and polls. Runs on the shard that owns the user. A user
 * is made with its first session or poll and freed with its last; its name is the table's key.
 */
#include "net/user.h"

#include <stdlib.h>

#include "core/config.h"
#include "core/msg.h"
#include "net/poll.h"
#include "net/session.h"
#include "net/shard.h"

static struct session *session_of(struct list *l)
{
    return CONTAINER_OF(l, struct session, in_user);
}

static struct poll *poll_of(struct list *l)
{
    return CONTAINER_OF(l, struct poll, in_user);
}

static struct user *user_get(struct shard *s, struct span name)
{
    struct user *u = map_get(&s->users, name);
    if (u)
        return u;
    u = malloc(sizeof *u + name.n + 1);
    if (!u)
        return NULL;
    list_init(&u->sessions);
    list_init(&u->polls);
    u->count = 0;
    u->held = u->over = false;
    u->len = name.n;
    memcpy(u->name, name.p, name.n);
    u->name[name.n] = '\0';
    if (!map_put(&s->users, span_of(u->name, u->len), u)) {
        free(u);
        return NULL;
    }
    metric_add(s->m, M_USERS, 1);
    return u;
}

static void replace(struct session *old, const char *why)
{
    old->io->close(old, 4010, why, CLOSE_REPLACED);
}

/* The newer one wins: an older one of the same device, or the oldest of too many, ends. `l` is the newer one's link. */
static void make_place(struct shard *s, struct user *u, const struct list *newer, const char *device)
{
    for (struct list *l = u->sessions.next, *next; l != &u->sessions; l = next) {
        next = l->next;
        if (l != newer && strcmp(session_of(l)->device, device) == 0)
            replace(session_of(l), "replaced by a newer connection of this device");
    }
    for (struct list *l = u->polls.next, *next; l != &u->polls; l = next) {
        next = l->next;
        if (l != newer && strcmp(poll_of(l)->device, device) == 0)
            poll_end(poll_of(l));
    }
    while (u->count > s->cfg->max_user_conns) {
        struct list *oldest = u->polls.next;
        if (oldest == newer)
            oldest = oldest->next;
        if (oldest != &u->polls)
            poll_end(poll_of(oldest));
        else
            replace(session_of(u->sessions.next), "too many connections of this user");
    }
}

bool user_join(struct shard *s, struct session *ses, struct span name)
{
    struct user *u = user_get(s, name);
    if (!u)
        return false;
    ses->user = u;
    list_push(&u->sessions, &ses->in_user);
    u->count++;
    make_place(s, u, &ses->in_user, ses->device);
    return true;
}

bool user_join_poll(struct shard *s, struct poll *p, struct span name)
{
    struct user *u = user_get(s, name);
    if (!u)
        return false;
    p->user = u;
    list_push(&u->polls, &p->in_user);
    u->count++;
    make_place(s, u, &p->in_user, p->device);
    return true;
}

/* One less; true when it was the last. */
static bool one_less(struct shard *s, struct user *u)
{
    if (--u->count > 0)
        return false;
    (void)map_remove(&s->users, span_of(u->name, u->len));
    metric_sub(s->m, M_USERS, 1);
    if (u->held)
        u->over = true;
    else
        free(u);
    return true;
}

bool user_leave(struct shard *s, struct session *ses)
{
    struct user *u = ses->user;
    if (!u)
        return false;
    list_unlink(&ses->in_user);
    ses->user = NULL;
    return one_less(s, u);
}

bool user_leave_poll(struct shard *s, struct poll *p)
{
    list_unlink(&p->in_user);
    return one_less(s, p->user);
}

struct session *user_session(const struct shard *s, struct span user, struct span device)
{
    struct user *u = map_get(&s->users, user);
    for (struct list *l = u ? u->sessions.next : NULL; u && l != &u->sessions; l = l->next) {
        if (span_eq(span_str(session_of(l)->device), device))
            return session_of(l);
    }
    return NULL;
}

struct poll *user_poll(const struct shard *s, struct span user, struct span device)
{
    struct user *u = map_get(&s->users, user);
    for (struct list *l = u ? u->polls.next : NULL; u && l != &u->polls; l = l->next) {
        if (span_eq(span_str(poll_of(l)->device), device))
            return poll_of(l);
    }
    return NULL;
}

static void deliver(struct shard *s, struct job *j, uint32_t hash)
{
    struct user *u = map_get_hashed(&s->users, j->head.target, hash);
    if (!u)
        return;
    struct frame_cache fc;
    frame_cache_init(&fc, j);
    u->held = true; /* a slow session may be closed on the way, and be the last */
    for (struct list *l = u->sessions.next, *next; l != &u->sessions; l = next) {
        next = l->next;
        session_offer(session_of(l), &fc);
    }
    for (struct list *l = u->polls.next; l != &u->polls; l = l->next)
        poll_offer(poll_of(l), j);
    frame_cache_fini(&fc);
    u->held = false;
    if (u->over)
        free(u);
}

static uint32_t hash_of(const struct shard *s, const struct job *j)
{
    return j->target_hash ? map_hash_of(j->target_hash) : map_hash(&s->users, j->head.target);
}

/* Asks for the memory of the first session of a user, and of its connection. */
static const struct session *expect_session(const struct user *u)
{
    if (!u || list_empty(&u->sessions))
        return NULL;
    const struct session *ses = session_of(u->sessions.next);
    prefetch(ses, SESSION_HOT);
    return ses;
}

/* Of thousands of users nothing is in the processor's caches, and each is three or four reads that wait for one
 * another: name table, user, session, connection. So all of them take each step together. */
void users_deliver(struct shard *s, struct job *const *jobs, unsigned n)
{
    uint32_t hash[USERS_AT_ONCE];
    const struct user *user[USERS_AT_ONCE];
    const struct session *ses[USERS_AT_ONCE];
    assert(n <= USERS_AT_ONCE);
    for (unsigned i = 0; i < n; i++) {
        hash[i] = hash_of(s, jobs[i]);
        map_expect(&s->users, hash[i]);
    }
    for (unsigned i = 0; i < n; i++)
        user[i] = map_guess(&s->users, hash[i]);
    for (unsigned i = 0; i < n; i++)
        ses[i] = expect_session(user[i]);
    for (unsigned i = 0; i < n; i++) {
        if (ses[i])
            prefetch(ses[i]->conn, CONN_HOT);
    }
    for (unsigned i = 0; i < n; i++)
        deliver(s, jobs[i], hash[i]);
}

void user_behind(struct shard *s, const struct behind *b)
{
    struct user *u = map_get(&s->users, span_of(b->user, b->len));
    if (!u)
        return;
    for (struct list *l = u->sessions.next; l != &u->sessions; l = l->next) {
        struct session *ses = session_of(l);
        session_want(ses, b->seq);
        session_pump(ses);
    }
    for (struct list *l = u->polls.next; l != &u->polls; l = l->next)
        poll_behind(poll_of(l), b->seq);
}

static void control_one(struct session *ses, const struct op_control *o)
{
    switch (o->act) {
    case CONTROL_DISCONNECT:
        ses->io->close(ses, 4009, o->text, CLOSE_SERVER);
        break;
    case CONTROL_JOIN:
        session_put_in(ses, span_str(o->text));
        break;
    case CONTROL_LEAVE:
        session_take_out(ses, span_str(o->text));
        break;
    case CONTROL_COMMAND: /* net/call.c */
        break;
    }
}

void user_control(struct shard *s, const struct op_control *o)
{
    struct user *u = map_get(&s->users, span_str(o->user));
    if (!u)
        return;
    u->held = true; /* the last session may go on the way */
    for (struct list *l = u->sessions.next, *next; l != &u->sessions; l = next) {
        struct session *ses = session_of(l);
        next = l->next;
        if (!o->device || strcmp(o->device, ses->device) == 0)
            control_one(ses, o);
    }
    for (struct list *l = u->polls.next, *next; o->act == CONTROL_DISCONNECT && l != &u->polls; l = next) {
        next = l->next;
        if (!o->device || strcmp(o->device, poll_of(l)->device) == 0)
            poll_end(poll_of(l));
    }
    u->held = false;
    if (u->over)
        free(u);
}

void users_free(struct shard *s)
{
    struct user *u;
    size_t it = 0;
    while ((u = map_next(&s->users, &it)) != NULL)
        free(u);
    map_fini(&s->users);
}
