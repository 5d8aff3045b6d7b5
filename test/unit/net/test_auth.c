/*
 * test_auth.c - who a request is from: where tokens are looked for, what claims mean, --dev, API keys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/config.h"
#include "net/auth.h"
#include "proto/base64.h"
#include "proto/http_head.h"

#define SECRET  "0123456789abcdef0123456789abcdef"
#define API_KEY "an-api-key-of-some-length"
#define NOW     UINT64_C(1700000000)

static void b64url(const void *p, size_t n, char *out)
{
    base64_encode(span_of(p, n), out);
    n = base64_length(n);
    while (n && out[n - 1] == '=')
        n--;
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
}

static const char *token(const char *claims)
{
    static char out[32768];
    uint8_t mac[32];
    unsigned n = 0;

    b64url("{\"alg\":\"HS256\"}", 15, out);
    strncat(out, ".", 2);
    b64url(claims, strlen(claims), out + strlen(out));
    HMAC(EVP_sha256(), SECRET, 32, (const uint8_t *)out, strlen(out), mac, &n);
    strncat(out, ".", 2);
    b64url(mac, n, out + strlen(out));
    return out;
}

static struct auth *make(struct config *c, bool dev, bool jwt, const char *api)
{
    char err[200];
    struct auth *a;

    config_init(c);
    c->dev = dev;
    if (jwt)
        assert_true(config_set(c, "jwt-key", "HS256:" SECRET, true, err, sizeof(err)));
    if (api)
        assert_true(config_set(c, "api-key", api, true, err, sizeof(err)));
    a = auth_new(c, err, sizeof(err));
    if (!a)
        fail_msg("%s", err);
    return a;
}

static void drop(struct config *c, struct auth *a)
{
    auth_free(a);
    config_fini(c);
}

static enum auth_result check_claims(const struct auth *a, const char *claims, struct identity **id, char *why)
{
    why[0] = '\0';
    return auth_token(a, span_str(token(claims)), NOW, id, why, 200);
}

/* ---- claims ---- */

static void reads_claims(void **state)
{
    struct config c;
    struct auth *a = make(&c, false, true, NULL);
    struct identity *id = NULL;
    char why[200];
    (void)state;

    assert_int_equal(
        check_claims(a,
                     "{\"iss\":\"x\",\"sub\":\"al\\u00efce\",\"exp\":1700000001.5,\"nbf\":1700000020,"
                     "\"device\":\"phone\",\"rooms\":[\"news\",\"team:*\"],\"send\":[\"room:te\\u0061m:*\"]}",
                     &id, why),
        AUTH_OK);
    assert_string_equal(id->user, "al\xc3\xaf"
                                  "ce");
    assert_string_equal(id->device, "phone");
    assert_int_equal(id->expires_s, 1700000001);
    assert_int_equal(id->nrooms, 2);
    assert_true(identity_may_room(id, SPAN_LIT("news")));
    assert_true(identity_may_room(id, SPAN_LIT("team:a")));
    assert_false(identity_may_room(id, SPAN_LIT("news2")));
    assert_false(identity_may_room(id, SPAN_LIT("team")));
    assert_true(identity_may_send(id, SPAN_LIT("room:team:b")));
    assert_false(identity_may_send(id, SPAN_LIT("room:news")));
    assert_false(identity_may_send(id, SPAN_LIT("all")));
    assert_false(identity_may_send(id, SPAN_LIT("user:bob")));
    identity_free(id);

    assert_int_equal(check_claims(a, "{\"sub\":\"bob\",\"exp\":1700000001}", &id, why), AUTH_OK);
    assert_null(id->device);
    assert_false(identity_may_room(id, SPAN_LIT("news"))); /* without the claim: nothing */
    assert_false(identity_may_send(id, SPAN_LIT("all")));
    identity_free(id);
    drop(&c, a);
}

