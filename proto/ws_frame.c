/*
 * ws_frame.c - RFC 6455 frame heads, masking, the accept key and close payloads.
 *
 * The idea: a head is judged in the order of its bytes, each as soon as it is there, so that a peer which breaks the
 * protocol in its first byte is refused at that byte, and a head that arrives in pieces gets the same verdict as one
 * that arrives whole. A parse that wants more bytes keeps nothing; the caller asks again with more of them (a head has
 * at most 14).
 *
 * Payload bytes are never looked at here but for masking (any alignment, 32 bytes a step) and for close frames.
 *
 * Pure; any thread. Nothing is allocated.
 */
#include "proto/ws_frame.h"

#include "core/hash.h"
#include "proto/base64.h"
#include "proto/utf8.h"

#define LENGTH_16 126 /* values of the 7-bit length that announce a longer one */
#define LENGTH_64 127

static enum ws_fault parse_first(uint8_t b, bool allow_rsv1, struct ws_head *out)
{
    unsigned op = b & 0x0F;
    bool control = (op & 0x08) != 0;

    out->fin = (b & 0x80) != 0;
    out->rsv1 = (b & 0x40) != 0;
    out->opcode = (enum ws_opcode)op;
    if (b & 0x30) {
        return WS_BAD_RSV;
    }
    if (op > WS_PONG || (op > WS_BINARY && op < WS_CLOSE)) {
        return WS_BAD_OPCODE;
    }
    /* RFC 7692 section 6: the bit marks the first frame of a data message, no other. */
    if (out->rsv1 && (!allow_rsv1 || control || op == WS_CONT)) {
        return WS_BAD_RSV;
    }
    return control && !out->fin ? WS_BAD_CONTROL : WS_OK;
}

static uint64_t big_endian(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

/* The extended length of section 5.2: `bytes` (2 or 8) of it at p, and the shortest form is the only one allowed. */
static enum ws_fault parse_long_length(const uint8_t *p, unsigned bytes, uint64_t *length)
{
    *length = big_endian(p, bytes);
    if (bytes == 2) {
        return *length < LENGTH_16 ? WS_BAD_LENGTH : WS_OK;
    }
    return *length <= UINT16_MAX || *length > INT64_MAX ? WS_BAD_LENGTH : WS_OK;
}

enum ws_fault ws_head_parse(struct span in, bool want_mask, bool allow_rsv1, struct ws_head *out)
{
    unsigned extended;
    enum ws_fault fault;

    *out = (struct ws_head){0};
    if (in.n < 1) {
        return WS_NEED_MORE;
    }
    fault = parse_first(in.p[0], allow_rsv1, out);
    if (fault != WS_OK || in.n < 2) {
        return fault != WS_OK ? fault : WS_NEED_MORE;
    }
    out->masked = (in.p[1] & 0x80) != 0;
    out->length = in.p[1] & 0x7F;
    if (out->masked != want_mask) {
        return WS_BAD_MASK;
    }
    if (out->opcode >= WS_CLOSE && out->length >= LENGTH_16) {
        return WS_BAD_CONTROL;
    }
    extended = out->length == LENGTH_16 ? 2 : out->length == LENGTH_64 ? 8 : 0;
    if (in.n < 2 + extended) {
        return WS_NEED_MORE;
    }
    if (extended) {
        fault = parse_long_length(in.p + 2, extended, &out->length);
        if (fault != WS_OK) {
            return fault;
        }
    }
    out->size = 2 + extended;
    if (out->masked) {
        if (in.n < out->size + 4) {
            return WS_NEED_MORE;
        }
        memcpy(out->mask, in.p + out->size, 4);
        out->size += 4;
    }
    return WS_OK;
}

const char *ws_fault_text(enum ws_fault f)
{
    switch (f) {
    case WS_OK:
        return "no fault";
    case WS_NEED_MORE:
        return "frame head is incomplete";
    case WS_BAD_RSV:
        return "reserved bit set without an extension that defines it";
    case WS_BAD_OPCODE:
        return "reserved opcode";
    case WS_BAD_CONTROL:
        return "control frame is fragmented or longer than 125 bytes";
    case WS_BAD_MASK:
        return "frames from a client must be masked, those from a server must not";
    case WS_BAD_LENGTH:
        return "payload length is not in its shortest form or too large";
    }
    return "unknown fault";
}

unsigned ws_head_write(uint8_t *out, bool fin, bool rsv1, enum ws_opcode op, uint64_t length, const uint8_t mask[4])
{
    unsigned extended = length < LENGTH_16 ? 0 : length <= UINT16_MAX ? 2 : 8;
    unsigned size = 2;

    out[0] = (uint8_t)((fin ? 0x80 : 0) | (rsv1 ? 0x40 : 0) | (unsigned)op);
    out[1] = (uint8_t)((mask ? 0x80 : 0) | (extended == 0 ? length : extended == 2 ? LENGTH_16 : LENGTH_64));
    for (unsigned i = 0; i < extended; i++) {
        out[size++] = (uint8_t)(length >> (8 * (extended - 1 - i)));
    }
    if (mask) {
        memcpy(out + size, mask, 4);
        size += 4;
    }
    return size;
}

void ws_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t offset)
{
    uint8_t key[8];
    uint64_t k, word[4];

    for (unsigned i = 0; i < sizeof(key); i++) {
        key[i] = mask[(offset + i) & 3];
    }
    memcpy(&k, key, sizeof(k));
    /* Steps are multiples of four bytes, so the key stays in phase; memcpy because payloads start anywhere. */
    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word)) {
        memcpy(word, p, sizeof(word));
        word[0] ^= k;
        word[1] ^= k;
        word[2] ^= k;
        word[3] ^= k;
        memcpy(p, word, sizeof(word));
    }
    for (; n >= sizeof(k); p += sizeof(k), n -= sizeof(k)) {
        memcpy(word, p, sizeof(k));
        word[0] ^= k;
        memcpy(p, word, sizeof(k));
    }
    for (size_t i = 0; i < n; i++) {
        p[i] ^= key[i];
    }
}

#define KEY_CHARS 24

void ws_accept_key(struct span key, char out[29])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 section 1.3 */
    uint8_t text[KEY_CHARS + sizeof(guid) - 1];
    uint8_t digest[20];

    if (key.n != KEY_CHARS) {
        out[0] = '\0';
        return;
    }
    memcpy(text, key.p, KEY_CHARS);
    memcpy(text + KEY_CHARS, guid, sizeof(guid) - 1);
    sha1(span_of(text, sizeof(text)), digest);
    base64_encode(span_of(digest, sizeof(digest)), out);
    out[28] = '\0';
}

static bool is_base64(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

bool ws_key_ok(struct span key)
{
    if (key.n != KEY_CHARS || key.p[22] != '=' || key.p[23] != '=') {
        return false;
    }
    for (unsigned i = 0; i < 22; i++) {
        if (!is_base64(key.p[i])) {
            return false;
        }
    }
    return true;
}

/* Section 7.4 and the registry: 1004 has no meaning, 1005, 1006 and 1015 are for reporting and never sent. */
static bool close_code_ok(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

int ws_close_parse(struct span payload, unsigned *code, struct span *reason)
{
    *code = 1005;
    *reason = span_of(payload.p, 0);
    if (payload.n == 0) {
        return 0;
    }
    if (payload.n < 2) {
        return -1;
    }
    *code = (unsigned)big_endian(payload.p, 2);
    *reason = span_of(payload.p + 2, payload.n - 2);
    return close_code_ok(*code) && utf8_valid(*reason) ? 0 : -1;
}
