/*
 * origin.h - which web pages may speak to the broker: the Origin header (RFC 6454) against the configured list. Pure.
 */
#ifndef NET_ORIGIN_H
#define NET_ORIGIN_H

#include "core/base.h"

struct strlist;

/* Does any pattern of the list allow `origin` for a request to `host`?
 *   "same"                  the origin's host and port are the request's Host (schemes aside: a proxy may end TLS)
 *   "*"                     any
 *   "https://a.example"     exactly that (case and default ports aside); '*' and '?' as in a glob
 *   "null"                  the opaque origin of files and sandboxes
 * An empty list is "same" alone. With dev, pages served from this very machine (localhost, 127.0.0.1, [::1], any port)
 * are always allowed: a front end under development has a server of its own.
 * What is no origin at all (RFC 6454 section 6.2) is allowed by "*" alone. */
bool origin_allowed(const struct strlist *list, bool dev, struct span origin, struct span host);

/* Could this pattern ever match? Else false, with a sentence in err. */
bool origin_pattern_ok(const char *pattern, char *err, size_t errlen) MUST_CHECK;

#endif