static void refuses_claims(void **state)
{
    static const struct {
        const char *claims;
        enum auth_result result;
        const char *part;
    } rows[] = {
        {"{\"sub\":\"a\",\"exp\":1700000000}", AUTH_EXPIRED, "expired"},
        {"{\"sub\":\"a\",\"exp\":0}", AUTH_EXPIRED, "expired"},
        {"{\"sub\":\"a\"}", AUTH_BAD, "exp"},
        {"{\"sub\":\"a\",\"exp\":\"1900000000\"}", AUTH_BAD, "exp"},
        {"{\"sub\":\"a\",\"exp\":-1}", AUTH_BAD, "exp"},
        {"{\"sub\":\"a\",\"exp\":1e300}", AUTH_BAD, "exp"},
        {"{\"sub\":\"a\",\"exp\":null}", AUTH_BAD, "exp"},
        {"{\"sub\":\"a\",\"exp\":1900000000,\"nbf\":1700000031}", AUTH_BAD, "not valid yet"},
        {"{\"sub\":\"a\",\"exp\":1900000000,\"nbf\":\"x\"}", AUTH_BAD, "nbf"},
        {"{\"exp\":1900000000}", AUTH_BAD, "sub"},
        {"{\"sub\":7,\"exp\":1900000000}", AUTH_BAD, "sub"},
        {"{\"sub\":\"\",\"exp\":1900000000}", AUTH_BAD, "sub"},
        {"{\"sub\":\"a\\u0000b\",\"exp\":1900000000}", AUTH_BAD, "sub"},
        {"{\"sub\":\"a\\nb\",\"exp\":1900000000}", AUTH_BAD, "sub"},
        {"{\"sub\":\"\\ud800\",\"exp\":1900000000}", AUTH_BAD, "sub"},
        {"{\"sub\":\"a\",\"sub\":\"b\",\"exp\":1900000000}", AUTH_BAD, "once"},
        {"{\"sub\":\"a\",\"exp\":1900000000,\"device\":\"\"}", AUTH_BAD, "device"},
        {"{\"sub\":\"a\",\"exp\":1900000000,\"rooms\":\"news\"}", AUTH_BAD, "rooms"},
        {"{\"sub\":\"a\",\"exp\":1900000000,\"rooms\":[1]}", AUTH_BAD, "rooms"},
        {"{\"sub\":\"a\",\"exp\":1900000000,\"send\":{}}", AUTH_BAD, "send"},
        {"{\"sub\":\"a\",\"exp\":1900000000,\"send\":[\"\\udc00\"]}", AUTH_BAD, "send"},
        {"[]", AUTH_BAD, "object"},
        {" ", AUTH_BAD, "object"},
        {"{\"sub\":\"a\",\"exp\":1900000000}}", AUTH_BAD, "object"},
    };
    struct config c;
    struct auth *a = make(&c, false, true, NULL);
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct identity *id = NULL;
        char why[200];
        enum auth_result r = check_claims(a, rows[i].claims, &id, why);
        if (r != rows[i].result || !strstr(why, rows[i].part))
            fail_msg("%s: %d \"%s\"", rows[i].claims, (int)r, why);
        assert_null(id);
    }
    drop(&c, a);
}

static void bounds_globs(void **state)
{
    struct config c;
    struct auth *a = make(&c, false, true, NULL);
    (void)state;

    for (unsigned n = 256; n <= 257; n++) {
        char claims[8192] = "{\"sub\":\"a\",\"exp\":1900000000,\"rooms\":[";
        struct identity *id = NULL;
        char why[200];
        for (unsigned i = 0; i < n; i++)
            strncat(claims, i ? ",\"r*\"" : "\"r*\"", 6);
        strncat(claims, "]}", 3);
        assert_int_equal(check_claims(a, claims, &id, why), n == 256 ? AUTH_OK : AUTH_BAD);
        if (id)
            assert_int_equal(id->nrooms, 256);
        identity_free(id);
    }
    drop(&c, a);
}

/* ---- requests ---- */

static enum auth_result ask(const struct auth *a, const char *target, const char *lines, struct identity **id,
                            char *why)
{
    static char text[65536];
    struct http_head h;
    struct http_error err;
    size_t scanned = 0;

    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", target, lines);
    assert_true(http_head_parse(span_str(text), sizeof(text), &scanned, &h, &err) > 0);
    why[0] = '\0';
    return auth_request(a, &h, NOW, id, why, 200);
}

static void finds_the_token(void **state)
{
    struct config c;
    struct auth *a = make(&c, false, true, NULL);
    char lines[8192], target[8192], why[200], good[4096];
    struct identity *id = NULL;
    static const char *const forms[] = {
        "Authorization: Bearer %s\r\n",
        "authorization: bearer   %s\r\n",
        "Cookie: a=b; crier_token=%s; c=d\r\n",
        "Sec-WebSocket-Protocol: crier.v1.json, bearer.%s\r\n",
        "Sec-WebSocket-Protocol: crier.v1.json\r\nsec-websocket-protocol:bearer.%s ,x\r\n",
        "Authorization: Basic YTpi\r\nCookie: crier_token=%s\r\n",
    };
    (void)state;

    snprintf(good, sizeof(good), "%s", token("{\"sub\":\"alice\",\"exp\":1900000000}"));
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const char *at = strstr(forms[i], "%s");
        snprintf(lines, sizeof(lines), "%.*s%s%s", (int)(at - forms[i]), forms[i], good, at + 2);
        if (ask(a, "/ws?device=d1", lines, &id, why) != AUTH_OK)
            fail_msg("%s: %s", forms[i], why);
        assert_string_equal(id->user, "alice");
        assert_string_equal(id->device, "d1");
        identity_free(id);
    }
    snprintf(target, sizeof(target), "/ws?x=1&token=%s&device=%%C3%%AF", good);
    assert_int_equal(ask(a, target, "", &id, why), AUTH_OK);
    assert_string_equal(id->device, "\xc3\xaf");
    identity_free(id);

    snprintf(good, sizeof(good), "%s", token("{\"sub\":\"alice\",\"exp\":1900000000,\"device\":\"mine\"}"));
    snprintf(target, sizeof(target), "/ws?token=%s&device=other", good);
    assert_int_equal(ask(a, target, "", &id, why), AUTH_OK);
    assert_string_equal(id->device, "mine"); /* what is signed wins */
    identity_free(id);
    drop(&c, a);
}

