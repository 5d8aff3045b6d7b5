/*
 * room_rules.c - rooms held against the patterns of the configuration. Pure; any thread.
 */
#include "proto/room_rules.h"

#include "core/config.h"
#include "proto/names.h"

bool room_history(const struct config *cfg, struct span room, struct room_rule *out)
{
    for (unsigned i = 0; i < cfg->room_history.n; i++) {
        struct room_rule rule;
        if (!room_rule_parse(cfg->room_history.v[i], &rule) || !glob_match(rule.pattern, room))
            continue;
        if (out)
            *out = rule;
        return true;
    }
    return false;
}

bool room_presence_kept(const struct config *cfg, struct span room)
{
    for (unsigned i = 0; i < cfg->presence.n; i++) {
        if (glob_match(span_str(cfg->presence.v[i]), room))
            return true;
    }
    return false;
}
