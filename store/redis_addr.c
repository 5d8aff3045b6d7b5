/*
 * redis_addr.c - from a URL to addresses.
 *
 * Idea: a socket path or a numeric address needs nobody; a name goes to libevent's resolver, which reads the hosts file
 * and asks the name servers without blocking. A look-up is made anew for every try to connect, since a name is how a
 * new master is found in many set-ups; the addresses of one answer are taken in turn.
 *
 * Dispatcher thread. A cancelled look-up's callback still comes, from the loop, and must touch nothing: it finds out by
 * its result alone.
 */
#include "store/redis_addr.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "store/redis_url.h"

enum { MAX_ADDRESSES = 8 };

struct address {
    struct sockaddr_storage sa;
    socklen_t len;
};

struct redis_addr {
    struct event_base *base;
    const struct redis_url *url;
    struct evdns_base *dns; /* made when a name is first looked up */
    struct evdns_getaddrinfo_request *lookup;
    bool waiting;
    void (*done)(void *arg, const char *error);
    void *arg;
    struct address v[MAX_ADDRESSES];
    unsigned n, next;
};

struct redis_addr *redis_addr_new(struct event_base *base, const struct redis_url *url)
{
    struct redis_addr *a = calloc(1, sizeof(*a));
    if (a) {
        a->base = base;
        a->url = url;
    }
    return a;
}

static void finish(struct redis_addr *a, const char *error)
{
    a->waiting = false;
    a->lookup = NULL;
    a->done(a->arg, error);
}

static void take(struct redis_addr *a, const struct addrinfo *list)
{
    a->n = 0;
    for (; list && a->n < MAX_ADDRESSES; list = list->ai_next) {
        if (list->ai_addrlen > sizeof(a->v[0].sa))
            continue;
        struct address *to = &a->v[a->n++];
        memcpy(&to->sa, list->ai_addr, list->ai_addrlen);
        to->len = list->ai_addrlen;
    }
}

static void on_resolved(int result, struct evutil_addrinfo *list, void *arg)
{
    if (result == EVUTIL_EAI_CANCEL)
        return;
    struct redis_addr *a = arg;
    char why[160];
    if (result == 0)
        take(a, list);
    if (list)
        evutil_freeaddrinfo(list);
    if (result == 0 && a->n > 0) {
        finish(a, NULL);
        return;
    }
    snprintf(why, sizeof(why), "the name %.60s is not known: %.60s", a->url->host,
             result ? evutil_gai_strerror(result) : "no address");
    finish(a, why);
}

/* An address that needs no name server. */
static bool numeric(struct redis_addr *a, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *list = NULL;
    if (getaddrinfo(a->url->host, port, &hints, &list) != 0)
        return false;
    take(a, list);
    freeaddrinfo(list);
    return a->n > 0;
}

static void local(struct redis_addr *a)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", a->url->path);
    memcpy(&a->v[0].sa, &sa, sizeof(sa));
    a->v[0].len = sizeof(sa);
    a->n = 1;
}

static bool open_dns(struct redis_addr *a)
{
    if (!a->dns)
        a->dns = evdns_base_new(a->base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!a->dns && (a->dns = evdns_base_new(a->base, 0)))
        evdns_base_load_hosts(a->dns, "/etc/hosts"); /* no name server is configured: the hosts file alone */
    return a->dns != NULL;
}

void redis_addr_resolve(struct redis_addr *a, void (*done)(void *arg, const char *error), void *arg)
{
    char port[8];
    a->done = done;
    a->arg = arg;
    snprintf(port, sizeof(port), "%u", (unsigned)a->url->port);
    if (a->url->path)
        local(a);
    if (a->url->path || numeric(a, port)) {
        finish(a, NULL);
        return;
    }
    if (!open_dns(a)) {
        finish(a, "memory is out");
        return;
    }
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    a->waiting = true;
    struct evdns_getaddrinfo_request *lookup = evdns_getaddrinfo(a->dns, a->url->host, port, &hints, on_resolved, a);
    if (a->waiting)
        a->lookup = lookup;
}

void redis_addr_cancel(struct redis_addr *a)
{
    struct evdns_getaddrinfo_request *lookup = a->lookup;
    a->lookup = NULL;
    a->waiting = false;
    if (lookup)
        evdns_getaddrinfo_cancel(lookup);
}

void redis_addr_next(struct redis_addr *a, const struct sockaddr_storage **sa, socklen_t *len)
{
    const struct address *next = &a->v[a->next++ % a->n];
    *sa = &next->sa;
    *len = next->len;
}

void redis_addr_free(struct redis_addr *a)
{
    if (!a)
        return;
    redis_addr_cancel(a);
    if (a->dns)
        evdns_base_free(a->dns, 0);
    free(a);
}
