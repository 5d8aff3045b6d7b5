/*
 * addr_rule.c - the special-purpose address registries of RFC 6890 as a table: loopback, private, link-local, shared
 * (CGNAT), multicast, unspecified, reserved, documentation. An IPv6 address that carries an IPv4 address (mapped,
 * NAT64, 6to4) is judged by that; all of IPv6 outside 2000::/3 is refused.
 */
#include "cmd/crier-relay/addr_rule.h"

struct range {
    uint32_t net;
    unsigned bits;
};

/* RFC 6890 section 2.2.2, RFC 5771, RFC 6598, RFC 5737. */
static const struct range not_public[] = {
    {0x00000000, 8},  /* 0.0.0.0/8 this network */
    {0x0A000000, 8},  /* 10.0.0.0/8 */
    {0x64400000, 10}, /* 100.64.0.0/10 shared */
    {0x7F000000, 8},  /* 127.0.0.0/8 */
    {0xA9FE0000, 16}, /* 169.254.0.0/16 link-local */
    {0xAC100000, 12}, /* 172.16.0.0/12 */
    {0xC0000000, 24}, /* 192.0.0.0/24 protocol assignments */
    {0xC0000200, 24}, /* 192.0.2.0/24 documentation */
    {0xC0586300, 24}, /* 192.88.99.0/24 6to4 relays */
    {0xC0A80000, 16}, /* 192.168.0.0/16 */
    {0xC6120000, 15}, /* 198.18.0.0/15 benchmarks */
    {0xC6336400, 24}, /* 198.51.100.0/24 documentation */
    {0xCB007100, 24}, /* 203.0.113.0/24 documentation */
    {0xE0000000, 4},  /* 224.0.0.0/4 multicast */
    {0xF0000000, 4},  /* 240.0.0.0/4 reserved, broadcast */
};

static bool public4(const uint8_t *a)
{
    uint32_t ip = (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 | (uint32_t)a[2] << 8 | a[3];
    for (size_t i = 0; i < ARRAY_LEN(not_public); i++) {
        if ((ip ^ not_public[i].net) >> (32 - not_public[i].bits) == 0)
            return false;
    }
    return true;
}

static bool public6(const uint8_t *a)
{
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF}, nat64[12] = {0x00, 0x64, 0xFF, 0x9B};
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0)
        return public4(a + 12);
    if (a[0] >> 5 != 1) /* 2000::/3: all that is given out for the Internet */
        return false;
    if (a[0] == 0x20 && a[1] == 0x02) /* 2002::/16, 6to4 */
        return public4(a + 2);
    bool special = a[0] == 0x20 && a[1] == 0x01 && a[2] < 0x02; /* 2001::/23: Teredo, ORCHID, ... */
    bool documentation = a[0] == 0x20 && a[1] == 0x01 && a[2] == 0x0D && a[3] == 0xB8; /* 2001:db8::/32 */
    bool more = a[0] == 0x3F && a[1] == 0xFF && a[2] < 0x10;                           /* 3fff::/20, RFC 9637 */
    return !special && !documentation && !more;
}

bool addr_is_public(struct span address)
{
    return address.n == 4 ? public4(address.p) : address.n == 16 && public6(address.p);
}
