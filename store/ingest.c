/*
 * ingest.c - identities, owners and the window of raw messages.
 *
 * Idea: every message that the subscription brings becomes an entry. An entry whose partition this node owns goes to
 * `todo` at once; one that another node owns waits in the window and goes to `todo` only when that node dies or says
 * that it missed a part. Nothing is ever stored twice by this: an entry is stored under the claim of its identity, and
 * Redis grants a claim once. So everything here may err on the side of trying.
 *
 * Counting is per kind and partition: the bitmaps of claims stay as short as a partition has messages between two
 * markers. A message counts as soon as its name was read, whatever becomes of it afterwards (memory, a P that cannot be
 * read), or the nodes would count apart.
 *
 * Before the first marker of a subscription there is no identity. Such messages are kept; the marker says whether
 * somebody was counting all the while. If so, they are that node's. If not (all subscriptions were cut at once, or this
 * is the first node), they get one too: the distance back from the marker, which is the same for all who read them. The
 * nodes that the marker names may have read none of them, so these have no owner: each who read one tries to store it.
 * A marker that names nobody says that from there on nobody counts: the same again.
 *
 * The window has two bounds. Time: entries of others are let go after window_ms, since a death is known long before;
 * own ones that Redis does not take after life_ms. Bytes: the oldest go first.
 *
 * Dispatcher thread. An entry is freed when its outcome is known, or by the bounds; while it flies somebody holds its
 * address, so it is then only marked and freed with the outcome. An epoch (one marker) lives while it is the newest or
 * an entry points to it.
 */
#include "store/ingest.h"

#include <stdlib.h>

#include "core/hash.h"

enum { NAME_MAX_BYTES = 200, KINDS = 2, DEAD_KNOWN = 64, OVERHEAD = 64 };

struct ingest_epoch {
    unsigned refs;
    uint64_t marker;
    unsigned n;
    uint8_t owner[INGEST_PARTS]; /* index of the node; NOBODY when there is none */
    bool dead[INGEST_NODES];
    uint8_t len[INGEST_NODES];
    char name[INGEST_NODES][NAME_MAX_BYTES];
};

enum { NOBODY = 255 };

struct dead_name {
    uint8_t len;
    char name[NAME_MAX_BYTES];
};

struct ingest {
    struct ingest_cfg cfg;
    char me[NAME_MAX_BYTES];
    struct ingest_epoch *epoch; /* the last marker; NULL: none since the subscription began */
    uint64_t last_marker;
    bool among, all_read;
    uint32_t count[KINDS][INGEST_PARTS];
    uint64_t serial;
    struct list window, todo, unplaced;
    struct dead_name dead[DEAD_KNOWN]; /* a ring: the newest deaths */
    unsigned ndead;
    struct ingest_stats stats;
};

/* ---- epochs ---- */

static void epoch_unref(struct ingest_epoch *ep)
{
    if (ep && --ep->refs == 0)
        free(ep);
}

static struct span epoch_node(const struct ingest_epoch *ep, unsigned i)
{
    return span_of(ep->name[i], ep->len[i]);
}

unsigned ingest_owner(const struct span *nodes, unsigned n, uint8_t part)
{
    /* The key is fixed: all nodes have to agree. */
    const uint64_t key[2] = {UINT64_C(0x637269657220696e), UINT64_C(0x6765737400000000) + part};
    unsigned best = 0;
    uint64_t highest = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t w = siphash13(key, nodes[i]);
        if (i > 0 && w <= highest)
            continue;
        highest = w;
        best = i;
    }
    return best;
}

static bool known_dead(const struct ingest *in, struct span name)
{
    for (unsigned i = 0; i < DEAD_KNOWN; i++) {
        if (in->dead[i].len && span_eq(span_of(in->dead[i].name, in->dead[i].len), name))
            return true;
    }
    return false;
}

static struct span next_word(struct span *text)
{
    while (text->n && *text->p == ' ')
        *text = span_of(text->p + 1, text->n - 1);
    size_t n = 0;
    while (n < text->n && text->p[n] != ' ')
        n++;
    struct span word = span_of(text->p, n);
    *text = span_of(text->p + n, text->n - n);
    return word;
}

static uint64_t number(struct span s)
{
    uint64_t v = 0;
    if (s.n > 19)
        return 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return 0;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    return v;
}

