/*
 * close_reason.c - the two tables behind close_reason.h.
 */
#include "net/close_reason.h"

const char *close_reason_text(enum close_reason r)
{
    static const char *const text[] = {
#define X(id, t) t,
        CLOSE_REASONS(X)
#undef X
    };
    return text[r];
}

enum metric close_reason_metric(enum close_reason r)
{
    static const enum metric metric[] = {
#define X(id, t) M_CLOSE_##id,
        CLOSE_REASONS(X)
#undef X
    };
    return metric[r];
}
