/*
 * api.h - calls of the server API: one connection, kept from call to call, and what is said when a call is refused.
 */
#ifndef CMD_CRIERCTL_API_H
#define CMD_CRIERCTL_API_H

#include "cmd/crierctl/http.h"

struct api {
    const struct server *server;
    struct url url;
    struct link link; /* fd -1: to be opened */
};

/* False: the URL is none (said). The server is borrowed. */
bool api_init(struct api *a, const struct server *s) MUST_CHECK;
void api_fini(struct api *a);

/* Sends a request and reads its answer, whatever that is (reply is initialized by the caller). CTL_NO_CONNECT: there is
 * none (said, with `unknown` behind it when the request may have been carried out; NULL: it does not matter). */
enum ctl_exit api_send(struct api *a, const char *method, const char *path, struct span body, const char *unknown,
                       struct http_reply *reply) MUST_CHECK;
/* CTL_OK for a 2xx; else CTL_REFUSED, and why and what to do has been said. */
enum ctl_exit api_judge(const struct http_reply *reply) MUST_CHECK;
/* Seconds of Retry-After; 0: none. */
unsigned api_retry_after(const struct http_reply *reply);
/* Sends and judges, and what the server asks to be sent again later (429, 503) is, up to `retries` times. */
enum ctl_exit api_send_patiently(struct api *a, const char *method, const char *path, struct span body,
                                 const char *unknown, uint64_t retries, struct http_reply *reply) MUST_CHECK;
/* api_send and api_judge. */
enum ctl_exit api_call(struct api *a, const char *method, const char *path, struct span body,
                       struct http_reply *reply) MUST_CHECK;

/* The answer as it came, on a line. */
void api_print_raw(const struct http_reply *reply);

#endif