static void add_node(struct ingest *in, struct ingest_epoch *ep, struct span name)
{
    if (ep->n == INGEST_NODES || name.n >= NAME_MAX_BYTES)
        return;
    memcpy(ep->name[ep->n], name.p, name.n);
    ep->len[ep->n] = (uint8_t)name.n;
    ep->dead[ep->n] = known_dead(in, name);
    ep->n++;
}

static void share_out(struct ingest_epoch *ep)
{
    struct span nodes[INGEST_NODES];
    for (unsigned i = 0; i < ep->n; i++)
        nodes[i] = epoch_node(ep, i);
    for (unsigned part = 0; part < INGEST_PARTS; part++)
        ep->owner[part] = ep->n ? (uint8_t)ingest_owner(nodes, ep->n, (uint8_t)part) : NOBODY;
}

static bool is_me(const struct ingest *in, struct span name)
{
    return span_eq(name, span_str(in->me));
}

/* ---- entries ---- */

static size_t cost(const struct ingest_entry *e)
{
    return sizeof(*e) + OVERHEAD + e->name_len + e->len;
}

static void forget(struct ingest *in, struct ingest_entry *e)
{
    list_unlink(&e->window);
    list_unlink(&e->todo);
    if (e->flying) {
        e->over = true;
        return;
    }
    in->stats.bytes -= cost(e);
    in->stats.entries--;
    epoch_unref(e->epoch);
    free(e);
}

/* In the order in which they came: what flew and came back stands before what came later. */
static void put_todo(struct ingest *in, struct ingest_entry *e)
{
    struct list *at = in->todo.prev;
    if (list_linked(&e->todo) || e->flying)
        return;
    while (at != &in->todo && CONTAINER_OF(at, struct ingest_entry, todo)->serial > e->serial)
        at = at->prev;
    e->todo.prev = at;
    e->todo.next = at->next;
    at->next->prev = &e->todo;
    at->next = &e->todo;
}

static bool owned_by_me(const struct ingest *in, const struct ingest_entry *e)
{
    return e->owner != NOBODY && is_me(in, epoch_node(e->epoch, e->owner));
}

static void replay(struct ingest *in, struct ingest_entry *e)
{
    if (list_linked(&e->todo) || e->flying || e->replay)
        return;
    e->replay = true;
    in->stats.replays++;
    put_todo(in, e);
}

static bool to_be_stored(const struct ingest_entry *e)
{
    return e->flying || list_linked(&e->todo);
}

static void give_up(struct ingest *in, struct ingest_entry *e)
{
    if (to_be_stored(e))
        in->stats.lost++;
    else
        in->stats.evicted++;
    forget(in, e);
}

static void make_room(struct ingest *in)
{
    struct list *const both[] = {&in->unplaced, &in->window};
    for (unsigned k = 0; k < ARRAY_LEN(both); k++) {
        struct list *l = both[k]->next;
        while (l != both[k] && in->stats.bytes > in->cfg.max_bytes) {
            struct ingest_entry *e = CONTAINER_OF(l, struct ingest_entry, window);
            l = l->next;
            if (!e->flying)
                give_up(in, e);
        }
    }
}

static struct ingest_entry *entry_new(struct ingest *in, enum target_kind kind, uint8_t part, struct span name,
                                      struct span payload, uint64_t now_ms)
{
    struct ingest_entry *e = malloc(sizeof(*e) + name.n + payload.n);
    if (!e) {
        in->stats.lost++;
        return NULL;
    }
    *e = (struct ingest_entry){.kind = kind,
                               .part = part,
                               .owner = NOBODY,
                               .born_ms = now_ms,
                               .serial = ++in->serial,
                               .name_len = name.n,
                               .len = payload.n};
    memcpy(e->bytes, name.p, name.n);
    if (payload.n)
        memcpy(e->bytes + name.n, payload.p, payload.n);
    in->stats.bytes += cost(e);
    in->stats.entries++;
    return e;
}

/* Gives an entry its identity; stores it, or keeps it for its owner. */
static void place(struct ingest *in, struct ingest_entry *e, uint32_t count, bool before)
{
    struct ingest_epoch *ep = in->epoch;
    ep->refs++;
    e->epoch = ep;
    e->marker = ep->marker;
    e->count = count;
    e->before = before;
    e->owner = ep->owner[e->part];
    list_push(&in->window, &e->window);
    if (before || owned_by_me(in, e)) /* who is named may have come after the message: whoever read it tries */
        put_todo(in, e);
    else if (e->owner != NOBODY && ep->dead[e->owner])
        replay(in, e);
}

