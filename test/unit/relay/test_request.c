/*
 * test_request.c - URLs, bodies and headers, byte for byte, with names and texts that try to get out of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/crier-relay/request.h"
#include "cmd/crier-relay/settings.h"
#include "proto/json.h"

enum { WECOM, WECHAT, WEBHOOK };

static char corpid[] = "c&1", secret[] = "s=\"x", agentid[] = "1000002", api[] = "https://q/p", appid[] = "a b",
            template_id[] = "T\"1", field[] = "thing1";
static const struct settings settings = {.corpid = corpid,
                                         .corp_secret = secret,
                                         .agentid = agentid,
                                         .wecom_api = api,
                                         .appid = appid,
                                         .app_secret = secret,
                                         .template_id = template_id,
                                         .field = field,
                                         .wechat_api = api};

static struct errand errand(void)
{
    return (struct errand){.name = SPAN_LIT("t:u:3:bob:id"),
                           .user = SPAN_LIT("bob"),
                           .id = SPAN_LIT("id"),
                           .address = SPAN_LIT("bo\"b"),
                           .text = SPAN_LIT("a\n\xff"),
                           .attempt = 2,
                           .due_ms = 1796054258745};
}

/* The text, or a failure; at any smaller ceiling the answer is no. */
#define EXPECT(call, want)                                                                                             \
    do {                                                                                                               \
        for (size_t max = 0; max <= strlen(want) + 1; max++) {                                                         \
            struct buf b;                                                                                              \
            buf_init(&b, max);                                                                                         \
            bool fits = (call);                                                                                        \
            if (max > strlen(want)) {                                                                                  \
                assert_true(fits &&b.len == strlen(want));                                                             \
                assert_memory_equal(b.data, want, b.len);                                                              \
            } else {                                                                                                   \
                assert_true(!fits || max == strlen(want));                                                             \
            }                                                                                                          \
            buf_fini(&b);                                                                                              \
        }                                                                                                              \
    } while (0)

static void test_urls(void **state)
{
    struct errand e = errand();
    (void)state;
    EXPECT(request_token_url(&settings, WECOM, &b), "https://q/p/cgi-bin/gettoken?corpid=c%261&corpsecret=s%3D%22x");
    EXPECT(request_token_url(&settings, WECHAT, &b),
           "https://q/p/cgi-bin/token?grant_type=client_credential&appid=a%20b&secret=s%3D%22x");
    EXPECT(request_url(&settings, WECOM, &e, "t/+=k", &b), "https://q/p/cgi-bin/message/send?access_token=t%2F%2B%3Dk");
    EXPECT(request_url(&settings, WECHAT, &e, "t", &b), "https://q/p/cgi-bin/message/template/send?access_token=t");
    e.address = SPAN_LIT("http://x/?a=b");
    EXPECT(request_url(&settings, WEBHOOK, &e, "", &b), "http://x/?a=b");
}

static void test_bodies(void **state)
{
    struct errand e = errand();
    (void)state;
    EXPECT(
        request_body(&settings, WECOM, &e, &b),
        "{\"touser\":\"bo\\\"b\",\"msgtype\":\"text\",\"agentid\":1000002,\"text\":{\"content\":\"a\\n\xEF\xBF\xBD\"},"
        "\"enable_duplicate_check\":1,\"duplicate_check_interval\":60}");
    /* printf t:u:3:bob:id | sha256sum */
    EXPECT(request_body(&settings, WECHAT, &e, &b),
           "{\"touser\":\"bo\\\"b\",\"template_id\":\"T\\\"1\",\"client_msg_id\":\"6ecf4cae79b3eefe3222f5b28c3dbdf7\","
           "\"data\":{\"thing1\":{\"value\":\"a\\n\xEF\xBF\xBD\"}}}");
}

static void test_webhook_bodies(void **state)
{
    struct errand e = errand();
    (void)state;
    e.text = SPAN_LIT("");
    EXPECT(request_body(&settings, WEBHOOK, &e, &b),
           "{\"id\":\"id\",\"user\":\"bob\",\"text\":\"\",\"attempt\":2,\"due\":1796054258745}");
    e.payload = SPAN_LIT(" {\"data\": 1.0}\n");
    EXPECT(request_body(&settings, WEBHOOK, &e, &b), "{\"id\":\"id\",\"user\":\"bob\",\"text\":\"\",\"attempt\":2,"
                                                     "\"due\":1796054258745,\"message\":{\"data\": 1.0}}");
    e.payload = SPAN_LIT("{\"data\":1},\"user\":\"x\"");
    EXPECT(request_body(&settings, WEBHOOK, &e, &b),
           "{\"id\":\"id\",\"user\":\"bob\",\"text\":\"\",\"attempt\":2,\"due\":1796054258745,"
           "\"message_base64\":\"eyJkYXRhIjoxfSwidXNlciI6Ingi\"}");
}

/* What is as deep as a reader takes stays readable inside the body. */
static void test_deep_payload(void **state)
{
    uint8_t deep[2 * JSON_MAX_DEPTH];
    struct errand e = errand();
    struct json_value v;
    (void)state;
    for (unsigned depth = JSON_MAX_DEPTH - 2; depth <= JSON_MAX_DEPTH; depth++) {
        struct buf b;
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        e.payload = span_of(deep, 2 * depth);
        buf_init(&b, 4096);
        assert_true(request_body(&settings, WEBHOOK, &e, &b));
        assert_int_equal(json_parse(buf_span(&b), JSON_MAX_DEPTH, &v), JSON_OK);
        buf_fini(&b);
    }
}

static void test_headers(void **state)
{
    struct errand e = errand();
    (void)state;
    EXPECT(request_key_header(&e, &b), "Idempotency-Key: 6ecf4cae79b3eefe3222f5b28c3dbdf7");
    /* printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key */
    EXPECT(request_signature_header(SPAN_LIT("key"), 1700000000, SPAN_LIT("{\"a\":1}"), &b),
           "Crier-Signature: t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03");
}

static void test_addresses(void **state)
{
    (void)state;
    assert_true(channel_takes(WECOM, SPAN_LIT("bob.b@x-1")));
    assert_false(channel_takes(WECOM, SPAN_LIT("@all")));
    assert_false(channel_takes(WECOM, SPAN_LIT("a|b")));
    assert_false(channel_takes(WECOM, SPAN_LIT("")));
    assert_true(channel_takes(WECHAT, SPAN_LIT("oABC|d")));
    assert_false(channel_takes(WECHAT, SPAN_LIT("a\nb")));
    assert_true(channel_takes(WEBHOOK, SPAN_LIT("https://x/y")));
    assert_false(channel_takes(WEBHOOK, SPAN_LIT("ftp://x/y")));
    assert_false(channel_takes(WEBHOOK, SPAN_LIT("file:///etc/passwd")));
    assert_false(channel_takes(WEBHOOK, SPAN_LIT("https://x/\r\ny")));
    assert_false(channel_takes(WEBHOOK, SPAN_LIT("https://x/\0y")));
    assert_true(channel_has_token(WECOM) && channel_has_token(WECHAT) && !channel_has_token(WEBHOOK));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_urls),           cmocka_unit_test(test_bodies),
                                       cmocka_unit_test(test_webhook_bodies), cmocka_unit_test(test_deep_payload),
                                       cmocka_unit_test(test_headers),        cmocka_unit_test(test_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
