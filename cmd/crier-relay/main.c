/*
 * main.c - crier-relay: options, signals, the loop. See relay.c for what it does.
 */
#include <curl/curl.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "cmd/crier-relay/relay.h"
#include "cmd/crier-relay/settings_file.h"
#include "core/config.h"
#include "core/log.h"

enum { EXIT_START = 1, EXIT_USAGE = 2 };

static int fail(int code, const char *sentence)
{
    fprintf(stderr, "crier-relay: %s\n", sentence);
    return code;
}

static int help(void)
{
    fputs("crier-relay " CRIER_VERSION ": brings messages that nobody acknowledged by WeCom, WeChat or a webhook\n\n"
          "usage: crier-relay --config FILE [--check]\n\n"
          "Takes what is due from the Redis of the brokers: messages pushed with \"escalate\" that none of the user's\n"
          "devices has acknowledged in time. Any number of these may run. A channel is used where the file has its\n"
          "section; docs/relay.conf.example explains every line.\n\n"
          "Options:\n"
          "  --config FILE   what to do: sections of NAME = VALUE lines, see below\n"
          "  --check         reads the file, says whether all is well, and ends\n"
          "  --help          this text\n"
          "  --version       the version\n",
          stdout);
    settings_help(stdout);
    fputs("\nTIME: 500ms, 2s, 5m, 1h; a bare number is seconds. exit codes: 0 fine, 1 cannot start, 2 wrong usage or "
          "configuration\n",
          stdout);
    return fflush(stdout) == 0 ? 0 : EXIT_START;
}

/* ---- running ---- */

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    (void)number, (void)what;
    relay_stop(arg);
}

static bool turn(struct event_base *base, struct relay *r)
{
    struct event *term = evsignal_new(base, SIGTERM, on_signal, r), *intr = evsignal_new(base, SIGINT, on_signal, r);
    bool good = term && intr && event_add(term, NULL) == 0 && event_add(intr, NULL) == 0;
    if (good)
        event_base_dispatch(base);
    if (term)
        event_free(term);
    if (intr)
        event_free(intr);
    return good;
}

static void say_channels(const struct settings *s)
{
    bool any = false;
    for (unsigned i = 0; i < RELAY_CHANNELS; i++) {
        any = any || s->has[i];
        log_line(LOG_INFO, "main", "%s is %sconfigured", relay_channels[i], s->has[i] ? "" : "not ");
    }
    if (!any)
        log_line(LOG_WARN, "main", "no channel is configured: whatever is due will fail");
}

static int serve(const struct settings *s)
{
    char err[300];
    struct relay r;
    struct event_base *base = event_base_new();
    if (!base)
        return fail(EXIT_START, "out of memory");
    if (!relay_start(&r, s, base, err, sizeof(err))) {
        event_base_free(base);
        return fail(EXIT_START, err);
    }
    log_setup(LOG_INFO, s->log == LOG_FORMAT_JSON, r.worker);
    say_channels(s);
    bool good = turn(base, &r);
    relay_free(&r);
    event_base_free(base);
    if (!good)
        return fail(EXIT_START, "cannot set up signals");
    log_line(LOG_INFO, "main", "stopped");
    log_setup(LOG_INFO, false, NULL);
    return 0;
}

static int run(const char *file, bool check)
{
    char err[600];
    struct settings s;
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (!settings_init(&s))
        return fail(EXIT_START, "out of memory");
    int code = 0;
    if (!settings_load(&s, file, err, sizeof(err))) {
        code = fail(EXIT_USAGE, err);
    } else if (check) {
        puts("the configuration is fine");
    } else if (sigaction(SIGPIPE, &ignore, NULL) != 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        code = fail(EXIT_START, "cannot set up signals and TLS");
    } else {
        code = serve(&s);
        curl_global_cleanup();
    }
    settings_fini(&s);
    return code;
}

int main(int argc, char **argv)
{
    const char *file = NULL;
    bool check = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--help") == 0)
            return help();
        if (strcmp(a, "--version") == 0)
            return puts("crier-relay " CRIER_VERSION) < 0;
        if (strcmp(a, "--check") == 0)
            check = true;
        else if (strcmp(a, "--config") == 0 && i + 1 < argc)
            file = argv[++i];
        else if (strncmp(a, "--config=", 9) == 0)
            file = a + 9;
        else
            return fail(EXIT_USAGE, "usage: crier-relay --config FILE [--check]; --help lists what the file may say");
    }
    if (!file || !file[0])
        return fail(EXIT_USAGE, "it needs --config FILE; --help lists what the file may say");
    return run(file, check);
}
