/*
 * call.c - making and freeing calls. Any thread, each call held by one at a time; every pointer in it is its own.
 */
#include "core/call.h"

#include <stdlib.h>

struct call *call_new(enum call_kind kind, struct span user, struct span device)
{
    struct call *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->kind = kind;
    c->after = CALL_NO_AFTER;
    c->user = span_dup(user);
    c->device = span_dup(device);
    if (c->user && c->device)
        return c;
    call_free(c);
    return NULL;
}

void call_free(struct call *c)
{
    if (!c)
        return;
    free(c->user);
    free(c->device);
    free(c->input);
    free(c->id);
    free(c->origin);
    free(c->places);
    free(c->rooms);
    free(c->body);
    free(c);
}
