/*
 * wheel.c - a hashed timer wheel: slot = due tick mod 512, one round is 51 s, later rounds wait in the same slot.
 *
 * One thread. A tick is numbered from the wheel's start; a timer's tick is its moment rounded up, and a turn fires the
 * ticks that are wholly past: never early, late by less than one tick. Timers are intrusive; the wheel owns none of
 * them, and whoever frees a struct that holds one cancels it first.
 *
 * A turn first gathers what is due on a list of its own, then fires from that list, so that callbacks may arm and
 * cancel whatever they like: a cancelled timer leaves whichever list it is on, and what is armed meanwhile is due at a
 * later tick than the one being turned. `used` has a bit for each slot that is not empty.
 */
#include "core/wheel.h"

static unsigned slot_of(uint32_t tick)
{
    return tick % WHEEL_SLOTS;
}

static void unlink_timer(struct timer *t)
{
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->next = t->prev = NULL;
}

static void link_timer(struct timer *head, struct timer *t)
{
    t->prev = head->prev;
    t->next = head;
    head->prev->next = t;
    head->prev = t;
}

static void note_if_empty(struct wheel *w, unsigned slot)
{
    if (w->slots[slot].next == &w->slots[slot])
        w->used[slot / 64] &= ~((uint64_t)1 << (slot % 64));
}

/* The last tick that is wholly past. */
static uint32_t tick_at(const struct wheel *w, uint64_t now_ms)
{
    return now_ms > w->start_ms ? (uint32_t)((now_ms - w->start_ms) / WHEEL_TICK_MS) : 0;
}

void wheel_init(struct wheel *w, uint64_t now_ms)
{
    *w = (struct wheel){.start_ms = now_ms};
    for (unsigned i = 0; i < WHEEL_SLOTS; i++)
        w->slots[i].next = w->slots[i].prev = &w->slots[i];
}

void wheel_arm(struct wheel *w, struct timer *t, uint64_t now_ms, uint32_t delay_ms)
{
    wheel_cancel(t, w);
    uint64_t at = (now_ms > w->start_ms ? now_ms - w->start_ms : 0) + delay_ms;
    t->due = (uint32_t)((at + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS);
    if (t->due <= w->tick)
        t->due = w->tick + 1;
    unsigned slot = slot_of(t->due);
    link_timer(&w->slots[slot], t);
    w->used[slot / 64] |= (uint64_t)1 << (slot % 64);
    w->armed++;
}

void wheel_cancel(struct timer *t, struct wheel *w)
{
    if (!timer_armed(t))
        return;
    unlink_timer(t);
    note_if_empty(w, slot_of(t->due));
    w->armed--;
}

/* Moves what is due out of one slot; later rounds stay. */
static void gather(struct wheel *w, unsigned slot, struct timer *due)
{
    struct timer *head = &w->slots[slot], *next;
    for (struct timer *t = head->next; t != head; t = next) {
        next = t->next;
        if (t->due <= w->tick) {
            unlink_timer(t);
            link_timer(due, t);
        }
    }
    note_if_empty(w, slot);
}

unsigned wheel_turn(struct wheel *w, uint64_t now_ms, void (*fire)(void *arg, struct timer *t), void *arg)
{
    uint32_t from = w->tick, to = tick_at(w, now_ms);
    if (to <= from)
        return 0;
    w->tick = to;
    struct timer due;
    due.next = due.prev = &due;
    uint32_t slots = to - from < WHEEL_SLOTS ? to - from : WHEEL_SLOTS;
    for (uint32_t i = 1; i <= slots && w->armed; i++)
        gather(w, slot_of(from + i), &due);

    unsigned fired = 0;
    while (due.next != &due) {
        struct timer *t = due.next;
        unlink_timer(t);
        w->armed--;
        fired++;
        fire(arg, t);
    }
    return fired;
}

/* How many ticks after w->tick the next used slot comes, 1 to 512. At least one slot is used. */
static unsigned next_used(const struct wheel *w)
{
    unsigned first = slot_of(w->tick + 1), word = first / 64;
    uint64_t bits = w->used[word] & (~(uint64_t)0 << (first % 64));
    while (!bits) {
        word = (word + 1) % (WHEEL_SLOTS / 64);
        bits = w->used[word];
    }
    unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);
    return (slot + WHEEL_SLOTS - first) % WHEEL_SLOTS + 1;
}

int wheel_next_ms(const struct wheel *w, uint64_t now_ms)
{
    if (w->armed == 0)
        return -1;
    uint64_t at = w->start_ms + (uint64_t)(w->tick + next_used(w)) * WHEEL_TICK_MS;
    return at > now_ms ? (int)(at - now_ms) : 0;
}
