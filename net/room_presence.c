/*
 * room_presence.c - who comes into a room and who leaves it, as this shard sees it.
 *
 * All connections of a user are on one shard, so the first one in a room and the last one to leave it are seen here;
 * the store puts the nodes together. Members that asked for it hear of every change in the cluster: while there is one
 * the shard watches the room.
 *
 * Runs on the shard's thread.
 */
#include "core/buf.h"
#include "core/msg.h"
#include "net/room_state.h"
#include "net/shard.h"
#include "net/user.h"

/* Is another connection of the user in the room? */
static bool elsewhere(const struct room *r, const struct session *ses)
{
    const struct list *head = &ses->user->sessions;
    for (const struct list *l = head->next; l != head; l = l->next) {
        const struct session *other = CONTAINER_OF(l, struct session, in_user);
        if (other != ses && room_slot(other, r) >= 0)
            return true;
    }
    return false;
}

static void submit(struct shard *s, const struct room *r, const struct session *ses, bool on)
{
    struct op *op = op_new(OP_PRESENCE);
    if (op) {
        op->presence.room = span_dup(room_name(r));
        op->presence.user = span_dup(span_str(ses->user->name));
        op->presence.on = on;
    }
    if (!op || !op->presence.room || !op->presence.user) {
        op_free(op);
        log_line(LOG_ERROR, "room", "memory is out: who is in a room is not known rightly");
        return;
    }
    shard_submit(s, op);
}

void room_presence_joined(struct shard *s, struct room *r, const struct session *ses)
{
    if (!elsewhere(r, ses))
        submit(s, r, ses, true);
}

void room_presence_left(struct shard *s, struct room *r, const struct session *ses)
{
    if (!elsewhere(r, ses))
        submit(s, r, ses, false);
}

/* ---- watching ---- */

static bool submit_watch(struct shard *s, const struct room *r, bool on)
{
    struct op *op = op_new(OP_WATCH);
    if (!op)
        return false;
    op->watch.room = span_dup(room_name(r));
    op->watch.on = on;
    op->serial = r->watch_serial;
    if (!op->watch.room) {
        op_free(op);
        return false;
    }
    shard_submit(s, op);
    return true;
}

bool room_watch(struct shard *s, struct room *r, struct membership *m)
{
    if (!r->watched && !r->watch_pending) {
        r->watch_serial = ++s->next_ticket;
        r->watch_pending = submit_watch(s, r, true);
        if (!r->watch_pending)
            return false;
    }
    r->watchers += !m->watching;
    m->watching = true;
    return true;
}

void room_unwatch(struct shard *s, struct room *r, struct membership *m)
{
    m->watching = false;
    if (--r->watchers > 0)
        return;
    r->watched = r->watch_pending = false;
    (void)submit_watch(s, r, false);
}

/* Those who asked for presence are told that it cannot be had. */
static void fail_watchers(struct shard *s, struct room *r)
{
    struct waiter **at = &r->waiters;
    while (*at) {
        struct waiter *w = *at;
        if (!w->watch) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        struct session *ses = room_waiting_session(s, w);
        int slot = ses ? room_slot(ses, r) : -1;
        if (slot >= 0 && ses->rooms[slot].watching)
            room_unwatch(s, r, &ses->rooms[slot]);
        room_answer_away(s, ses, r, w);
        at = &r->waiters; /* the list may be another by now */
    }
}

void room_watch_back(struct shard *s, struct op *op)
{
    struct room *r = op->watch.on ? map_get(&s->rooms, span_str(op->watch.room)) : NULL;
    if (r && r->watch_pending && r->watch_serial == op->serial) {
        r->watch_pending = false;
        r->watched = op->status == OP_OK;
        r->held = true;
        if (!r->watched)
            fail_watchers(s, r);
        r->held = false;
        room_advance(s, r);
    }
    op_free(op);
}

void room_presence(struct shard *s, const struct presence *p)
{
    struct room *r = map_get(&s->rooms, presence_room(p));
    struct buf b[2];
    if (!r || r->watchers == 0)
        return;
    buf_init(&b[CODEC_JSON], 4096);
    buf_init(&b[CODEC_MSGPACK], 4096);
    for (unsigned c = 0; c < ARRAY_LEN(b); c++) {
        if (!encode_presence((enum codec)c, presence_room(p), presence_user(p), p->join, p->seq, &b[c]))
            b[c].len = 0;
    }
    r->held = true;
    for (uint32_t i = r->count; i-- > 0;) { /* backwards: one that is closed is replaced by one already told */
        if (i >= r->count)
            continue;
        struct session *ses = r->members[i].session;
        if (ses->rooms[r->members[i].slot].watching && b[ses->io->codec].len)
            (void)ses->io->control(ses, buf_span(&b[ses->io->codec]));
    }
    r->held = false;
    buf_fini(&b[CODEC_JSON]);
    buf_fini(&b[CODEC_MSGPACK]);
    room_leave_if_empty(s, r);
}
