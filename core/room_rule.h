/*
 * room_rule.h - what a value of the option room-history says. Pure.
 */
#ifndef CORE_ROOM_RULE_H
#define CORE_ROOM_RULE_H

#include "core/base.h"

#define ROOM_HISTORY_MOST 10000 /* messages of a room */

struct room_rule {
    struct span pattern; /* glob over room names; borrows from the text */
    unsigned length;     /* messages kept, 1 to ROOM_HISTORY_MOST */
    unsigned ttl_s;      /* and for how long, 1 s to 365 days */
};

/* "PATTERN:LENGTH:TTL", such as "chat.*:200:1d"; the pattern may hold colons. */
bool room_rule_parse(const char *text, struct room_rule *out) MUST_CHECK;

#endif
