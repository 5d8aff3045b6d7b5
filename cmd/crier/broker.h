/*
 * broker.h - the running broker as the main thread sees it: what is built before threads exist, the threads, and the
 * order in which they go.
 */
#ifndef CMD_CRIER_BROKER_H
#define CMD_CRIER_BROKER_H

#include "core/config.h"

struct broker;

/* The node's name: the configured one or the host's, a dot, and an incarnation that no earlier start had. */
void broker_node_name(const struct config *cfg, char *out, size_t len);

/* Reads keys and certificates, binds the listeners, and starts the dispatcher and the shards. Signals must be blocked
 * already. cfg and node are borrowed until broker_free. NULL with one sentence in err. */
struct broker *broker_start(const struct config *cfg, const char *node, char *err, size_t errlen) MUST_CHECK;
/* Only what can be checked without serving: keys, certificate, origins. */
bool broker_check(const struct config *cfg, char *err, size_t errlen) MUST_CHECK;

/* The fd that becomes readable when threads have told main something, and reading it. */
int broker_fd(const struct broker *b);
void broker_read(struct broker *b);
/* When broker_tend has something to do, on the monotonic clock in ms (0: nothing), and doing it once it is time. */
uint64_t broker_due_ms(const struct broker *b);
void broker_tend(struct broker *b);

/* Reads certificate and key again, for the connections to come; says in the log how it went. */
void broker_renew(struct broker *b);

/* Has the store said anything yet? */
bool broker_store_known(const struct broker *b);
/* "crier ready node=... plain=... tls=... store=... shards=N\n" to standard output. */
void broker_print_ready(const struct broker *b);

/* Not ready, no new connections, clients told to go. */
void broker_drain(struct broker *b);
/* Have all clients gone? */
bool broker_drained(const struct broker *b);
/* Ends and joins the shards, then the dispatcher (which writes what is left), and frees everything. */
void broker_free(struct broker *b);

#endif
