/*
 * json_find.h - members of a JSON object by name, and JSON text made safe for a terminal.
 */
#ifndef CMD_CRIERCTL_JSON_FIND_H
#define CMD_CRIERCTL_JSON_FIND_H

#include "proto/json.h"

/* False: `object` is no object or has no such member. The value borrows from `object`. */
bool json_find(struct span object, const char *name, struct json_value *out) MUST_CHECK;
/* A string member, decoded, NUL-terminated, cut at cap; control characters become '?'. */
bool json_find_text(struct span object, const char *name, char *out, size_t cap) MUST_CHECK;
bool json_find_uint(struct span object, const char *name, uint64_t *out) MUST_CHECK;
bool json_find_true(struct span object, const char *name) MUST_CHECK;

/* Appends a valid JSON text on one line, without anything a terminal would obey: the same value. */
bool json_append_plain(struct buf *out, struct span text) MUST_CHECK;

#endif
