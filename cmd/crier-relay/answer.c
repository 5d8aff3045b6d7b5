/*
 * answer.c - from an answer to a verdict.
 *
 * WeCom and WeChat answer 200 with an `errcode`; how it is sorted: the token's own codes, those that pass by
 * themselves, and all others, which are final. What is no answer of theirs (a proxy's page, half an object) passes by
 * itself, too. Texts of the provider are shown only when they do not repeat a secret.
 */
#include "cmd/crier-relay/answer.h"

#include "proto/json.h"

enum { MOST_TOKEN_S = 30 * 86400, TEXT_MAX = 1024 };

/* What an answer of WeCom or WeChat may say; values borrow from the body. */
struct members {
    struct json_value errcode, errmsg, msgid, invaliduser, access_token, expires_in;
};

/* Each value's `raw.p` is NULL when it is not there. */
static bool read_members(struct span body, struct members *m)
{
    struct {
        const char *name;
        struct json_value *to;
    } const want[] = {{"errcode", &m->errcode},
                      {"errmsg", &m->errmsg},
                      {"msgid", &m->msgid},
                      {"invaliduser", &m->invaliduser},
                      {"access_token", &m->access_token},
                      {"expires_in", &m->expires_in}};
    struct json_reader r;
    struct json_value key, value;
    *m = (struct members){0};
    json_reader_init(&r, body, JSON_MAX_DEPTH);
    if (json_next(&r, &value) != JSON_T_OPEN_OBJECT)
        return false;
    while (json_member(&r, &key, &value)) {
        for (size_t i = 0; i < ARRAY_LEN(want); i++) {
            if (!want[i].to->raw.p && json_string_is(&key, want[i].name))
                *want[i].to = value;
        }
    }
    return r.status == JSON_OK && json_next(&r, &value) == JSON_T_END;
}

/* A whole number of at most nine digits; one that is not there is 0. */
static bool read_code(const struct json_value *v, long *code)
{
    struct span s = v->raw;
    bool minus = s.n && s.p[0] == '-';
    *code = 0;
    if (!s.p)
        return true;
    if (v->kind != JSON_NUMBER || s.n - minus > 9)
        return false;
    for (size_t i = minus; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        *code = *code * 10 + (s.p[i] - '0');
    }
    *code = minus ? -*code : *code;
    return true;
}

/* The text of a string, or the digits of a number; empty when it is neither, too long or holds what is hidden. */
static struct span text_of(const struct json_value *v, struct span hidden, uint8_t to[TEXT_MAX])
{
    struct span s = v->raw;
    if (v->raw.p && v->kind == JSON_STRING) {
        ptrdiff_t n = json_decode(v, true, to, TEXT_MAX);
        s = span_of(to, n > 0 ? (size_t)n : 0);
    } else if (!v->raw.p || v->kind != JSON_NUMBER) {
        s = span_of(to, 0);
    }
    bool leaks = hidden.n && s.n && memmem(s.p, s.n, hidden.p, hidden.n);
    return leaks ? span_of(to, 0) : s;
}

/* No HTTP answer at all, or one that says by its status that the server is in trouble: *v is set. */
static bool is_trouble(const struct answer *a, struct verdict *v)
{
    switch (a->kind) {
    case ANSWER_HTTP:
        if (a->status != 429 && a->status / 100 != 5)
            return false;
        verdict_set(v, OUTCOME_AGAIN, "HTTP %u", a->status);
        return true;
    case ANSWER_TIMEOUT:
        verdict_set(v, OUTCOME_AGAIN, "timeout");
        return true;
    case ANSWER_NO_CONNECTION:
        verdict_set(v, OUTCOME_AGAIN, "no connection%s%s", a->why ? ": " : "", a->why ? a->why : "");
        return true;
    case ANSWER_NOT_ALLOWED:
        verdict_set(v, OUTCOME_FAILED, "address not allowed");
        return true;
    case ANSWER_BAD_URL:
        verdict_set(v, OUTCOME_FAILED, "address is no URL");
        return true;
    }
    return true;
}

