/*
 * api.c - see api.h. A connection that the server closes between two calls is made anew; a call that got no answer is
 * not repeated, for nobody knows whether it was carried out.
 */
#include "cmd/crierctl/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

enum { LONGEST_WAIT_S = 60 };

bool api_init(struct api *a, const struct server *s)
{
    char err[512];
    *a = (struct api){.server = s, .link = {.fd = -1}};
    if (!url_parse(s->url, &a->url, err, sizeof(err))) {
        complain(CTL_USAGE, "%s", err);
        return false;
    }
    if (a->url.raw) {
        complain(CTL_USAGE, "--url '%s': this command speaks HTTP; tcp:// is for listen", s->url);
        return false;
    }
    return true;
}

void api_fini(struct api *a)
{
    link_close(&a->link);
}

static bool ends_connection(const struct http_reply *r)
{
    struct span field = http_reply_field(r, "Connection");
    return field.n == 5 && !strncasecmp((const char *)field.p, "close", 5);
}

enum ctl_exit api_send(struct api *a, const char *method, const char *path, struct span body, const char *unknown,
                       struct http_reply *reply)
{
    char err[512];
    const struct server *s = a->server;
    if (a->link.fd < 0 && !link_open(&a->link, &a->url, s, err, sizeof(err))) {
        return complain(CTL_NO_CONNECT, "%s", err);
    }
    if (!http_call(&a->link, &a->url, s, method, path, s->api_key, body, reply, err, sizeof(err))) {
        link_close(&a->link);
        return complain(CTL_NO_CONNECT, "%s%s%s", err, unknown ? "; " : "", unknown ? unknown : "");
    }
    if (ends_connection(reply)) {
        link_close(&a->link);
    }
    return CTL_OK;
}

unsigned api_retry_after(const struct http_reply *reply)
{
    struct span field = http_reply_field(reply, "Retry-After");
    unsigned s = 0;
    for (size_t i = 0; i < field.n && i < 6 && field.p[i] >= '0' && field.p[i] <= '9'; i++) {
        s = s * 10 + (unsigned)(field.p[i] - '0');
    }
    return s;
}

static const char *hint(const struct http_reply *reply)
{
    switch (reply->status) {
    case 401:
        return "; give the API key with --api-key or CRIER_API_KEY";
    case 405:
        return "; is that an older broker?";
    default:
        return "";
    }
}

enum ctl_exit api_judge(const struct http_reply *reply)
{
    char text[700];
    if (reply->status >= 200 && reply->status <= 299) {
        return CTL_OK;
    }
    http_error_text(reply, text, sizeof(text));
    unsigned wait = api_retry_after(reply);
    if (wait) {
        return complain(CTL_REFUSED, "refused: %s; try again in %u s", text, wait);
    }
    return complain(CTL_REFUSED, "refused: %s%s", text, hint(reply));
}

/* Was it refused only for now? Then the time it asks for has been waited. */
static bool waited_for(const struct http_reply *reply)
{
    unsigned s = api_retry_after(reply);
    bool later = reply->status == 429 || reply->status == 503;
    if (later) {
        s = s < 1 ? 1 : s > LONGEST_WAIT_S ? LONGEST_WAIT_S : s;
        fprintf(stderr, "crierctl: the broker is busy (HTTP %u); again in %u s\n", reply->status, s);
        nanosleep(&(struct timespec){.tv_sec = (time_t)s}, NULL);
    }
    return later;
}

enum ctl_exit api_send_patiently(struct api *a, const char *method, const char *path, struct span body,
                                 const char *unknown, uint64_t retries, struct http_reply *reply)
{
    enum ctl_exit code;
    while ((code = api_send(a, method, path, body, unknown, reply)) == CTL_OK && retries > 0 && waited_for(reply)) {
        retries--;
    }
    return code == CTL_OK ? api_judge(reply) : code;
}

enum ctl_exit api_call(struct api *a, const char *method, const char *path, struct span body, struct http_reply *reply)
{
    enum ctl_exit code = api_send(a, method, path, body, NULL, reply);
    return code == CTL_OK ? api_judge(reply) : code;
}

void api_print_raw(const struct http_reply *reply)
{
    printf("%.*s\n", SPAN_ARG(buf_span(&reply->body)));
}
