/*
 * string_list.h - the strings of an array inside a request's body, one at a time, in either format. Pure.
 */
#ifndef NET_STRING_LIST_H
#define NET_STRING_LIST_H

#include "core/buf.h"
#include "proto/codec.h"
#include "proto/json.h"
#include "proto/mp.h"

struct string_list {
    enum codec format;
    struct json_reader json;
    struct mp_reader mp;
    uint32_t left;
};

/* raw: one whole value, valid, borrowed. False: it is no array. */
bool string_list_open(struct string_list *s, enum codec format, struct span raw) MUST_CHECK;
/* 1: *out is the next one, UTF-8, borrowed from raw or scratch (which has room for it); 0: no more; -1: it is no
 * string. */
int string_list_next(struct string_list *s, struct buf *scratch, struct span *out) MUST_CHECK;

#endif
