/*
 * log.c - one line, one write(2).
 *
 * Any thread, no lock: the line is put together in a buffer on the caller's stack and leaves in a single write, which
 * the kernel does not mix with others (a pipe up to PIPE_BUF). A line is cut at LINE_MAX_BYTES rather than split. The
 * settings are written once, before there are threads; the thread's name is thread-local.
 *
 * Text that came from outside must not forge lines or drive a terminal: control bytes and broken UTF-8 are escaped.
 * Logging never changes errno and never fails loudly; a standard error that is closed or full costs the line.
 */
#include "core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

enum {
    LINE_MAX_BYTES = 4096,
    TEXT_MAX_BYTES = 3072,
    WINDOW_MS = 10000,
};

static struct {
    enum log_level least;
    bool json;
    const char *node;
} settings = {.least = LOG_INFO};

static _Thread_local const char *thread_name = "main";

struct line {
    char text[LINE_MAX_BYTES];
    size_t n;
};

void log_setup(enum log_level least, bool json, const char *node)
{
    settings.least = least;
    settings.json = json;
    settings.node = node;
}

void log_thread(const char *name)
{
    thread_name = name;
}

bool log_enabled(enum log_level level)
{
    return level >= settings.least;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG:
        return "debug";
    case LOG_INFO:
        return "info";
    case LOG_WARN:
        return "warn";
    case LOG_ERROR:
        return "error";
    }
    return "error";
}

static void put(struct line *l, const char *s, size_t n)
{
    if (n <= sizeof(l->text) - l->n) {
        memcpy(l->text + l->n, s, n);
        l->n += n;
    }
}

static void put_str(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* Length of the well-formed UTF-8 sequence (RFC 3629) at s, or 0. s ends with a NUL, which no sequence contains. */
static unsigned utf8_len(const uint8_t *s)
{
    unsigned n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 0;
    if (s[0] >= 0xf0 && s[0] <= 0xf4)
        n = 4;
    for (unsigned i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return n > 1 && (overlong || outside) ? 0 : n;
}

/* C0 and C1 control characters, DEL, and the separators that some readers take for line ends. */
static bool is_control(const uint8_t *s, unsigned n)
{
    if (n == 1)
        return s[0] < 0x20 || s[0] == 0x7f;
    return (n == 2 && s[0] == 0xc2 && s[1] < 0xa0) || (n == 3 && s[0] == 0xe2 && s[1] == 0x80 && (s[2] | 1) == 0xa9);
}

/* One escaped character; returns how many bytes of s it stood for. */
static unsigned put_char(struct line *l, const uint8_t *s, bool json)
{
    unsigned n = utf8_len(s);
    if (n && !is_control(s, n)) {
        if (json && (s[0] == '"' || s[0] == '\\'))
            put(l, "\\", 1);
        put(l, (const char *)s, n);
        return n;
    }
    char esc[8];
    if (json && n == 0)
        put_str(l, "\\ufffd");
    else if (json && n == 1)
        put(l, esc, (size_t)snprintf(esc, sizeof(esc), "\\u%04x", s[0]));
    else if (json)
        put_str(l, n == 2 ? "\\u0080" : "\\u2028");
    else
        put(l, esc, (size_t)snprintf(esc, sizeof(esc), "\\x%02x", s[0]));
    return json && n ? n : 1;
}

static void put_text(struct line *l, const char *text)
{
    const uint8_t *s = (const uint8_t *)text;
    while (*s && l->n < LINE_MAX_BYTES - 32)
        s += put_char(l, s, settings.json);
}

static void put_time(struct line *l)
{
    uint64_t us = clock_real_us();
    time_t secs = (time_t)(us / 1000000);
    struct tm tm;
    char text[40];
    if (!gmtime_r(&secs, &tm))
        return;
    size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    put(l, text, n);
    int m = snprintf(text, sizeof(text), ".%03uZ", (unsigned)(us / 1000 % 1000));
    put(l, text, (size_t)m);
}

static void member(struct line *l, const char *name, const char *value)
{
    put_str(l, ",\"");
    put_str(l, name);
    put_str(l, "\":\"");
    put_text(l, value);
    put_str(l, "\"");
}

static void put_json(struct line *l, enum log_level level, const char *topic, const char *text)
{
    put_str(l, "{\"ts\":\"");
    put_time(l);
    put_str(l, "\"");
    member(l, "level", level_name(level));
    if (settings.node)
        member(l, "node", settings.node);
    member(l, "thread", thread_name);
    member(l, "topic", topic);
    member(l, "msg", text);
    put_str(l, "}\n");
}

static void put_plain(struct line *l, enum log_level level, const char *topic, const char *text)
{
    put_time(l);
    put_str(l, " ");
    put_str(l, level_name(level));
    put_str(l, level == LOG_INFO || level == LOG_WARN ? "  " : " ");
    if (settings.node) {
        put_text(l, settings.node);
        put_str(l, " ");
    }
    put_str(l, thread_name);
    put_str(l, " ");
    put_str(l, topic);
    put_str(l, ": ");
    put_text(l, text);
    put_str(l, "\n");
}

static void emit(enum log_level level, const char *topic, const char *text)
{
    struct line l;
    l.n = 0;
    if (settings.json)
        put_json(&l, level, topic, text);
    else
        put_plain(&l, level, topic, text);
    while (write(STDERR_FILENO, l.text, l.n) < 0 && errno == EINTR)
        ;
}

void log_line(enum log_level level, const char *topic, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    int saved = errno;
    char text[TEXT_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    emit(level, topic, text);
    errno = saved;
}

/* Says whether one more line may go out now; *held gets how many were kept back before it. */
static bool limit_passes(struct log_limit *lim, unsigned burst, unsigned *held)
{
    uint64_t now = clock_mono_ms();
    if (lim->window_start_ms == 0 || now - lim->window_start_ms >= WINDOW_MS) {
        lim->window_start_ms = now ? now : 1;
        lim->seen = 0;
    }
    if (lim->seen >= burst) {
        lim->held++;
        return false;
    }
    lim->seen++;
    *held = lim->held;
    lim->held = 0;
    return true;
}

void log_limited(struct log_limit *lim, unsigned burst, enum log_level level, const char *topic, const char *fmt, ...)
{
    unsigned held = 0;
    if (!log_enabled(level))
        return;
    int saved = errno;
    if (limit_passes(lim, burst, &held)) {
        char text[TEXT_MAX_BYTES];
        va_list args;
        va_start(args, fmt);
        int n = vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        size_t used = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
        if (held)
            (void)snprintf(text + used, sizeof(text) - used, " (%u more of these were held back)", held);
        else
            text[used] = '\0';
        emit(level, topic, text);
    }
    errno = saved;
}