static void set_code(struct verdict *v, enum outcome o, long code, const struct members *m, struct span hidden)
{
    uint8_t text[TEXT_MAX];
    struct span words = text_of(&m->errmsg, hidden, text);
    verdict_set(v, o, "errcode %ld%s%.*s", code, words.n ? ": " : "", SPAN_ARG(words));
}

/* Reads the object and its errcode. True: the code is good; else *v is set. */
static bool is_good(const struct answer *a, struct span hidden, struct members *m, struct verdict *v)
{
    long code;
    if (is_trouble(a, v))
        return false;
    bool fine = a->status / 100 == 2;
    if (a->too_long) {
        verdict_set(v, OUTCOME_AGAIN, "the answer is too long");
    } else if (!read_members(a->body, m) || !read_code(&m->errcode, &code)) {
        if (fine)
            verdict_set(v, OUTCOME_AGAIN, "the answer is no JSON object");
        else
            verdict_set(v, OUTCOME_AGAIN, "HTTP %u", a->status);
    } else if (code == 40001 || code == 40014 || code == 42001) {
        set_code(v, OUTCOME_AGAIN, code, m, hidden);
        v->refused = true;
    } else if (code == 45009 || code == -1) {
        set_code(v, OUTCOME_AGAIN, code, m, hidden);
    } else if (code != 0) {
        set_code(v, OUTCOME_FAILED, code, m, hidden);
    } else if (!fine) {
        verdict_set(v, OUTCOME_AGAIN, "HTTP %u", a->status);
    } else {
        return true;
    }
    return false;
}

void answer_message(const struct answer *a, struct span hidden, struct verdict *v)
{
    struct members m;
    uint8_t text[TEXT_MAX];
    if (!is_good(a, hidden, &m, v))
        return;
    if (m.invaliduser.raw.p && m.invaliduser.kind == JSON_STRING && m.invaliduser.raw.n > 2) {
        verdict_set(v, OUTCOME_FAILED, "invaliduser");
        return;
    }
    struct span msgid = text_of(&m.msgid, hidden, text);
    verdict_set(v, OUTCOME_SENT, "%.*s", SPAN_ARG(msgid));
}

static bool take_token(const struct members *m, struct token *t)
{
    uint64_t life_s;
    if (!m->access_token.raw.p || m->access_token.kind != JSON_STRING || !m->expires_in.raw.p ||
        m->expires_in.kind != JSON_NUMBER || !json_uint(&m->expires_in, &life_s) || life_s == 0)
        return false;
    ptrdiff_t n = json_decode(&m->access_token, false, (uint8_t *)t->text, TOKEN_MAX_BYTES);
    if (n <= 0)
        return false;
    t->text[n] = '\0';
    t->life_ms = (life_s < MOST_TOKEN_S ? life_s : MOST_TOKEN_S) * 1000;
    for (ptrdiff_t i = 0; i < n; i++) {
        if (t->text[i] <= ' ' || t->text[i] > '~')
            return false;
    }
    return true;
}

bool answer_token(const struct answer *a, struct span hidden, struct token *t, struct verdict *v)
{
    struct members m;
    struct verdict why;
    if (is_good(a, hidden, &m, &why)) {
        if (take_token(&m, t))
            return true;
        verdict_set(&why, OUTCOME_AGAIN, "the answer holds none");
    }
    verdict_set(v, OUTCOME_AGAIN, "token: %s", why.detail);
    return false;
}

void answer_webhook(const struct answer *a, unsigned most_ms, struct verdict *v)
{
    bool later = a->status == 408 || a->status == 425;
    if (!is_trouble(a, v)) {
        bool good = a->status / 100 == 2;
        verdict_set(v, good ? OUTCOME_SENT : later ? OUTCOME_AGAIN : OUTCOME_FAILED, "HTTP %u", a->status);
    }
    if (a->kind == ANSWER_HTTP && v->outcome == OUTCOME_AGAIN)
        v->least_ms = a->retry_after_s < most_ms / 1000 ? a->retry_after_s * 1000 : a->retry_after_s ? most_ms : 0;
}