static void refuses_without_a_token(void **state)
{
    struct config c;
    struct auth *a = make(&c, false, true, NULL);
    struct identity *id = NULL;
    char why[200];
    (void)state;

    assert_int_equal(ask(a, "/ws", "", &id, why), AUTH_NONE);
    assert_non_null(strstr(why, "token"));
    assert_int_equal(ask(a, "/ws?user=alice", "", &id, why), AUTH_NONE); /* --dev alone takes that */
    assert_int_equal(ask(a, "/ws?token=", "", &id, why), AUTH_BAD);
    assert_int_equal(ask(a, "/ws?token=%zz", "", &id, why), AUTH_MALFORMED);
    assert_int_equal(ask(a, "/ws?device=%0a", "", &id, why), AUTH_MALFORMED);
    assert_int_equal(ask(a, "/ws", "Authorization: Bearer x.y.z\r\n", &id, why), AUTH_BAD);
    assert_null(id);
    drop(&c, a);
}

static void dev_takes_names(void **state)
{
    struct config c;
    struct auth *a = make(&c, true, false, NULL);
    struct identity *id = NULL;
    char why[200];
    (void)state;

    assert_int_equal(ask(a, "/ws?user=al%20ice&device=d", "", &id, why), AUTH_OK);
    assert_string_equal(id->user, "al ice");
    assert_string_equal(id->device, "d");
    assert_int_equal(id->expires_s, 0);
    assert_true(identity_may_room(id, SPAN_LIT("any")) && identity_may_send(id, SPAN_LIT("all")));
    identity_free(id);
    assert_int_equal(ask(a, "/ws?user_id=42", "", &id, why), AUTH_OK);
    assert_string_equal(id->user, "42");
    identity_free(id);
    assert_int_equal(ask(a, "/ws", "", &id, why), AUTH_OK);
    assert_null(id->user);
    identity_free(id);
    id = NULL;
    assert_int_equal(ask(a, "/ws?user=", "", &id, why), AUTH_MALFORMED);
    assert_int_equal(ask(a, "/ws?user=%0a", "", &id, why), AUTH_MALFORMED);
    assert_int_equal(ask(a, "/ws?user=a&token=x.y.z", "", &id, why), AUTH_BAD); /* a bad token is never overlooked */
    assert_null(id);
    drop(&c, a);
}

/* ---- API keys, origin, start ---- */

static bool api(const struct auth *a, const char *lines)
{
    char text[512];
    struct http_head h;
    struct http_error err;
    size_t scanned = 0;

    snprintf(text, sizeof(text), "POST /api/push HTTP/1.1\r\nHost: h\r\n%s\r\n", lines);
    assert_true(http_head_parse(span_str(text), sizeof(text), &scanned, &h, &err) > 0);
    return auth_api(a, &h);
}

static void api_keys(void **state)
{
    struct config c;
    struct auth *a = make(&c, true, false, API_KEY);
    char err[200];
    (void)state;

    assert_true(api(a, "Authorization: Bearer " API_KEY "\r\n"));
    assert_false(api(a, "Authorization: Bearer " API_KEY "x\r\n"));
    assert_false(api(a, "Authorization: Bearer an-api-key\r\n"));
    assert_false(api(a, "Authorization: Basic " API_KEY "\r\n"));
    assert_false(api(a, "")); /* --dev with a key asks for it */
    drop(&c, a);

    a = make(&c, true, false, NULL);
    assert_true(api(a, ""));
    drop(&c, a);
    a = make(&c, false, true, NULL);
    assert_false(api(a, ""));
    assert_false(api(a, "Authorization: Bearer \r\n"));
    drop(&c, a);

    config_init(&c);
    assert_true(config_set(&c, "api-key", "short", true, err, sizeof(err)));
    assert_null(auth_new(&c, err, sizeof(err)));
    assert_non_null(strstr(err, "at least 16"));
    assert_true(config_set(&c, "api-key", "@/nonexistent/key", true, err, sizeof(err)));
    assert_null(auth_new(&c, err, sizeof(err)));
    assert_non_null(strstr(err, "cannot read"));
    config_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_claims),    cmocka_unit_test(refuses_claims),          cmocka_unit_test(bounds_globs),
        cmocka_unit_test(finds_the_token), cmocka_unit_test(refuses_without_a_token), cmocka_unit_test(dev_takes_names),
        cmocka_unit_test(api_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
