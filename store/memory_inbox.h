/*
 * memory_inbox.h - one user's inbox in memory: entries, devices, cursors; the same rules as crier.lua. Time is handed
 * in. Dispatcher thread.
 */
#ifndef STORE_MEMORY_INBOX_H
#define STORE_MEMORY_INBOX_H

#include "core/base.h"

struct job;
struct op_attach;
struct op_page;

#define INBOX_MAX_DEVICES 16

struct inbox_device {
    char *name;
    uint64_t seq, seen_s;
    bool named, attached;
};

struct user_inbox {
    struct job **ring; /* entries, oldest first; one reference each */
    unsigned cap, first, count;
    uint64_t top, best, gap; /* last seq given out, highest ack, newest seq dropped by the cap */
    unsigned keep_s;         /* of a room: how long it keeps anything; 0: no room */
    bool registered;         /* a session of this user is here */
    struct inbox_device dev[INBOX_MAX_DEVICES];
    unsigned ndev;
    size_t bytes; /* of entries */
    uint8_t len;
    char name[];
};

/* How long cursors of devices that left are kept, seconds. */
struct session_terms {
    unsigned named_s, guest_s;
};

struct user_inbox *user_inbox_new(struct span name) MUST_CHECK;
void user_inbox_free(struct user_inbox *b);

size_t user_inbox_cost(const struct job *j);
/* Room for one more entry; false when memory is out. */
bool user_inbox_reserve(struct user_inbox *b) MUST_CHECK;
/* Takes one reference. The oldest beyond `most` entries are dropped and leave a gap, unless they had come to their own
 * end. Needs user_inbox_reserve before. */
void user_inbox_append(struct user_inbox *b, struct job *j, unsigned most, uint64_t now_s);

/* Where the device's session starts, and the gap it is to be told of; fills cursor and page.gap. What the client brings
 * may allow a trim, which is the caller's. False when memory is out. */
bool user_inbox_attach(struct user_inbox *b, struct op_attach *a, uint64_t now_s) MUST_CHECK;
/* Entries with seq > from into the page; *pending: how many there are in all. False when memory is out. */
bool user_inbox_page(const struct user_inbox *b, uint64_t from, unsigned limit, size_t max_bytes, uint64_t now_s,
                     struct op_page *page, uint64_t *pending) MUST_CHECK;
/* The newest entries with seq < before (0: all), oldest first; page->more: there are older ones. */
bool user_inbox_tail(const struct user_inbox *b, uint64_t before, unsigned limit, size_t max_bytes, uint64_t now_s,
                     struct op_page *page) MUST_CHECK;
void user_inbox_move(struct user_inbox *b, const char *device, bool named, uint64_t seq, uint64_t now_s, bool attached);
/* Trims to the lowest cursor of the devices whose session lasts, forgets the others. */
void user_inbox_trim(struct user_inbox *b, uint64_t now_s, struct session_terms t);
/* The entry of that seq, if it is there and has not expired; borrowed. */
struct job *user_inbox_find(const struct user_inbox *b, uint64_t seq, uint64_t now_s);
/* How many entries have seq > from and have not expired. */
unsigned user_inbox_pending(const struct user_inbox *b, uint64_t from, uint64_t now_s);
/* Empties it; devices that had not had it all are told of a gap. Returns how many entries went. */
unsigned user_inbox_clear(struct user_inbox *b);
/* Drops what has expired (a gap where a room's entry had lived as long as the room keeps any); returns when something
 * will expire next, unix seconds, UINT64_MAX: never. */
uint64_t user_inbox_expire(struct user_inbox *b, uint64_t now_s, struct session_terms t);
/* Nothing is worth keeping: no entry, no session, no cursor. */
bool user_inbox_idle(const struct user_inbox *b);

#endif
