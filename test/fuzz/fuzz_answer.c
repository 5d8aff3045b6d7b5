/*
 * fuzz_answer.c - what providers answer to the relay. Byte 0 picks how it came, bytes 1 and 2 the status; the rest is
 * the body.
 *
 * Held to, beyond not crashing:
 * - a detail is at most 160 bytes of UTF-8 without control characters, and does not hold the token;
 * - only an HTTP answer of 2xx is ever good; a token is printable, and lives for a while and not for ever;
 * - a wait that is asked for keeps to its ceiling.
 */
#include "check.h"
#include "cmd/crier-relay/answer.h"
#include "proto/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_MS = 300000 };

static void check_verdict(const struct answer *a, const struct verdict *v, struct span hidden)
{
    struct span detail = span_str(v->detail);
    CHECK(detail.n <= DETAIL_MAX && utf8_valid(detail));
    for (size_t i = 0; i < detail.n; i++)
        CHECK(detail.p[i] >= ' ' && detail.p[i] != 0x7F);
    CHECK(detail.n == 0 || !memmem(detail.p, detail.n, hidden.p, hidden.n));
    CHECK(v->outcome != OUTCOME_SENT || (a->kind == ANSWER_HTTP && a->status / 100 == 2));
    CHECK(!v->refused || v->outcome == OUTCOME_AGAIN);
    CHECK(v->least_ms <= MOST_MS);
}

static void check_token(const struct token *t)
{
    size_t n = strlen(t->text);
    CHECK(n > 0 && n <= TOKEN_MAX_BYTES && t->life_ms >= 1000 && t->life_ms <= UINT64_C(30) * 86400 * 1000);
    for (size_t i = 0; i < n; i++)
        CHECK(t->text[i] > ' ' && t->text[i] <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct span hidden = {(const uint8_t *)"hidden-token", 12};
    struct verdict v;
    struct token t;
    if (size < 3)
        return 0;
    struct span body = check_exact(span_of(data + 3, size - 3));
    struct answer a = {.kind = (enum answer_kind)(data[0] % 5),
                       .too_long = data[0] & 0x80,
                       .status = ((unsigned)data[1] << 8 | data[2]) % 1000,
                       .retry_after_s = data[1] * 7919u,
                       .why = data[0] & 0x40 ? "words" : NULL,
                       .body = body};
    answer_message(&a, hidden, &v);
    check_verdict(&a, &v, hidden);
    answer_webhook(&a, MOST_MS, &v);
    check_verdict(&a, &v, hidden);
    if (answer_token(&a, hidden, &t, &v)) {
        check_token(&t);
    } else {
        check_verdict(&a, &v, hidden);
        CHECK(v.outcome == OUTCOME_AGAIN);
    }
    check_free(body);
    return 0;
}
