/*
 * outlane.c - a lane to a shard, and the policy for when it is full.
 *
 * Idea: nobody waits for a shard, so what finds the lane full is turned into state that cannot grow without bound:
 *   the store's state   the last one only
 *   replies             a list of the ops themselves, which the shards pay for: they posted them
 *   stored messages     their user's highest seq, one entry a user; the shard fetches them from the inbox
 *   live messages       high priority: a ring of OUTLANE_URGENT; the others are dropped and counted
 * While anything waits, later items wait behind it: the lane is looked at again (outlane_flush) when the shard has
 * made room and rung back, and before every push.
 *
 * Dispatcher thread: it is the lane's one producer.
 */
#include "store/outlane.h"

#include <stdlib.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/msg.h"

void outlane_init(struct outlane *l, struct inbox *inbox, unsigned lane, struct metrics *m)
{
    *l = (struct outlane){.inbox = inbox, .lane = lane, .metrics = m};
    list_init(&l->replies);
    map_init(&l->behind);
}

static struct job *pop_urgent(struct outlane *l)
{
    struct job *j = l->urgent[l->first];
    l->first = (l->first + 1) % OUTLANE_URGENT;
    l->count--;
    return j;
}

void outlane_fini(struct outlane *l)
{
    struct list *node;
    while ((node = list_pop(&l->replies)) != NULL)
        op_free(CONTAINER_OF(node, struct op, link));
    size_t it = 0;
    struct behind *b;
    while ((b = map_next(&l->behind, &it)) != NULL)
        free(b);
    map_fini(&l->behind);
    while (l->count)
        job_unref(pop_urgent(l));
    free(l->urgent);
}

bool outlane_waiting(const struct outlane *l)
{
    return l->state_pending || !list_empty(&l->replies) || l->behind.count || l->count;
}

static bool push(struct outlane *l, enum msg_kind kind, uint32_t arg, void *ptr)
{
    return inbox_push(l->inbox, l->lane, (struct item){kind, arg, ptr});
}

static bool flush_replies(struct outlane *l)
{
    while (!list_empty(&l->replies)) {
        struct list *node = l->replies.next;
        struct op *op = CONTAINER_OF(node, struct op, link);
        list_unlink(node); /* before the push: afterwards the op is the shard's */
        if (push(l, MSG_OP, 0, op))
            continue;
        node->next = l->replies.next;
        node->prev = &l->replies;
        l->replies.next->prev = node;
        l->replies.next = node;
        return false;
    }
    return true;
}

static bool flush_behind(struct outlane *l)
{
    size_t it = 0;
    struct behind *b;
    while (l->behind.count && (b = map_next(&l->behind, &it)) != NULL) {
        map_remove(&l->behind, span_of(b->user, b->len));
        if (push(l, MSG_BEHIND, 0, b))
            continue;
        if (!map_put(&l->behind, span_of(b->user, b->len), b)) { /* cannot be: its slot has just become free */
            log_line(LOG_ERROR, "dispatcher", "memory is out: a user is behind and does not know");
            free(b);
        }
        return false;
    }
    return true;
}

void outlane_flush(struct outlane *l)
{
    if (l->state_pending) {
        if (!push(l, MSG_STORE_STATE, l->state, NULL))
            return;
        l->state_pending = false;
    }
    if (!flush_replies(l) || !flush_behind(l))
        return;
    while (l->count) {
        if (!push(l, MSG_JOB, 0, l->urgent[l->first]))
            return;
        (void)pop_urgent(l);
    }
}

static bool try_push(struct outlane *l, enum msg_kind kind, uint32_t arg, void *ptr)
{
    if (outlane_waiting(l))
        outlane_flush(l);
    if (!outlane_waiting(l) && push(l, kind, arg, ptr))
        return true;
    metric_add(l->metrics, M_LANE_FULL, 1);
    return false;
}

void outlane_state(struct outlane *l, bool ready)
{
    l->state_pending = true;
    l->state = ready;
    outlane_flush(l);
}

void outlane_reply(struct outlane *l, struct op *op)
{
    if (!try_push(l, MSG_OP, 0, op))
        list_push(&l->replies, &op->link);
}

static void remember(struct outlane *l, struct span user, uint64_t seq)
{
    struct behind *b = map_get(&l->behind, user);
    if (b) {
        if (seq > b->seq)
            b->seq = seq;
        return;
    }
    b = behind_new(user, seq);
    if (b && map_put(&l->behind, span_of(b->user, b->len), b))
        return;
    free(b);
    metric_add(l->metrics, M_DROP_MEMORY, 1);
}

void outlane_behind(struct outlane *l, struct span user, uint64_t seq)
{
    remember(l, user, seq);
    outlane_flush(l);
}

static bool keep_urgent(struct outlane *l, struct job *j)
{
    if (!l->urgent)
        l->urgent = malloc(OUTLANE_URGENT * sizeof(struct job *));
    if (!l->urgent || l->count == OUTLANE_URGENT)
        return false;
    l->urgent[(l->first + l->count++) % OUTLANE_URGENT] = j;
    return true;
}

void outlane_job(struct outlane *l, struct job *j)
{
    if (try_push(l, MSG_JOB, 0, j))
        return;
    if (j->head.seq && j->head.kind == TARGET_USER) {
        remember(l, j->head.target, j->head.seq);
    } else if (j->head.priority == PRIO_HIGH && keep_urgent(l, j)) {
        return;
    } else {
        metric_add(l->metrics, M_DROP_LANE, 1);
    }
    job_unref(j);
}
