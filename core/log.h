/*
 * log.h - structured log lines on standard error: text for people, JSON for machines. Any thread.
 * A line is one write(2), so lines of different threads never mix. Each carries node, thread and what the caller adds.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include "core/base.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Once, before threads start. `node` is borrowed for the process's life. */
void log_setup(enum log_level least, bool json, const char *node);
/* Names the calling thread ("main", "dispatcher", "shard-3") in its lines. `name` is borrowed. */
void log_thread(const char *name);
bool log_enabled(enum log_level level);

/* log_line(LOG_WARN, "conn", "closed: %s", reason): topic is a short fixed word. Control bytes in the text are escaped.
 */
void log_line(enum log_level level, const char *topic, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* At most `burst` lines per 10 s through one limiter; the next one let through says how many were held back.
 * One limiter per place and thread: it is not shared. */
struct log_limit {
    uint64_t window_start_ms;
    unsigned seen;
    unsigned held;
};
void log_limited(struct log_limit *lim, unsigned burst, enum log_level level, const char *topic, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

#endif
