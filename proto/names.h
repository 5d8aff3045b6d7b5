/*
 * names.h - what a user, a device and a room may be called (PROTOCOL.md), and globs over them.
 */
#ifndef PROTO_NAMES_H
#define PROTO_NAMES_H

#include "core/base.h"
#include "core/job.h"

/* 1-128 bytes of UTF-8 without control characters (C0, DEL, C1). */
bool name_user_ok(struct span s);
bool name_room_ok(struct span s);
/* 1-64 bytes of the same. */
bool name_device_ok(struct span s);
/* Message ids and idempotency ids: 1-128 bytes of the same. Events: 1-64 bytes, no CR/LF (control characters anyway).
 */
bool name_id_ok(struct span s);
bool name_event_ok(struct span s);

/* The relay's channels (cmd/crier-relay), in this order wherever there is one for each. */
enum { RELAY_CHANNELS = 3 };
extern const char *const relay_channels[RELAY_CHANNELS];
/* Its index; RELAY_CHANNELS: there is none of that name. */
unsigned relay_channel(struct span name);
/* Where the relay finds a user there: 1-512 bytes of UTF-8 without control characters. */
bool name_address_ok(struct span s);
/* The same, and http:// or https://. */
bool name_webhook_ok(struct span s);

/* Shell-like glob over bytes: '*' any run, '?' one character (UTF-8), everything else itself; linear time, no
 * recursion. */
bool glob_match(struct span pattern, struct span s);

/* Redis channels. kind and name of a raw channel "<prefix>user:<id>", "<prefix>room:<name>", "<prefix>all"; false when
 * the channel is none of them or its name is not allowed. */
bool channel_parse(struct span prefix, struct span channel, enum target_kind *kind, struct span *name);

#endif
