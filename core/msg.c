/*
 * msg.c - small messages between threads, and what becomes of items that reach nobody. Any thread; an item has one
 * holder at a time.
 */
#include "core/msg.h"

#include <stdlib.h>

#include "core/inbox.h"
#include "core/log.h"

struct behind *behind_new(struct span user, uint64_t seq)
{
    if (user.n > SIZE_MAX - sizeof(struct behind) - 1)
        return NULL;
    struct behind *b = malloc(sizeof(*b) + user.n + 1);
    if (!b)
        return NULL;
    b->seq = seq;
    b->len = user.n;
    if (user.n)
        memcpy(b->user, user.p, user.n);
    b->user[user.n] = '\0';
    return b;
}

struct presence *presence_new(struct span room, struct span user, bool join, uint64_t seq)
{
    if (room.n > SIZE_MAX / 4 || user.n > SIZE_MAX / 4)
        return NULL;
    struct presence *p = malloc(sizeof(*p) + room.n + 1 + user.n);
    if (!p)
        return NULL;
    *p = (struct presence){.join = join, .seq = seq, .room_len = room.n, .user_len = user.n};
    if (room.n)
        memcpy(p->text, room.p, room.n);
    p->text[room.n] = '\0';
    if (user.n)
        memcpy(p->text + room.n + 1, user.p, user.n);
    return p;
}

void msg_drop(void *arg, struct item it)
{
    (void)arg;
    switch ((enum msg_kind)it.kind) {
    case MSG_JOB:
        job_unref(it.ptr);
        break;
    case MSG_BEHIND:
    case MSG_ROOM_BEHIND:
    case MSG_PRESENCE:
        free(it.ptr);
        break;
    case MSG_OP:
        op_free(it.ptr);
        break;
    case MSG_CENSUS:
    case MSG_NODE:
        free(it.ptr);
        break;
    case MSG_CALL:
        call_free(it.ptr);
        break;
    case MSG_MOVE:
        log_line(LOG_ERROR, "msg", "a moving connection was left in an inbox: its socket stays open");
        break;
    case MSG_CERTIFICATE:
        log_line(LOG_ERROR, "msg", "a certificate was left in an inbox: its memory is lost");
        break;
    case MSG_STORE_STATE:
    case MSG_STOP:
    case MSG_STOPPED:
    case MSG_FREED:
        break;
    }
}
