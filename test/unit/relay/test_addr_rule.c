/*
 * test_addr_rule.c - which addresses are the Internet's: the edges of each range, and IPv4 inside IPv6.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cmd/crier-relay/addr_rule.h"

static bool is_public(const char *text)
{
    uint8_t a[16];
    bool six = strchr(text, ':') != NULL;
    assert_int_equal(inet_pton(six ? AF_INET6 : AF_INET, text, a), 1);
    return addr_is_public(span_of(a, six ? 16 : 4));
}

static void test_not_public(void **state)
{
    static const char *const list[] = {"0.0.0.0",
                                       "0.255.255.255",
                                       "10.0.0.0",
                                       "10.255.255.255",
                                       "100.64.0.0",
                                       "100.127.255.255",
                                       "127.0.0.1",
                                       "127.255.255.255",
                                       "169.254.169.254",
                                       "172.16.0.0",
                                       "172.31.255.255",
                                       "192.0.0.1",
                                       "192.0.2.7",
                                       "192.168.0.0",
                                       "192.168.255.255",
                                       "198.18.0.0",
                                       "198.19.255.255",
                                       "198.51.100.1",
                                       "203.0.113.9",
                                       "224.0.0.1",
                                       "239.255.255.255",
                                       "240.0.0.1",
                                       "255.255.255.255",
                                       "::",
                                       "::1",
                                       "::7f00:1",
                                       "::8.8.8.8",
                                       "::ffff:127.0.0.1",
                                       "::ffff:10.0.0.1",
                                       "::ffff:0.0.0.0",
                                       "64:ff9b::7f00:1",
                                       "64:ff9b:1::1",
                                       "100::1",
                                       "fc00::1",
                                       "fdff::1",
                                       "fe80::1",
                                       "febf::1",
                                       "fec0::1",
                                       "ff02::1",
                                       "2001::1",
                                       "2001:1ff::1",
                                       "2001:db8::1",
                                       "2002:7f00:1::1",
                                       "2002:a00:1::1",
                                       "3fff::1",
                                       "4000::1",
                                       "::ffff:169.254.169.254"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        if (is_public(list[i]))
            fail_msg("%s is no address of the Internet", list[i]);
    }
}

static void test_public(void **state)
{
    static const char *const list[] = {"1.1.1.1",          "9.255.255.255",   "11.0.0.0",        "100.63.255.255",
                                       "100.128.0.0",      "126.255.255.255", "128.0.0.0",       "169.253.0.1",
                                       "172.15.255.255",   "172.32.0.0",      "192.167.255.255", "192.169.0.0",
                                       "198.17.255.255",   "198.20.0.0",      "223.255.255.255", "::ffff:8.8.8.8",
                                       "64:ff9b::808:808", "2002:808:808::1", "2400:3200::1",    "2606:4700::1111",
                                       "2a00:1450::1",     "2001:4860::8888", "2001:200::1",     "3ffe::1"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        if (!is_public(list[i]))
            fail_msg("%s is an address of the Internet", list[i]);
    }
}

static void test_other_lengths(void **state)
{
    static const uint8_t bytes[32] = {8, 8, 8, 8};
    (void)state;
    for (size_t n = 0; n <= sizeof(bytes); n++)
        assert_int_equal(addr_is_public(span_of(bytes, n)), n == 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_not_public), cmocka_unit_test(test_public),
                                       cmocka_unit_test(test_other_lengths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
