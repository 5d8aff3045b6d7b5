/*
 * metrics_http.h - GET /metrics and /healthz, for operators.
 */
#ifndef CMD_CRIER_RELAY_METRICS_HTTP_H
#define CMD_CRIER_RELAY_METRICS_HTTP_H

#include "core/base.h"

struct counters;
struct event_base;
struct metrics_http;

/* where: "ADDR:PORT", port 0: any. Borrows the counters. NULL with a sentence in err. */
struct metrics_http *metrics_http_new(struct event_base *base, const char *where, const struct counters *c, char *err,
                                      size_t errlen) MUST_CHECK;
void metrics_http_free(struct metrics_http *m);
/* "ADDR:PORT" with the port it has. */
void metrics_http_address(const struct metrics_http *m, char *out, size_t len);

#endif
