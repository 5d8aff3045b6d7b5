/*
 * outlane.c - a lane to a shard, and the policy for when it is full.
 *
 * Idea: nobody waits for a shard, so what finds the lane full is turned into state that cannot grow without bound:
 *   the store's state   the last one only
 *   replies             a list of the ops themselves, which the shards pay for: they posted them
 *   controls            stand among the replies, at most OUTLANE_CONTROLS; the others are dropped and counted
 *   stored messages     their user's (or room's) highest seq, one entry a user; the shard fetches them from the inbox
 *   presence            the last change of each user in each room; one that undoes what the shard has not heard yet
 *                       takes both away
 *   live messages       high priority: a ring of OUTLANE_URGENT; the others are dropped and counted
 * While anything waits, later items wait behind it: the lane is looked at again (outlane_flush) when the shard has
 * made room and rung back, and before every push.
 *
 * The shard is woken once for what one turn of the dispatcher's loop brought (or for OUTLANE_UNRUNG items), not at the
 * first of it: what it finds together it writes together, however many shards share the cores.
 *
 * Dispatcher thread: it is the lane's one producer.
 */
#include "store/outlane.h"

#include <stdlib.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/msg.h"

/* A change of presence that waits. */
struct change {
    struct list link;
    struct presence *presence;
    size_t len;
    char key[];
};

static struct span presence_key(const struct presence *p)
{
    return span_of(p->text, p->room_len + 1 + p->user_len);
}

static struct span change_key(const struct change *c)
{
    return span_of(c->key, c->len);
}

static struct change *change_new(struct presence *p)
{
    struct span key = presence_key(p);
    struct change *c = malloc(sizeof(*c) + key.n);
    if (!c)
        return NULL;
    c->presence = p;
    c->len = key.n;
    memcpy(c->key, key.p, key.n);
    return c;
}

void outlane_init(struct outlane *l, struct inbox *inbox, unsigned lane, struct metrics *m)
{
    *l = (struct outlane){.inbox = inbox, .lane = lane, .metrics = m};
    list_init(&l->replies);
    list_init(&l->changes);
    map_init(&l->behind);
    map_init(&l->rooms_behind);
    map_init(&l->last_changes);
}

static struct job *pop_urgent(struct outlane *l)
{
    struct job *j = l->urgent[l->first];
    l->first = (l->first + 1) % OUTLANE_URGENT;
    l->count--;
    return j;
}

static void free_behind(struct map *of)
{
    size_t it = 0;
    struct behind *b;
    while ((b = map_next(of, &it)) != NULL)
        free(b);
    map_fini(of);
}

static void free_change(struct change *c)
{
    free(c->presence);
    free(c);
}

void outlane_fini(struct outlane *l)
{
    struct list *node;
    while ((node = list_pop(&l->replies)) != NULL)
        op_free(CONTAINER_OF(node, struct op, link));
    free_behind(&l->behind);
    free_behind(&l->rooms_behind);
    while ((node = list_pop(&l->changes)) != NULL)
        free_change(CONTAINER_OF(node, struct change, link));
    map_fini(&l->last_changes);
    while (l->count)
        job_unref(pop_urgent(l));
    free(l->urgent);
    free(l->node);
    free(l->census);
}

bool outlane_waiting(const struct outlane *l)
{
    return l->state_pending || l->node || l->census || !list_empty(&l->replies) || l->behind.count ||
           l->rooms_behind.count || l->count || !list_empty(&l->changes);
}

void outlane_ring(struct outlane *l)
{
    if (l->unrung)
        inbox_ring(l->inbox);
    l->unrung = 0;
}

static bool push(struct outlane *l, enum msg_kind kind, uint32_t arg, void *ptr)
{
    bool taken = inbox_put(l->inbox, l->lane, (struct item){kind, arg, ptr});
    l->unrung += taken;
    if (!taken || l->unrung >= OUTLANE_UNRUNG)
        outlane_ring(l);
    return taken;
}

static bool flush_replies(struct outlane *l)
{
    while (!list_empty(&l->replies)) {
        struct list *node = l->replies.next;
        struct op *op = CONTAINER_OF(node, struct op, link);
        bool control = op->kind == OP_CONTROL;
        list_unlink(node); /* before the push: afterwards the op is the shard's */
        if (push(l, MSG_OP, 0, op)) {
            l->controls -= control;
            continue;
        }
        node->next = l->replies.next;
        node->prev = &l->replies;
        l->replies.next->prev = node;
        l->replies.next = node;
        return false;
    }
    return true;
}

