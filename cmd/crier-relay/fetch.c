/*
 * fetch.c - libcurl's multi interface on libevent: curl says which sockets and which timer it wants watched, the loop
 * tells it what happened (curl_multi_socket_action), and what is done is taken from its message queue.
 *
 * Each fetch is one easy handle and is in its fetcher's list until its callback or fetch_cancel. Nothing is followed
 * (redirects), no proxy is asked (it would connect where this program may not), certificates are verified, at most
 * ANSWER_MAX_BYTES of a body are kept, and one timeout is over all of it.
 *
 * Each fetch has a connection of its own: on one that was kept libcurl would send a request twice when the server has
 * closed it meanwhile, and the address rule would not be asked.
 *
 * libcurl (7.87 or newer) looks names up on threads of its own; a fetch that ends before its look-up leaves the thread
 * to end alone (CURLOPT_QUICK_EXIT), since waiting for it would stop the loop.
 *
 * The address rule is held to in open_socket: there the address is the one that is about to be connected to, whatever
 * the name server says before or after.
 */
#include "cmd/crier-relay/fetch.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/crier-relay/addr_rule.h"
#include "core/buf.h"
#include "core/list.h"

struct fetcher {
    struct event_base *base;
    CURLM *multi;
    struct event *timer;
    struct list fetches;
};

struct fetch {
    struct list node;
    struct fetcher *f;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body;
    bool public_only;
    bool too_long;
    unsigned refused, opened; /* addresses */
    fetch_cb *cb;
    void *arg;
};

/* ---- what curl calls ---- */

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct fetch *t = arg;
    n *= size;
    size_t room = ANSWER_MAX_BYTES - t->body.len;
    t->too_long = n > room;
    bool kept = buf_append(&t->body, bytes, n < room ? n : room);
    return kept && !t->too_long ? n : 0;
}

static struct span address_of(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return span_of(&((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    if (sa->sa_family == AF_INET6)
        return span_of(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    return span_of(NULL, 0);
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct fetch *t = arg;
    (void)purpose;
    if (t->public_only && !addr_is_public(address_of(&a->addr))) {
        t->refused++;
        return CURL_SOCKET_BAD;
    }
    t->opened++;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- the end of a fetch ---- */

static void fetch_free(struct fetch *t)
{
    list_unlink(&t->node);
    if (t->easy) {
        curl_multi_remove_handle(t->f->multi, t->easy);
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    buf_fini(&t->body);
    free(t);
}

void fetch_cancel(struct fetch *t)
{
    fetch_free(t);
}

static enum answer_kind kind_of(const struct fetch *t, CURLcode code)
{
    bool all_refused = t->refused && !t->opened;
    if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && t->too_long))
        return ANSWER_HTTP;
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
        return ANSWER_BAD_URL;
    if (code == CURLE_OPERATION_TIMEDOUT)
        return ANSWER_TIMEOUT;
    return all_refused ? ANSWER_NOT_ALLOWED : ANSWER_NO_CONNECTION;
}

static void finish(struct fetch *t, CURLcode code)
{
    long status = 0;
    curl_off_t retry_after = 0;
    struct answer a = {.kind = kind_of(t, code), .too_long = t->too_long, .body = buf_span(&t->body)};
    if (a.kind == ANSWER_HTTP) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after);
    }
    a.status = status > 0 && status < 1000 ? (unsigned)status : 0;
    a.retry_after_s = retry_after <= 0 ? 0 : retry_after < UINT32_MAX ? (unsigned)retry_after : UINT32_MAX;
    if (code != CURLE_COULDNT_CONNECT)
        a.why = curl_easy_strerror(code);
    t->cb(t->arg, &a);
    fetch_free(t);
}

/* Taken one by one: a callback may start and cancel others. */
static void take_done(struct fetcher *f)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(f->multi, &left)) != NULL) {
        char *t = NULL;
        CURLcode code = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        finish((struct fetch *)(void *)t, code);
    }
}

/* ---- curl and the loop ---- */

static void on_socket_ready(evutil_socket_t fd, short what, void *arg)
{
    struct fetcher *f = arg;
    int running;
    int bits = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(f->multi, fd, bits, &running);
    take_done(f);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct fetcher *f = arg;
    int running;
    (void)fd, (void)what;
    curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    take_done(f);
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
    struct fetcher *f = arg;
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    (void)multi;
    return ms < 0 ? event_del(f->timer) : event_add(f->timer, &tv);
}

/* The socket's own pointer is its event. */
static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *own)
{
    struct fetcher *f = arg;
    struct event *e = own;
    (void)easy;
    if (e)
        event_free(e);
    e = NULL;
    if (what != CURL_POLL_REMOVE) {
        int bits = EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);
        e = event_new(f->base, fd, (short)bits, on_socket_ready, f);
        if (!e || event_add(e, NULL) != 0) {
            if (e)
                event_free(e);
            curl_multi_assign(f->multi, fd, NULL);
            return -1;
        }
    }
    curl_multi_assign(f->multi, fd, e);
    return 0;
}

struct fetcher *fetcher_new(struct event_base *base)
{
    struct fetcher *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->base = base;
    list_init(&f->fetches);
    f->timer = evtimer_new(base, on_timer, f);
    f->multi = curl_multi_init();
    if (!f->timer || !f->multi) {
        fetcher_free(f);
        return NULL;
    }
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    return f;
}

void fetcher_free(struct fetcher *f)
{
    if (!f)
        return;
    while (!list_empty(&f->fetches))
        fetch_free(CONTAINER_OF(f->fetches.next, struct fetch, node));
    if (f->multi)
        curl_multi_cleanup(f->multi);
    if (f->timer)
        event_free(f->timer);
    free(f);
}

/* ---- starting ---- */

static bool add_header(struct fetch *t, const char *header)
{
    struct curl_slist *more = curl_slist_append(t->headers, header);
    t->headers = more ? more : t->headers;
    return more != NULL;
}

static bool set_body(struct fetch *t, const struct fetch_request *r)
{
    if (!r->body.p)
        return true;
    bool good = add_header(t, "Content-Type: application/json") && add_header(t, "Expect:");
    for (unsigned i = 0; i < FETCH_HEADERS && good; i++)
        good = !r->header[i] || add_header(t, r->header[i]);
    return good && curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.n) == CURLE_OK &&
           curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, r->body.p) == CURLE_OK &&
           curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) == CURLE_OK;
}

static bool set_options(struct fetch *t, const struct fetch_request *r)
{
    CURL *e = t->easy;
    return curl_easy_setopt(e, CURLOPT_URL, r->url) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_USERAGENT, "crier-relay/" CRIER_VERSION) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEDATA, t) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, t) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PRIVATE, t) == CURLE_OK && set_body(t, r);
}

struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *r, fetch_cb *cb, void *arg)
{
    struct fetch *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->f = f;
    t->public_only = r->public_only;
    t->cb = cb;
    t->arg = arg;
    buf_init(&t->body, ANSWER_MAX_BYTES);
    list_push(&f->fetches, &t->node);
    t->easy = curl_easy_init();
    if (!t->easy || !set_options(t, r) || curl_multi_add_handle(f->multi, t->easy) != CURLM_OK) {
        fetch_free(t);
        return NULL;
    }
    return t;
}
