/*
 * redis_fault.c - what an error reply of Redis means.
 *
 * Idea: what a store can do about an error depends on its first word alone: wait and look for the server again, load
 * the functions, tell the caller that there is no room, or give the caller the text.
 *
 * Pure; any thread.
 */
#include <hiredis/hiredis.h>

#include "store/redis_conn.h"

static bool begins(const redisReply *r, const char *word)
{
    return strncmp(r->str, word, strlen(word)) == 0;
}

enum redis_fault redis_fault_of(const struct redisReply *r)
{
    if (!r)
        return REDIS_GONE;
    if (r->type != REDIS_REPLY_ERROR)
        return REDIS_FINE;
    static const char *const away[] = {"LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN",
                                       "BUSY",    "TRYAGAIN",   "MISCONF",  "NOREPLICAS"};
    for (size_t i = 0; i < ARRAY_LEN(away); i++) {
        if (begins(r, away[i]))
            return REDIS_UNAVAILABLE;
    }
    if (strstr(r->str, "Function not found"))
        return REDIS_NO_FUNCTION;
    if (begins(r, "OOM"))
        return REDIS_OUT_OF_MEMORY;
    return REDIS_REJECTED;
}

const char *redis_error_text(const struct redisReply *r)
{
    return r->str;
}
