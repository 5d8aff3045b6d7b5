/*
 * alone.c - the strictest floor of a TLS handshake: client and server in one thread, joined by a pair of memory BIOs;
 * the thread's CPU clock is read around each step of the server's side, so the figure is OpenSSL and nothing else. With
 * --resume a first handshake gives the session that all others resume.
 */
#include "alone.h"

#include "measure.h"
#include "report.h"
#include "tls_server.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <time.h>

struct alone {
    SSL_CTX *server, *client;
    SSL_SESSION *session; /* what the client was given last */
    uint64_t ns;
    unsigned resumed;
};

static uint64_t thread_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct alone *a = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION_free(a->session);
    a->session = SSL_SESSION_dup(session); /* the connection's own ends with it: nobody shuts it down in style */
    return 0;
}

static int shake(struct alone *a, SSL *server, SSL *client)
{
    char sink[1];
    bool up = false;
    for (unsigned turn = 0; turn < 16 && !up; turn++) {
        (void)SSL_do_handshake(client);
        uint64_t from = thread_ns();
        up = SSL_do_handshake(server) == 1;
        a->ns += thread_ns() - from;
    }
    (void)SSL_read(client, sink, sizeof sink); /* the ticket */
    a->resumed += SSL_session_reused(server) ? 1 : 0;
    return up && SSL_is_init_finished(client) ? 0 : -1;
}

static int one(struct alone *a, bool resume)
{
    BIO *left = NULL, *right = NULL;
    uint64_t from = thread_ns();
    SSL *server = SSL_new(a->server);
    a->ns += thread_ns() - from;
    SSL *client = SSL_new(a->client);
    int result = -1;
    if (server && client && BIO_new_bio_pair(&left, 65536, &right, 65536) == 1) {
        SSL_set_bio(server, left, left);
        SSL_set_bio(client, right, right);
        SSL_set_accept_state(server);
        SSL_set_connect_state(client);
        SSL_SESSION *copy = resume && a->session ? SSL_SESSION_dup(a->session) : NULL;
        if (copy) {
            SSL_set_session(client, copy);
            SSL_SESSION_free(copy);
        }
        result = shake(a, server, client);
    }
    from = thread_ns();
    SSL_free(server);
    a->ns += thread_ns() - from;
    SSL_free(client);
    return result;
}

static int all(struct alone *a, const struct options *o)
{
    a->server = tls_server_ctx(o);
    a->client = SSL_CTX_new(TLS_client_method());
    if (!a->server || !a->client)
        return -1;
    SSL_CTX_set_app_data(a->client, a);
    SSL_CTX_set_session_cache_mode(a->client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(a->client, keep_session);
    tls_pin_version(a->client, o->tls);
    for (unsigned i = 0; i < 10; i++) /* caches, and the session to resume */
        if (one(a, false))
            return -1;
    a->ns = 0;
    a->resumed = 0;
    for (unsigned i = 0; i < o->subs; i++)
        if (one(a, o->resume))
            return -1;
    return 0;
}

int alone_run(const struct options *o)
{
    struct alone a = {0};
    struct report rep;
    if (measure_needs(o->cert, "cert") || measure_needs(o->key, "key"))
        return 1;
    int failed = all(&a, o);
    if (failed) {
        fprintf(stderr, "crier-bench: a handshake in memory failed: %s\n", ERR_reason_error_string(ERR_peek_error()));
    } else {
        report_begin(&rep, "handshake");
        report_text(&rep, "label", o->label);
        report_count(&rep, "round", o->round);
        report_count(&rep, "subs", o->subs);
        report_text(&rep, "tls", o->tls ? o->tls : "any");
        if (*o->key_kind)
            report_text(&rep, "key_kind", o->key_kind);
        report_count(&rep, "resumed", a.resumed);
        report_number(&rep, "cpu_us_per_connect", (double)a.ns / 1000.0 / o->subs, 4);
        report_end(&rep);
        if (o->human)
            fprintf(stderr, "handshake %-15s %.1f CPU-us\n", o->label, (double)a.ns / 1000.0 / o->subs);
    }
    SSL_SESSION_free(a.session);
    SSL_CTX_free(a.server);
    SSL_CTX_free(a.client);
    return failed ? 1 : 0;
}
