/*
 * main.c - the broker's main thread: options, start, signals, stop. It serves nothing.
 *
 * Signals are blocked before the first thread exists and read from a signalfd, so no handler ever runs. SIGTERM and
 * SIGINT drain, a second one cuts the draining short; SIGHUP reads the TLS certificate again; SIGPIPE is ignored.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cmd/crier/broker.h"
#include "cmd/crier/config_file.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/owner.h"
#include "net/route.h"

extern char **environ;

#define STORE_WAIT_MS  5000  /* the readiness line waits this long for a store that does not answer */
#define DRAIN_MOST_MS  20000 /* so that the process ends within 30 s of the first signal */
#define FDS_NOT_CLIENT 64    /* inboxes, listeners, Redis, logs: about */
#define NODE_NAME_MAX  96

enum { EXIT_START = 1, EXIT_USAGE = 2 };

static int fail(int code, const char *sentence)
{
    fprintf(stderr, "crier: %s\n", sentence);
    return code;
}

/* ---- options ---- */

static bool read_sources(struct config *c, int argc, char **argv, enum config_action *action, char *err, size_t errlen)
{
    const char *file = NULL;

    return config_from_args(NULL, argc, argv, &file, action, err, errlen) &&
           (!file || *action == CONFIG_HELP || *action == CONFIG_VERSION || *action == CONFIG_ROUTES ||
            config_from_file(c, file, err, errlen)) &&
           config_from_env(c, environ, err, errlen) && config_from_args(c, argc, argv, &file, action, err, errlen);
}

static int print_and_free(char *text)
{
    if (!text)
        return fail(EXIT_START, "out of memory");
    fputs(text, stdout);
    free(text);
    return fflush(stdout) == 0 ? 0 : EXIT_START;
}

static int print_routes(void)
{
    const struct route *r;

    for (size_t i = 0; (r = route_at(i)) != NULL; i++)
        printf("%s %s\n", route_method_name(r->method), r->path);
    return fflush(stdout) == 0 ? 0 : EXIT_START;
}

static int check(const struct config *c)
{
    char err[512];

    if (!config_validate(c, err, sizeof(err)) || !broker_check(c, err, sizeof(err)))
        return fail(EXIT_USAGE, err);
    puts("the configuration is fine");
    return 0;
}

/* ---- the process's surroundings ---- */

/* 0: not known. */
static unsigned long long raise_fd_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 0;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0 && getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 0;
    return r.rlim_cur;
}

static void say_fd_limit(unsigned long long n)
{
    if (n == 0)
        return;
    log_line(LOG_INFO, "main", "the limit of open files is %llu, which allows about %llu connections", n,
             n > FDS_NOT_CLIENT ? n - FDS_NOT_CLIENT : 0);
}

static int block_signals(void)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigaction(SIGPIPE, &ignore, NULL) != 0 || pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void say_open(const struct config *c)
{
    if (!c->dev)
        return;
    log_line(LOG_WARN, "main",
             "--dev: THIS BROKER IS OPEN: whoever reaches it may be any user%s; never run it like this for others",
             c->api_key.n ? "" : " and may push anything to anybody");
}

/* ---- waiting ---- */

/* The earlier of two times of which 0 is never. */
static uint64_t sooner(uint64_t a, uint64_t b)
{
    return !a || (b && b < a) ? b : a;
}

/* For poll(2). */
static int ms_until(uint64_t then, uint64_t now)
{
    if (!then)
        return -1;
    return then > now ? (int)(then - now) : 0;
}

/* Waits for threads or signals until deadline_ms (0: for ever). Counts SIGTERM and SIGINT. False: the time is up. */
static bool wait_some(struct broker *b, int sigfd, uint64_t deadline_ms, unsigned *stops)
{
    struct pollfd fds[2] = {{.fd = sigfd, .events = POLLIN}, {.fd = broker_fd(b), .events = POLLIN}};
    uint64_t now = clock_mono_ms();
    struct signalfd_siginfo si;

    if (deadline_ms && now >= deadline_ms)
        return false;
    if (poll(fds, 2, ms_until(sooner(deadline_ms, broker_due_ms(b)), now)) < 0 && errno != EINTR)
        return false;
    broker_tend(b);
    while (read(sigfd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
        if (si.ssi_signo == SIGHUP)
            broker_renew(b);
        else
            (*stops)++;
    }
    if (fds[1].revents)
        broker_read(b);
    return true;
}

static void serve(const struct config *c, struct broker *b, int sigfd)
{
    unsigned stops = 0;
    uint64_t deadline = clock_mono_ms() + STORE_WAIT_MS;
    unsigned drain_ms = c->drain_ms < DRAIN_MOST_MS ? c->drain_ms : DRAIN_MOST_MS;

    while (!broker_store_known(b) && !stops && wait_some(b, sigfd, deadline, &stops))
        continue;
    if (!stops) {
        if (!broker_store_known(b))
            log_line(LOG_WARN, "main", "the store does not answer yet; clients may connect and will wait for it");
        broker_print_ready(b);
    }
    while (!stops && wait_some(b, sigfd, 0, &stops))
        continue;
    log_line(LOG_INFO, "main", "stopping: clients are told to go elsewhere, for at most %u ms", drain_ms);
    broker_drain(b);
    deadline = clock_mono_ms() + drain_ms;
    while (!broker_drained(b) && stops < 2 && wait_some(b, sigfd, deadline, &stops))
        continue;
}

static int run(const struct config *c)
{
    char err[512];
    char node[NODE_NAME_MAX];
    struct broker *b;
    unsigned long long fds;
    int sigfd;

    if (!config_validate(c, err, sizeof(err)))
        return fail(EXIT_USAGE, err);
    broker_node_name(c, node, sizeof(node));
    heap_setup();
    thread_role_set(ROLE_MAIN);
    log_thread("main");
    log_setup((enum log_level)c->log_level, c->log_format == LOG_FORMAT_JSON, node);
    sigfd = block_signals();
    if (sigfd < 0)
        return fail(EXIT_START, "cannot set up signals");
    fds = raise_fd_limit();
    b = broker_start(c, node, err, sizeof(err));
    if (!b) {
        close(sigfd);
        return fail(EXIT_START, err);
    }
    say_fd_limit(fds);
    say_open(c);
    serve(c, b, sigfd);
    broker_free(b);
    close(sigfd);
    log_line(LOG_INFO, "main", "stopped");
    return 0;
}

int main(int argc, char **argv)
{
    struct config c;
    enum config_action action = CONFIG_RUN;
    char err[512];
    int code = 0;

    config_init(&c);
    if (!read_sources(&c, argc, argv, &action, err, sizeof(err))) {
        config_fini(&c);
        return fail(EXIT_USAGE, err);
    }
    switch (action) {
    case CONFIG_RUN:
        code = run(&c);
        break;
    case CONFIG_CHECK:
        code = check(&c);
        break;
    case CONFIG_DUMP:
        code = print_and_free(config_dump(&c));
        break;
    case CONFIG_ROUTES:
        code = print_routes();
        break;
    case CONFIG_HELP:
        code = print_and_free(config_help());
        break;
    case CONFIG_VERSION:
        puts("crier " CRIER_VERSION);
        break;
    }
    config_fini(&c);
    return code;
}
