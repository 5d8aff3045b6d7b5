/*
 * show.h - what `crierctl listen` prints: the server's messages as JSON lines, or for people, coloured on a terminal.
 */
#ifndef CMD_CRIERCTL_SHOW_H
#define CMD_CRIERCTL_SHOW_H

#include "core/base.h"

struct show {
    bool json;
    bool colour;
};

void show_init(struct show *s, bool json);
/* One `message` object (JSON). */
void show_message(const struct show *s, struct span message);
/* What happens around messages, on standard error: "connected ...". */
void show_note(const struct show *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
