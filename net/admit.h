/*
 * admit.h - what every way in asks of a client before it gets a session: who it is and what it wishes; and the way to
 * the shard that owns its user. Runs on the shard that took the request. Whoever says no has answered it.
 */
#ifndef NET_ADMIT_H
#define NET_ADMIT_H

#include "core/base.h"
#include "core/metrics.h"

struct conn;
struct http_head;
struct http_request;
struct identity;
struct rate_cost;
struct session;

/* Answers with an error, counts it and logs it. */
void admit_refuse(struct conn *c, enum metric why, unsigned status, const char *code, const char *message);
/* False: the broker is about to stop (503). */
bool admit_running(struct conn *c) MUST_CHECK;
/* The identity a request's token gives; new, the caller's. False: refused. */
bool admit_identity(struct conn *c, const struct http_head *h, struct identity **who) MUST_CHECK;
/* May the user do that now, by the rates of users? False: refused (429). */
bool admit_rates(struct conn *c, const struct identity *who, const struct rate_cost *cost) MUST_CHECK;
/* A seq out of the query: 1 when there, 0 when not, -1: refused. */
int admit_seq(struct conn *c, const struct http_head *h, const char *name, uint64_t *seq) MUST_CHECK;
/* ?ack=auto|explicit|sent and ?since=SEQ, into the session. False: refused. */
bool admit_wishes(struct conn *c, const struct http_head *h, struct session *s) MUST_CHECK;
/* ?rooms=a,b: those that the broker allows a connection and the token allows this client. *rooms: the list, the
 * caller's; NULL: none. False: refused. */
bool admit_rooms(struct conn *c, const struct http_head *h, const struct identity *who, char **rooms) MUST_CHECK;
/* The next name of such a list; false at its end. */
bool admit_next_name(struct span *list, struct span *name) MUST_CHECK;
/* The connection (its proto and ext are set, `adopted` begins the session) goes to the owner of its user; anonymous
 * ones stay. */
void admit_to_owner(struct conn *c, const struct identity *who);

/* OPTIONS of the paths that web pages of other origins may call. */
void admit_preflight(struct conn *c, const struct http_request *r);

#endif
