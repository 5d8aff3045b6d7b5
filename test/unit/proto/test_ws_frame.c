/*
 * test_ws_frame.c - frame heads (the examples of RFC 6455 section 5.7, every length at its border, every first byte),
 * masking at every alignment, the accept key of section 1.3, close payloads. All input lies against a guard page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "guard.h"
#include "proto/ws_frame.h"

static enum ws_fault parse(struct span s, bool want_mask, bool rsv1, struct ws_head *h)
{
    struct guard g;
    enum ws_fault fault = ws_head_parse(guard_copy(&g, s), want_mask, rsv1, h);

    guard_free(&g);
    return fault;
}

/* The fault of the whole head, after every shorter prefix said "more" or the very same fault. */
static enum ws_fault parse_growing(struct span s, bool want_mask, bool rsv1, struct ws_head *h)
{
    enum ws_fault whole = parse(s, want_mask, rsv1, h);
    struct ws_head part;

    for (size_t n = 0; n < (whole == WS_OK ? h->size : s.n); n++) {
        enum ws_fault fault = parse(span_of(s.p, n), want_mask, rsv1, &part);
        assert_true(fault == WS_NEED_MORE || (fault == whole && whole != WS_OK));
    }
    return whole;
}

static void rfc_examples(void **state)
{
    static const struct {
        struct span bytes;
        bool masked, fin;
        enum ws_opcode opcode;
        uint64_t length;
        struct span text;
    } table[] = {
        {SPAN_LIT("\x81\x05Hello"), false, true, WS_TEXT, 5, SPAN_LIT("Hello")},
        {SPAN_LIT("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), true, true, WS_TEXT, 5, SPAN_LIT("Hello")},
        {SPAN_LIT("\x01\x03Hel"), false, false, WS_TEXT, 3, SPAN_LIT("Hel")},
        {SPAN_LIT("\x80\x02lo"), false, true, WS_CONT, 2, SPAN_LIT("lo")},
        {SPAN_LIT("\x89\x05Hello"), false, true, WS_PING, 5, SPAN_LIT("Hello")},
        {SPAN_LIT("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), true, true, WS_PONG, 5, SPAN_LIT("Hello")},
        {SPAN_LIT("\x82\x7E\x01\x00"), false, true, WS_BINARY, 256, {NULL, 0}},
        {SPAN_LIT("\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00"), false, true, WS_BINARY, 65536, {NULL, 0}},
    };
    struct ws_head h;
    uint8_t payload[8];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_int_equal(parse_growing(table[i].bytes, table[i].masked, false, &h), WS_OK);
        assert_int_equal(h.fin, table[i].fin);
        assert_int_equal(h.masked, table[i].masked);
        assert_false(h.rsv1);
        assert_int_equal(h.opcode, table[i].opcode);
        assert_int_equal(h.length, table[i].length);
        assert_int_equal(h.size + table[i].text.n, table[i].bytes.n);
        if (table[i].text.n) {
            memcpy(payload, table[i].bytes.p + h.size, table[i].text.n);
            if (h.masked) {
                ws_mask(payload, table[i].text.n, h.mask, 0);
            }
            assert_memory_equal(payload, table[i].text.p, table[i].text.n);
        }
        assert_int_equal(parse(table[i].bytes, !table[i].masked, false, &h), WS_BAD_MASK);
    }
}

static enum ws_fault expected_for_first(unsigned b, bool allow_rsv1)
{
    unsigned op = b & 15;
    bool known = op <= 2 || (op >= 8 && op <= 10);

    if (b & 0x30) {
        return WS_BAD_RSV;
    }
    if (!known) {
        return WS_BAD_OPCODE;
    }
    if ((b & 0x40) && !(allow_rsv1 && (op == 1 || op == 2))) {
        return WS_BAD_RSV;
    }
    return op >= 8 && !(b & 0x80) ? WS_BAD_CONTROL : WS_OK;
}

/* All 256 first bytes, with and without permessage-deflate; the fault shows with that byte alone. */
static void first_bytes(void **state)
{
    struct ws_head h;

    (void)state;
    for (unsigned b = 0; b < 256; b++) {
        for (int rsv1 = 0; rsv1 < 2; rsv1++) {
            uint8_t head[2] = {(uint8_t)b, 0};
            enum ws_fault want = expected_for_first(b, rsv1);
            assert_int_equal(parse(span_of(head, 2), false, rsv1, &h), want);
            assert_int_equal(parse(span_of(head, 1), false, rsv1, &h), want == WS_OK ? WS_NEED_MORE : want);
            if (want == WS_OK) {
                assert_int_equal(h.rsv1, (b & 0x40) != 0);
            }
        }
    }
}

static void refuses(void **state)
{
    static const struct {
        struct span bytes;
        enum ws_fault fault;
    } table[] = {
        {SPAN_LIT("\x82\x7E\x00\x00"), WS_BAD_LENGTH},                         /* 0 in two bytes */
        {SPAN_LIT("\x82\x7E\x00\x7D"), WS_BAD_LENGTH},                         /* 125 in two bytes */
        {SPAN_LIT("\x82\x7F\x00\x00\x00\x00\x00\x00\x00\x00"), WS_BAD_LENGTH}, /* 0 in eight bytes */
        {SPAN_LIT("\x82\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF"), WS_BAD_LENGTH}, /* 65535 in eight bytes */
        {SPAN_LIT("\x82\x7F\x80\x00\x00\x00\x00\x00\x00\x00"), WS_BAD_LENGTH}, /* the top bit */
        {SPAN_LIT("\x82\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), WS_BAD_LENGTH}, /* */
        {SPAN_LIT("\x89\x7E\x00\x7E"), WS_BAD_CONTROL},                        /* a ping of 126 bytes */
        {SPAN_LIT("\x88\x7F\x00\x00\x00\x00\x00\x01\x00\x00"), WS_BAD_CONTROL},
        {SPAN_LIT("\x09\x00"), WS_BAD_CONTROL}, /* a ping in fragments */
        {SPAN_LIT("\x08\x00"), WS_BAD_CONTROL},
        {SPAN_LIT("\x83\x00"), WS_BAD_OPCODE},
        {SPAN_LIT("\x8F\x00"), WS_BAD_OPCODE},
        {SPAN_LIT("\xC1\x00"), WS_BAD_RSV},
    };
    struct ws_head h;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_int_equal(parse_growing(table[i].bytes, false, false, &h), table[i].fault);
    }
}

static void heads_come_back(void **state)
{
    static const uint64_t lengths[] = {0, 1, 125, 126, 127, 65535, 65536, 1u << 20, UINT64_C(1) << 32, INT64_MAX};
    static const enum ws_opcode ops[] = {WS_CONT, WS_TEXT, WS_BINARY, WS_CLOSE, WS_PING, WS_PONG};
    static const uint8_t mask[4] = {0xDE, 0xAD, 0, 0xFF};
    uint8_t head[WS_MAX_HEAD];
    struct ws_head h;

    (void)state;
    for (size_t l = 0; l < ARRAY_LEN(lengths); l++) {
        for (size_t o = 0; o < ARRAY_LEN(ops); o++) {
            for (unsigned flags = 0; flags < 8; flags++) {
                bool fin = flags & 1, rsv1 = flags & 2, masked = flags & 4;
                unsigned size = ws_head_write(head, fin, rsv1, ops[o], lengths[l], masked ? mask : NULL);
                bool legal = ops[o] < WS_CLOSE ? !rsv1 || ops[o] != WS_CONT : fin && !rsv1 && lengths[l] <= 125;

                assert_true(size <= (masked ? WS_MAX_HEAD : WS_MAX_SERVER_HEAD));
                assert_int_equal(parse_growing(span_of(head, size), masked, true, &h) == WS_OK, legal);
                if (legal) {
                    assert_int_equal(h.size, size);
                    assert_int_equal(h.fin, fin);
                    assert_int_equal(h.rsv1, rsv1);
                    assert_int_equal(h.opcode, ops[o]);
                    assert_true(h.length == lengths[l]);
                    assert_memory_equal(h.mask, masked ? mask : (const uint8_t[4]){0}, 4);
                }
            }
        }
    }
}

/* Every length, offset and alignment that any path of the loop can meet, against the definition of section 5.3. */
static void masks(void **state)
{
    static const uint8_t mask[4] = {0x01, 0x20, 0x40, 0x83};
    struct guard g;
    uint8_t plain[100], got[100];

    (void)state;
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * 37 + 11);
    }
    guard_open(&g, sizeof(plain));
    for (size_t n = 0; n <= sizeof(plain); n++) {
        for (uint64_t offset = 0; offset < 5; offset++) {
            struct span s = guard_load(&g, span_of(plain, n)); /* ends at the guard: its alignment changes with n */
            ws_mask(g.base + g.room - n, n, mask, offset);
            memcpy(got, s.p, n);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(got[i], plain[i] ^ mask[(offset + i) % 4]);
            }
        }
        for (size_t cut = 0; cut <= n; cut++) { /* in two pieces, then back in one */
            memcpy(got, plain, n);
            ws_mask(got, cut, mask, 0);
            ws_mask(got + cut, n - cut, mask, cut);
            ws_mask(got, n, mask, 0);
            assert_memory_equal(got, plain, n);
        }
    }
    guard_free(&g);
    memcpy(got, plain, 50);
    ws_mask(got, 50, mask, (UINT64_C(1) << 40) + 3); /* past 32 bits */
    assert_int_equal(got[0], plain[0] ^ mask[3]);
}

static void accept_key(void **state)
{
    struct guard g;
    char out[29];

    (void)state;
    ws_accept_key(guard_copy(&g, SPAN_LIT("dGhlIHNhbXBsZSBub25jZQ==")), out);
    guard_free(&g);
    assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    ws_accept_key(SPAN_LIT("x3JJHMbDL1EzLkh9GBhXDw=="), out);
    assert_string_equal(out, "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
    ws_accept_key(SPAN_LIT("short"), out);
    assert_string_equal(out, "");
}

static void keys(void **state)
{
    static const struct {
        const char *key;
        bool ok;
    } table[] = {
        {"dGhlIHNhbXBsZSBub25jZQ==", true},   {"AAAAAAAAAAAAAAAAAAAAAA==", true},
        {"+/+/+/+/+/+/+/+/+/+/+w==", true},   {"", false},
        {"dGhlIHNhbXBsZSBub25jZQ=", false},   {"dGhlIHNhbXBsZSBub25jZQ", false},
        {"dGhlIHNhbXBsZSBub25jZQ===", false}, {"dGhlIHNhbXBsZSBub25jZQAA", false},
        {"dGhlIHNhbXBsZSBub25jZ===", false},  {"dGhlIHNhbXBsZSBub25j Q==", false},
        {"dGhlIHNhbXBsZSBub25-ZQ==", false},  {"dGhlIHNhbXBsZSBub25_ZQ==", false},
    };
    struct guard g;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_int_equal(ws_key_ok(guard_copy(&g, span_str(table[i].key))), table[i].ok);
        guard_free(&g);
    }
}

static int parse_close(struct span payload, unsigned *code, size_t *reason)
{
    struct guard g;
    struct span r;
    int rc = ws_close_parse(guard_copy(&g, payload), code, &r);

    *reason = r.n;
    guard_free(&g);
    return rc;
}

static void close_codes(void **state)
{
    unsigned code;
    size_t reason;

    (void)state;
    for (unsigned c = 0; c < 65536; c++) {
        uint8_t payload[2] = {(uint8_t)(c >> 8), (uint8_t)c};
        struct span r;
        bool want = (c >= 1000 && c <= 1014 && c != 1004 && c != 1005 && c != 1006) || (c >= 3000 && c < 5000);
        assert_int_equal(ws_close_parse(span_of(payload, 2), &code, &r) == 0, want);
        assert_int_equal(code, c);
        assert_int_equal(r.n, 0);
    }
    assert_int_equal(parse_close(SPAN_LIT(""), &code, &reason), 0);
    assert_int_equal(code, 1005);
    assert_int_equal(reason, 0);
    assert_int_equal(parse_close(SPAN_LIT("\x03"), &code, &reason), -1);
    assert_int_equal(parse_close(SPAN_LIT("\x03\xE8going away \xE2\x82\xAC"), &code, &reason), 0);
    assert_int_equal(code, 1000);
    assert_int_equal(reason, 14);
    assert_int_equal(parse_close(SPAN_LIT("\x03\xE8half \xE2\x82"), &code, &reason), -1);
    assert_int_equal(parse_close(SPAN_LIT("\x03\xE8\xED\xA0\x80"), &code, &reason), -1);
}

static void every_fault_has_a_sentence(void **state)
{
    (void)state;
    for (int f = WS_OK; f <= WS_BAD_LENGTH; f++) {
        const char *text = ws_fault_text((enum ws_fault)f);
        assert_in_range(strlen(text), 5, 123);
        for (int other = WS_OK; other < f; other++) {
            assert_string_not_equal(text, ws_fault_text((enum ws_fault)other));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_examples),
        cmocka_unit_test(first_bytes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(heads_come_back),
        cmocka_unit_test(masks),
        cmocka_unit_test(accept_key),
        cmocka_unit_test(keys),
        cmocka_unit_test(close_codes),
        cmocka_unit_test(every_fault_has_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
