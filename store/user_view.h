/*
 * user_view.h - what a store knows of a user, and how the server API shows it; both back-ends fill it. Dispatcher
 * thread.
 */
#ifndef STORE_USER_VIEW_H
#define STORE_USER_VIEW_H

#include "core/op.h"
#include "proto/names.h"

struct job;

#define USER_VIEW_DEVICES 32 /* more than a user ever has */

struct device_view {
    struct span name;
    uint64_t cursor, seen_s, pending;
    bool named, attached;
};

/* Spans are borrowed from whoever fills it. */
struct user_view {
    struct span name;
    struct span nodes; /* separated by spaces */
    uint64_t top, acked, gap, pending;
    unsigned ndevices;
    struct device_view devices[USER_VIEW_DEVICES];
};

/* Each fills the reply half of an OP_QUERY and returns the status to end it with. */
enum op_status user_view_answer(const struct user_view *v, struct op *op) MUST_CHECK;
/* A page of an inbox, `page->top`, `gap` and `more` as the store says. */
enum op_status inbox_view_answer(const char *user, const struct op_page *page, uint64_t after,
                                 struct op *op) MUST_CHECK;
/* {"user":...,"KEY":number} */
enum op_status user_count_answer(const char *user, struct span key, uint64_t n, struct op *op) MUST_CHECK;

/* {"user":...,"addresses":{channel:...}}; empty: none there. */
enum op_status user_addresses_answer(const char *user, const struct span address[RELAY_CHANNELS],
                                     struct op *op) MUST_CHECK;

/* Numbers of a query's arguments, checked by whoever asked. */
uint64_t query_number(const struct op *op, unsigned arg, uint64_t otherwise);

#endif