static uint32_t *counter(struct ingest *in, enum target_kind kind, uint8_t part)
{
    return &in->count[kind == TARGET_USER ? 0 : 1][part];
}

void ingest_count(struct ingest *in, enum target_kind kind, uint8_t part)
{
    ++*counter(in, kind, part);
}

void ingest_message(struct ingest *in, enum target_kind kind, uint8_t part, struct span name, struct span payload,
                    uint64_t now_ms)
{
    uint32_t count = (*counter(in, kind, part))++;
    struct ingest_entry *e = entry_new(in, kind, part, name, payload, now_ms);
    if (!e)
        return;
    if (in->epoch)
        place(in, e, count, false);
    else
        list_push(&in->unplaced, &e->window);
    make_room(in);
}

/* ---- markers ---- */

/* Those that came before the first marker: counted back from it, or let go. */
static void place_unplaced(struct ingest *in, bool fresh)
{
    uint32_t back[KINDS][INGEST_PARTS] = {0};
    for (struct list *l = in->unplaced.prev; l != &in->unplaced; l = l->prev) {
        struct ingest_entry *e = CONTAINER_OF(l, struct ingest_entry, window);
        e->count = back[e->kind == TARGET_USER ? 0 : 1][e->part]++;
    }
    struct list *l;
    while ((l = list_pop(&in->unplaced)) != NULL) {
        struct ingest_entry *e = CONTAINER_OF(l, struct ingest_entry, window);
        if (fresh) {
            place(in, e, e->count, true);
        } else {
            in->stats.unplaced++;
            forget(in, e);
        }
    }
}

/* After a marker that names nobody there is no identity, as before the first one: the next one counts back. */
static void begin_epoch(struct ingest *in, struct ingest_epoch *ep, bool fresh)
{
    bool placed = in->epoch != NULL;
    epoch_unref(in->epoch);
    in->epoch = ep;
    in->among = false;
    for (unsigned i = 0; i < ep->n; i++)
        in->among |= is_me(in, epoch_node(ep, i));
    memset(in->count, 0, sizeof(in->count));
    if (!placed && (ep->n || !fresh))
        place_unplaced(in, fresh);
    if (ep->n)
        return;
    epoch_unref(ep);
    in->epoch = NULL;
}

void ingest_marker(struct ingest *in, struct span text, uint64_t now_ms)
{
    struct span holes[INGEST_NODES];
    unsigned nholes = 0;
    bool fresh = false, all = false;
    uint64_t marker = number(next_word(&text));
    struct ingest_epoch *ep = marker ? calloc(1, sizeof(*ep)) : NULL;
    if (!ep) {
        if (marker)
            ingest_cut(in); /* no memory: nothing that follows could be placed */
        return;
    }
    ep->refs = 1;
    ep->marker = marker;
    for (struct span word; (word = next_word(&text)).n > 0;) {
        if (SPAN_IS(word, "="))
            fresh = true;
        else if (SPAN_IS(word, "*"))
            all = true;
        else if (word.p[0] != '!')
            add_node(in, ep, word);
        else if (nholes < INGEST_NODES)
            holes[nholes++] = span_of(word.p + 1, word.n - 1);
    }
    share_out(ep);
    in->last_marker = marker;
    bool named = ep->n > 0;
    begin_epoch(in, ep, fresh); /* may free it */
    in->all_read = all && named;
    in->stats.holes += nholes;
    for (unsigned i = 0; i < nholes; i++)
        ingest_hole(in, holes[i], marker);
    ingest_tick(in, now_ms);
}

void ingest_cut(struct ingest *in)
{
    struct list *l;
    while ((l = list_pop(&in->unplaced)) != NULL) {
        in->stats.unplaced++;
        forget(in, CONTAINER_OF(l, struct ingest_entry, window));
    }
    epoch_unref(in->epoch);
    in->epoch = NULL;
    in->among = in->all_read = false;
    memset(in->count, 0, sizeof(in->count));
}

