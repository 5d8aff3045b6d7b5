/*
 * hash.c - SipHash-1-3 (Aumasson and Bernstein, one compression round and three final ones), SHA-1 (FIPS 180-4) and
 * random bytes. Pure functions, any thread.
 *
 * SipHash is keyed so that nobody outside can choose users or rooms that collide. SHA-1 stands here because RFC 6455
 * asks for it in a handshake; nothing secret rests on it.
 */
#include "core/hash.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t rotl64(uint64_t x, unsigned b)
{
    return (x << b) | (x >> (64 - b));
}

static uint64_t load_le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

struct sip {
    uint64_t a, b, c, d;
};

static inline struct sip sip_round(struct sip v)
{
    v.a += v.b;
    v.c += v.d;
    v.b = rotl64(v.b, 13) ^ v.a;
    v.d = rotl64(v.d, 16) ^ v.c;
    v.a = rotl64(v.a, 32);
    v.c += v.b;
    v.a += v.d;
    v.b = rotl64(v.b, 17) ^ v.c;
    v.d = rotl64(v.d, 21) ^ v.a;
    v.c = rotl64(v.c, 32);
    return v;
}

static inline struct sip sip_word(struct sip v, uint64_t word)
{
    v.d ^= word;
    v = sip_round(v);
    v.a ^= word;
    return v;
}

/* The last, at most seven bytes, the first of them lowest. */
static inline uint64_t load_rest(struct span s)
{
    unsigned n = s.n & 7;
    uint64_t word = 0;
    if (n > 0 && s.n >= 8)
        return load_le64(s.p + s.n - 8) >> (64 - 8 * n);
    for (unsigned i = 0; i < n; i++)
        word |= (uint64_t)s.p[i] << (8 * i);
    return word;
}

uint64_t siphash13(const uint64_t key[2], struct span s)
{
    struct sip v = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
                    key[1] ^ 0x7465646279746573};
    size_t whole = s.n & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8)
        v = sip_word(v, load_le64(s.p + i));
    v = sip_word(v, (uint64_t)(s.n & 0xff) << 56 | load_rest(s));
    v.c ^= 0xff;
    v = sip_round(sip_round(sip_round(v)));
    return v.a ^ v.b ^ v.c ^ v.d;
}

static uint32_t rotl32(uint32_t x, unsigned b)
{
    return (x << b) | (x >> (32 - b));
}

/* Twenty rounds have one function and one constant (FIPS 180-4, 4.1.1 and 4.2.1). */
static inline uint32_t choose(uint32_t b, uint32_t c, uint32_t d)
{
    return d ^ (b & (c ^ d));
}

static inline uint32_t parity(uint32_t b, uint32_t c, uint32_t d)
{
    return b ^ c ^ d;
}

static inline uint32_t majority(uint32_t b, uint32_t c, uint32_t d)
{
    return (b & c) | (d & (b | c));
}

/* Five rounds at a time, after which the five words stand where they stood: nothing is moved between rounds. */
static inline void sha1_twenty(uint32_t v[5], const uint32_t *w, uint32_t k,
                               uint32_t (*mix)(uint32_t, uint32_t, uint32_t))
{
    uint32_t a = v[0], b = v[1], c = v[2], d = v[3], e = v[4];
    for (unsigned t = 0; t < 20; t += 5) {
        e += rotl32(a, 5) + mix(b, c, d) + k + w[t];
        b = rotl32(b, 30);
        d += rotl32(e, 5) + mix(a, b, c) + k + w[t + 1];
        a = rotl32(a, 30);
        c += rotl32(d, 5) + mix(e, a, b) + k + w[t + 2];
        e = rotl32(e, 30);
        b += rotl32(c, 5) + mix(d, e, a) + k + w[t + 3];
        d = rotl32(d, 30);
        a += rotl32(b, 5) + mix(c, d, e) + k + w[t + 4];
        c = rotl32(c, 30);
    }
    v[0] = a, v[1] = b, v[2] = c, v[3] = d, v[4] = e;
}

static void sha1_block(uint32_t h[5], const uint8_t block[64])
{
    uint32_t w[80], v[5];
    for (unsigned t = 0; t < 16; t++) {
        uint32_t be;
        memcpy(&be, block + 4 * t, sizeof(be));
        w[t] = be32toh(be);
    }
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotl32(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    memcpy(v, h, sizeof(v));
    sha1_twenty(v, w, 0x5a827999, choose);
    sha1_twenty(v, w + 20, 0x6ed9eba1, parity);
    sha1_twenty(v, w + 40, 0x8f1bbcdc, majority);
    sha1_twenty(v, w + 60, 0xca62c1d6, parity);
    for (unsigned i = 0; i < 5; i++)
        h[i] += v[i];
}

void sha1(struct span s, uint8_t out[20])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    size_t whole = s.n & ~(size_t)63, rest = s.n - whole;
    for (size_t i = 0; i < whole; i += 64)
        sha1_block(h, s.p + i);

    uint8_t tail[128] = {0};
    size_t tail_len = rest < 56 ? 64 : 128;
    if (rest)
        memcpy(tail, s.p + whole, rest);
    tail[rest] = 0x80;
    uint64_t bits = htobe64((uint64_t)s.n * 8);
    memcpy(tail + tail_len - sizeof(bits), &bits, sizeof(bits));
    for (size_t i = 0; i < tail_len; i += 64)
        sha1_block(h, tail + i);

    for (unsigned i = 0; i < 5; i++) {
        uint32_t be = htobe32(h[i]);
        memcpy(out + 4 * i, &be, sizeof(be));
    }
}

void random_bytes(void *out, size_t n)
{
    uint8_t *p = out;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno != EINTR)
            abort(); /* keys made of anything else would be worse than stopping */
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
}

uint64_t random_u64(void)
{
    uint64_t v;
    random_bytes(&v, sizeof(v));
    return v;
}

uint64_t random_below(uint64_t below)
{
    assert(below >= 1);
    uint64_t uneven = -below % below; /* 2^64 mod below: so many values would make some results likelier */
    uint64_t v;
    do
        v = random_u64();
    while (v < uneven);
    return v % below;
}

void random_hex(char *out, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *raw = out + bytes; /* the back half: no digit is written over a byte that was not read */
    random_bytes(raw, bytes);
    for (size_t i = 0; i < bytes; i++) {
        uint8_t b = (uint8_t)raw[i];
        out[2 * i] = digits[b >> 4];
        out[2 * i + 1] = digits[b & 15];
    }
    out[2 * bytes] = '\0';
}

/* Random bytes become letters. */
static void spell(char *out, size_t n)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-";
    for (size_t i = 0; i < n; i++)
        out[i] = letters[out[i] & 63];
    out[n] = '\0';
}

void random_word(char *out, size_t n)
{
    random_bytes(out, n);
    spell(out, n);
}

void random_word_from(struct random_pool *p, char *out, size_t n)
{
    assert(n <= sizeof(p->bytes));
    if (p->left < n) {
        random_bytes(p->bytes, sizeof(p->bytes));
        p->left = sizeof(p->bytes);
    }
    p->left -= (unsigned)n;
    memcpy(out, p->bytes + p->left, n);
    memset(p->bytes + p->left, 0, n); /* what was given out is nowhere else */
    spell(out, n);
}
