/*
 * room_rules.h - which rooms keep their messages and which know who is in them, by the options room-history and
 * presence. Pure: every thread of a node gives the same answer.
 */
#ifndef PROTO_ROOM_RULES_H
#define PROTO_ROOM_RULES_H

#include "core/room_rule.h"

struct config;

/* The first rule that fits the room; `out` borrows from the configuration, NULL: not wanted. */
bool room_history(const struct config *cfg, struct span room, struct room_rule *out) MUST_CHECK;
bool room_presence_kept(const struct config *cfg, struct span room) MUST_CHECK;

#endif