bool ingest_placed(const struct ingest *in)
{
    return in->epoch != NULL;
}

unsigned ingest_named(const struct ingest *in)
{
    return in->epoch ? in->epoch->n : 0;
}

bool ingest_among(const struct ingest *in)
{
    return in->among;
}

bool ingest_all_read(const struct ingest *in)
{
    return in->all_read;
}

uint64_t ingest_last_marker(const struct ingest *in)
{
    return in->last_marker;
}

/* ---- other nodes ---- */

static void take_share(struct ingest *in, struct span node, uint64_t before)
{
    struct list *l = in->window.next;
    while (l != &in->window) {
        struct ingest_entry *e = CONTAINER_OF(l, struct ingest_entry, window);
        l = l->next;
        if (e->owner != NOBODY && e->marker < before && span_eq(epoch_node(e->epoch, e->owner), node) &&
            !owned_by_me(in, e))
            replay(in, e);
    }
}

void ingest_dead(struct ingest *in, struct span node)
{
    if (node.n == 0 || node.n >= NAME_MAX_BYTES || known_dead(in, node))
        return;
    struct dead_name *d = &in->dead[in->ndead++ % DEAD_KNOWN];
    d->len = (uint8_t)node.n;
    memcpy(d->name, node.p, node.n);
    for (unsigned i = 0; in->epoch && i < in->epoch->n; i++)
        in->epoch->dead[i] |= span_eq(epoch_node(in->epoch, i), node);
    take_share(in, node, UINT64_MAX);
}

void ingest_hole(struct ingest *in, struct span node, uint64_t marker)
{
    take_share(in, node, marker);
}

/* ---- storing ---- */

struct ingest_entry *ingest_take(struct ingest *in)
{
    struct list *l = list_pop(&in->todo);
    if (!l)
        return NULL;
    struct ingest_entry *e = CONTAINER_OF(l, struct ingest_entry, todo);
    e->flying = true;
    return e;
}

void ingest_done(struct ingest *in, struct ingest_entry *e)
{
    e->flying = false;
    forget(in, e);
}

void ingest_again(struct ingest *in, struct ingest_entry *e)
{
    e->flying = false;
    if (e->over)
        forget(in, e);
    else
        put_todo(in, e);
}

/* ---- time ---- */

void ingest_tick(struct ingest *in, uint64_t now_ms)
{
    struct list *l = in->window.next;
    while (l != &in->window) {
        struct ingest_entry *e = CONTAINER_OF(l, struct ingest_entry, window);
        uint64_t age = now_ms > e->born_ms ? now_ms - e->born_ms : 0;
        l = l->next;
        if (age < in->cfg.window_ms)
            break; /* oldest first */
        if (!to_be_stored(e))
            forget(in, e);
        else if (age >= in->cfg.life_ms && !e->flying)
            give_up(in, e);
    }
    while ((l = in->unplaced.next) != &in->unplaced) {
        struct ingest_entry *e = CONTAINER_OF(l, struct ingest_entry, window);
        if (now_ms < e->born_ms + in->cfg.life_ms)
            break;
        in->stats.lost++;
        forget(in, e);
    }
}

/* ---- life ---- */

struct ingest *ingest_new(const struct ingest_cfg *cfg)
{
    struct ingest *in = calloc(1, sizeof(*in));
    if (!in)
        return NULL;
    in->cfg = *cfg;
    list_init(&in->window);
    list_init(&in->todo);
    list_init(&in->unplaced);
    return in;
}

void ingest_free(struct ingest *in)
{
    if (!in)
        return;
    struct list *const both[] = {&in->unplaced, &in->window};
    for (unsigned k = 0; k < ARRAY_LEN(both); k++) {
        struct list *l;
        while ((l = list_pop(both[k])) != NULL) {
            struct ingest_entry *e = CONTAINER_OF(l, struct ingest_entry, window);
            e->flying = false;
            forget(in, e);
        }
    }
    epoch_unref(in->epoch);
    free(in);
}

void ingest_set_name(struct ingest *in, const char *name)
{
    size_t n = strlen(name);
    if (n >= sizeof(in->me))
        n = sizeof(in->me) - 1;
    memcpy(in->me, name, n);
    in->me[n] = '\0';
}

const struct ingest_stats *ingest_stats(const struct ingest *in)
{
    return &in->stats;
}
