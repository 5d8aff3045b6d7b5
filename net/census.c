/*
 * census.c - the users of this shard, page by page.
 *
 * Idea: the dispatcher compares what its shards have with what the store has, so that nothing that went lost between
 * them stays lost. A page follows the jobs that were in the lane before it, so what it says is up to date with them.
 * The walk goes on over the table of users where the page before ended; a table that has changed its size meanwhile is
 * walked from the start again (users told of twice do no harm, one left out would).
 *
 * On the way every session is looked at: one whose attach or fetch came to nothing asks again.
 *
 * Shard thread. At most one page is here at a time; it is kept while the dispatcher's lane is full.
 */
#include "net/census.h"

#include <stdlib.h>

#include "core/census.h"
#include "core/inbox.h"
#include "core/msg.h"
#include "net/net_env.h"
#include "net/session.h"
#include "net/shard.h"
#include "net/user.h"

static uint64_t has_got(struct user *u)
{
    uint64_t least = CENSUS_HERE;
    for (struct list *l = u->sessions.next; l != &u->sessions; l = l->next) {
        struct session *ses = CONTAINER_OF(l, struct session, in_user);
        session_nudge(ses);
        uint64_t got = ses->sent > ses->wanted ? ses->sent : ses->wanted;
        if (ses->state == SESSION_LIVE && got < least)
            least = got;
    }
    return least;
}

static void add(struct census *c, struct user *u)
{
    struct census_user *to = &c->v[c->n];
    if (u->len > CENSUS_NAME)
        return;
    to->last = has_got(u);
    to->len = (uint8_t)u->len;
    memcpy(to->name, u->name, u->len);
    c->n++;
}

static void fill(struct shard *s, struct census *c)
{
    struct user *u = NULL;
    if (c->first || s->census_epoch != map_epoch(&s->users))
        s->census_at = 0;
    s->census_epoch = map_epoch(&s->users);
    c->n = 0;
    while (c->n < CENSUS_USERS && (u = map_next(&s->users, &s->census_at)) != NULL)
        add(c, u);
    c->end = u == NULL;
}

void census_retry(struct shard *s)
{
    struct census *c = s->census;
    if (c && inbox_push(s->env->dispatcher, s->index, (struct item){.kind = MSG_CENSUS, .ptr = c}))
        s->census = NULL;
}

void census_take(struct shard *s, struct census *c)
{
    if (s->census) { /* there is never a second one; if there were, one answer would do */
        free(c);
        return;
    }
    fill(s, c);
    s->census = c;
    census_retry(s);
}
