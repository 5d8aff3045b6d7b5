/*
 * source.c - the publisher. Saturating means: as fast as it goes while at most `window` messages are on their way to
 * the slowest client process (for unicast: to all users together); the board's counters tell, so nothing is ever asked
 * of the measured server. At a rate, message k leaves k/rate seconds after the start and is stamped with that moment,
 * so a delay of the publisher counts as delay. Random users come from a generator with a fixed seed.
 */
#include "source.h"

#include "stamp.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define BURST       64u
#define FULL_NS     100000u      /* how long to wait when the window is full */
#define STALL_NS    500000000u   /* after this long without progress a burst goes out anyway */
#define PATIENCE_NS 20000000000u /* the same where one message goes to a whole cluster */
#define UNANSWERED  256u
#define HTTP_WINDOW 32u

struct source {
    const struct options *o;
    struct board *board;
    struct stamp stamp;
    struct wire wire;
    char *payload;
    uint64_t published, limit, base; /* base: deliveries before this publisher */
    enum aim aim;
    uint32_t *count; /* AIM_RANDOM: messages to each user so far */
    uint64_t random;
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* xorshift64 */
static uint64_t next_random(struct source *s)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random;
}

static int add_to_room(struct source *s, uint64_t k, uint64_t stamp_ns)
{
    const struct options *o = s->o;
    char room[96] = "";
    unsigned n = (unsigned)(k % o->rooms);
    uint64_t number = k;
    if (o->rooms > 1 || o->spread) {
        snprintf(room, sizeof room, "%s%u", o->room, n);
        number = o->spread ? k / o->rooms : stamp_number(n, k / o->rooms);
    } else if (o->room) {
        snprintf(room, sizeof room, "%s", o->room);
    }
    stamp_write(&s->stamp, s->payload, o->size, number, stamp_ns);
    return wire_add(&s->wire, room, FEED_ALL, s->payload, o->size);
}

static int add_one(struct source *s, uint64_t stamp_ns)
{
    char user[64];
    uint64_t k = s->published++, seq = 0;
    uint32_t index = 0;
    switch (s->aim) {
    case AIM_ROOM:
    case AIM_EVERYBODY:
        return add_to_room(s, k, stamp_ns);
    case AIM_TURN:
        index = (uint32_t)(k % s->o->subs);
        seq = k / s->o->subs;
        break;
    case AIM_RANDOM:
        index = (uint32_t)(next_random(s) % s->o->subs);
        seq = s->o->messages + s->count[index]++;
        break;
    }
    snprintf(user, sizeof user, "%s%u", s->o->user_prefix, index);
    stamp_write(&s->stamp, s->payload, s->o->size, seq, stamp_ns);
    return wire_add(&s->wire, user, index, s->payload, s->o->size);
}

static int send_out(struct source *s)
{
    atomic_store_explicit(&s->board->published, s->published, memory_order_relaxed);
    return wire_flush(&s->wire, s->wire.url.scheme == URL_HTTP ? HTTP_WINDOW : UNANSWERED);
}

/* Messages that were received, or are known to be lost, by the slowest. */
static uint64_t received(struct source *s)
{
    struct tally t = board_tally(s->board);
    if (s->aim == AIM_ROOM && s->o->spread)
        return (t.deliveries + t.lost) * s->o->rooms / s->o->subs;
    if (s->aim == AIM_ROOM || s->aim == AIM_EVERYBODY)
        return board_slowest(s->board);
    return t.deliveries + t.lost - s->base;
}

static bool over(struct source *s)
{
    return board_phase(s->board) >= PHASE_DRAIN || s->published >= s->limit;
}

static int saturate(struct source *s)
{
    uint64_t seen = 0, since = now_ns(), stall = s->aim == AIM_EVERYBODY ? PATIENCE_NS : STALL_NS;
    while (!over(s)) {
        uint64_t got = received(s), now = now_ns();
        uint64_t away = s->published > got ? s->published - got : 0;
        uint64_t room = away < s->o->window ? s->o->window - away : 0;
        if (got != seen) {
            seen = got;
            since = now;
        }
        if (room == 0 && now - since > stall) {
            board_add(&s->board->stalls, 1);
            since = now;
            room = BURST;
        }
        if (room == 0) {
            sleep_until(now + FULL_NS);
            continue;
        }
        for (uint64_t n = room < BURST ? room : BURST; n > 0 && s->published < s->limit; n--)
            if (add_one(s, now_ns()) < 0)
                return -1;
        if (send_out(s) < 0)
            return -1;
    }
    return 0;
}

static int pace(struct source *s)
{
    uint64_t start = now_ns(), step = 1000000000u / s->o->rate;
    while (!over(s)) {
        uint64_t now = now_ns(), due = start + s->published / s->o->burst * s->o->burst * step;
        if (now < due) {
            sleep_until(due);
            continue;
        }
        for (unsigned n = 0; n < s->o->burst && s->published < s->limit; n++)
            if (add_one(s, due) < 0)
                return -1;
        if (send_out(s) < 0)
            return -1;
    }
    return 0;
}

static int publish_all(struct source *s)
{
    (void)prctl(PR_SET_TIMERSLACK, 1000);
    while (board_phase(s->board) < PHASE_WARM)
        sleep_until(now_ns() + 1000000);
    if ((s->o->rate ? pace(s) : saturate(s)) < 0 || wire_flush(&s->wire, 0) < 0)
        return -1;
    if (s->wire.unheard) {
        fprintf(stderr, "crier-bench: %llu of %llu messages were published to a channel nobody was subscribed to\n",
                (unsigned long long)s->wire.unheard, (unsigned long long)s->published);
        return -1;
    }
    atomic_store_explicit(&s->board->publish_done, 1, memory_order_release);
    return 0;
}

int source_run(const struct options *o, struct board *b, unsigned run, enum aim aim)
{
    struct source s = {.o = o, .board = b, .aim = aim, .limit = UINT64_MAX, .random = 88172645463325252u};
    s.wire.fd = -1;
    s.base = board_tally(b).deliveries;
    if (aim == AIM_EVERYBODY)
        s.limit = o->messages;
    if (aim == AIM_RANDOM)
        s.limit = o->total;
    stamp_init(&s.stamp, run);
    s.payload = malloc(o->size);
    s.count = aim == AIM_RANDOM ? calloc(o->subs, sizeof *s.count) : NULL;
    int r =
        s.payload && (s.count || aim != AIM_RANDOM) ? wire_open(&s.wire, o, aim == AIM_TURN || aim == AIM_RANDOM) : -1;
    if (r == 0)
        r = publish_all(&s);
    wire_close(&s.wire);
    free(s.payload);
    free(s.count);
    return r == 0 ? 0 : 1;
}
