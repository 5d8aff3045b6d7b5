/*
 * hash.h - SipHash-1-3 (keyed, for tables and the owner of a user), SHA-1 (WebSocket accept key, partitions) and random
 * bytes.
 */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include "core/base.h"

uint64_t siphash13(const uint64_t key[2], struct span s);

/* FIPS 180-4 SHA-1: for RFC 6455's Sec-WebSocket-Accept and key partitions, where no security hangs on it. */
void sha1(struct span s, uint8_t out[20]);

/* Cryptographically random bytes from the kernel (getrandom); aborts if the kernel has none. */
void random_bytes(void *out, size_t n);
uint64_t random_u64(void);
/* Uniform in [0, below); below >= 1. */
uint64_t random_below(uint64_t below);

/* Writes `bytes` random bytes as lower-case hex and a NUL: out holds 2 * bytes + 1. */
void random_hex(char *out, size_t bytes);
/* n random letters, digits, '-' and '_' (6 bits each) and a NUL: out holds n + 1. */
void random_word(char *out, size_t n);

/* Random bytes fetched ahead, for words that are made often: one system call for many. All zero: empty. One thread's.
 */
struct random_pool {
    uint8_t bytes[512];
    unsigned left; /* at the front */
};
/* The same as random_word, n at most 512. */
void random_word_from(struct random_pool *p, char *out, size_t n);

#endif
