/*
 * outcome.c - words for outcomes, and details that are safe to show: they hold what providers answered.
 */
#include "cmd/crier-relay/outcome.h"

#include <stdarg.h>
#include <stdio.h>

#include "proto/utf8.h"

const char *outcome_name(enum outcome o)
{
    switch (o) {
    case OUTCOME_SENT:
        return "sent";
    case OUTCOME_AGAIN:
        return "again";
    case OUTCOME_FAILED:
        return "failed";
    }
    return "failed";
}

/* Bytes of the character in front; *show: it may be shown. What is no UTF-8 is taken byte by byte. */
static size_t take(struct span s, bool *show)
{
    uint8_t c = s.p[0];
    size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    *show = n == 1 && c >= ' ' && c != 0x7F;
    if (n == 1 || n > s.n || !utf8_valid(span_of(s.p, n)))
        return 1;
    bool control = c == 0xC2 && s.p[1] < 0xA0;                                         /* C1 */
    bool line_end = c == 0xE2 && s.p[1] == 0x80 && (s.p[2] == 0xA8 || s.p[2] == 0xA9); /* U+2028, U+2029 */
    bool broken = c == 0xEF && s.p[1] == 0xBF && s.p[2] == 0xBD;                       /* U+FFFD */
    *show = !control && !line_end && !broken;
    return n;
}

void detail_copy(char out[DETAIL_MAX + 1], struct span text)
{
    size_t used = 0, n;
    for (size_t at = 0; at < text.n; at += n) {
        bool show;
        n = take(span_of(text.p + at, text.n - at), &show);
        if (used + (show ? n : 1) > DETAIL_MAX)
            break;
        if (show)
            memcpy(out + used, text.p + at, n);
        else
            out[used] = '?';
        used += show ? n : 1;
    }
    out[used] = '\0';
}

void verdict_set(struct verdict *v, enum outcome o, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    *v = (struct verdict){.outcome = o};
    if (n > 0)
        detail_copy(v->detail, span_of(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1));
}