static bool flush_behind(struct outlane *l, struct map *of, enum msg_kind kind)
{
    size_t it = 0;
    struct behind *b;
    while (of->count && (b = map_next(of, &it)) != NULL) {
        map_remove(of, span_of(b->user, b->len));
        if (push(l, kind, 0, b))
            continue;
        if (!map_put(of, span_of(b->user, b->len), b)) { /* cannot be: its slot has just become free */
            log_line(LOG_ERROR, "dispatcher", "memory is out: a user is behind and does not know");
            free(b);
        }
        return false;
    }
    return true;
}

static bool flush_changes(struct outlane *l)
{
    while (!list_empty(&l->changes)) {
        struct change *c = CONTAINER_OF(l->changes.next, struct change, link);
        (void)map_remove(&l->last_changes, change_key(c)); /* before the push: then it is the shard's */
        if (push(l, MSG_PRESENCE, 0, c->presence)) {
            list_unlink(&c->link);
            free(c);
            continue;
        }
        if (!map_put(&l->last_changes, change_key(c), c)) /* cannot be: its slot has just become free */
            log_line(LOG_ERROR, "dispatcher", "memory is out: a change of presence may be told twice");
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
    if (l->node) {
        if (!push(l, MSG_NODE, 0, l->node))
            return;
        l->node = NULL;
    }
    if (!flush_changes(l) || !flush_replies(l) || !flush_behind(l, &l->behind, MSG_BEHIND) ||
        !flush_behind(l, &l->rooms_behind, MSG_ROOM_BEHIND))
        return;
    while (l->count) {
        if (!push(l, MSG_JOB, 0, l->urgent[l->first]))
            return;
        (void)pop_urgent(l);
    }
    if (l->census && push(l, MSG_CENSUS, 0, l->census)) /* last: it tells what all before it have brought */
        l->census = NULL;
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

void outlane_node(struct outlane *l, const char *name)
{
    char *copy = span_dup(span_str(name));
    if (!copy)
        return;
    free(l->node);
    l->node = copy;
    outlane_flush(l);
}

void outlane_census(struct outlane *l, struct census *page)
{
    free(l->census);
    l->census = page;
    outlane_flush(l);
}

void outlane_reply(struct outlane *l, struct op *op)
{
    if (!try_push(l, MSG_OP, 0, op))
        list_push(&l->replies, &op->link);
}

void outlane_control(struct outlane *l, struct op *op)
{
    if (try_push(l, MSG_OP, 0, op))
        return;
    if (l->controls == OUTLANE_CONTROLS) {
        metric_add(l->metrics, M_DROP_LANE, 1);
        op_free(op);
        return;
    }
    l->controls++;
    list_push(&l->replies, &op->link);
}

static void remember(struct outlane *l, struct map *of, struct span user, uint64_t seq)
{
    struct behind *b = map_get(of, user);
    if (b) {
        if (seq > b->seq)
            b->seq = seq;
        return;
    }
    b = behind_new(user, seq);
    if (b && map_put(of, span_of(b->user, b->len), b))
        return;
    free(b);
    metric_add(l->metrics, M_DROP_MEMORY, 1);
}

void outlane_behind(struct outlane *l, struct span user, uint64_t seq)
{
    remember(l, &l->behind, user, seq);
    outlane_flush(l);
}

void outlane_room_behind(struct outlane *l, struct span room, uint64_t seq)
{
    remember(l, &l->rooms_behind, room, seq);
    outlane_flush(l);
}

void outlane_presence(struct outlane *l, struct presence *p)
{
    if (try_push(l, MSG_PRESENCE, 0, p))
        return;
    struct change *c = map_get(&l->last_changes, presence_key(p));
    if (c && c->presence->join != p->join) { /* came and went, or went and came: nothing to tell */
        list_unlink(&c->link);
        (void)map_remove(&l->last_changes, change_key(c));
        free_change(c);
        free(p);
        return;
    }
    c = change_new(p);
    if (c && map_put(&l->last_changes, change_key(c), c)) {
        list_push(&l->changes, &c->link);
        return;
    }
    metric_add(l->metrics, M_DROP_MEMORY, 1);
    free(c);
    free(p);
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

bool outlane_job(struct outlane *l, struct job *j)
{
    bool kept = true;
    if (try_push(l, MSG_JOB, 0, j))
        return true;
    if (j->head.seq) {
        remember(l, j->head.kind == TARGET_USER ? &l->behind : &l->rooms_behind, j->head.target, j->head.seq);
    } else if (j->head.priority == PRIO_HIGH && keep_urgent(l, j)) {
        return true;
    } else {
        metric_add(l->metrics, M_DROP_LANE, 1);
        kept = false;
    }
    job_unref(j);
    return kept;
}
