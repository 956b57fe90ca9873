/* SPDX-License-Identifier: Apache-2.0 */
/* core/netpolicy_blocks.h - made by script/address-tables from tests/data; do not edit.
 *
 * The IANA IPv4 and IPv6 special-purpose address registries as of 2026-07-18, every row,
 * also the few that are globally reachable (none of them can be a receiver), and blocks
 * that the registries do not list. For netpolicy.c, which knows what is outside 2000::/3.
 *   https://www.iana.org/assignments/iana-ipv4-special-registry/
 *   https://www.iana.org/assignments/iana-ipv6-special-registry/ */
#ifndef RBK_CORE_NETPOLICY_BLOCKS_H
#define RBK_CORE_NETPOLICY_BLOCKS_H

/* clang-format off */
#define V4(a, b, c, d, bits) {RBK_HOST_IPV4, bits, {a, b, c, d}}
#define PAIR(g) (g) >> 8, (g) & 0xff
#define V6(a, b, c, d, e, f, g, h, bits) \
    {RBK_HOST_IPV6, bits, {PAIR(a), PAIR(b), PAIR(c), PAIR(d), PAIR(e), PAIR(f), PAIR(g), PAIR(h)}}

static const rbk_cidr special_blocks[] = {
    /* IANA IPv4 */
    V4(0, 0, 0, 0, 8), /* This network, RFC 791 s3.2 */
    V4(0, 0, 0, 0, 32), /* This host on this network, RFC 1122 s3.2.1.3 */
    V4(10, 0, 0, 0, 8), /* Private-Use, RFC 1918 */
    V4(100, 64, 0, 0, 10), /* Shared Address Space (CGNAT), RFC 6598 */
    V4(127, 0, 0, 0, 8), /* Loopback, RFC 1122 s3.2.1.3 */
    V4(169, 254, 0, 0, 16), /* Link Local, RFC 3927 */
    V4(172, 16, 0, 0, 12), /* Private-Use, RFC 1918 */
    V4(192, 0, 0, 0, 24), /* IETF Protocol Assignments, RFC 6890 s2.1 */
    V4(192, 0, 0, 0, 29), /* IPv4 Service Continuity Prefix, RFC 7335 */
    V4(192, 0, 0, 8, 32), /* IPv4 dummy address, RFC 7600 */
    V4(192, 0, 0, 9, 32), /* Port Control Protocol Anycast, RFC 7723 */
    V4(192, 0, 0, 10, 32), /* TURN Anycast, RFC 8155 */
    V4(192, 0, 0, 170, 32), /* NAT64/DNS64 Discovery, RFC 8880, RFC 7050 s2.2 */
    V4(192, 0, 0, 171, 32), /* NAT64/DNS64 Discovery, RFC 8880, RFC 7050 s2.2 */
    V4(192, 0, 2, 0, 24), /* Documentation (TEST-NET-1), RFC 5737 */
    V4(192, 31, 196, 0, 24), /* AS112-v4, RFC 7535 */
    V4(192, 52, 193, 0, 24), /* AMT, RFC 7450 */
    V4(192, 88, 99, 0, 24), /* Deprecated (6to4 Relay Anycast), RFC 7526 */
    V4(192, 88, 99, 2, 32), /* 6a44-relay anycast address, RFC 6751 */
    V4(192, 168, 0, 0, 16), /* Private-Use, RFC 1918 */
    V4(192, 175, 48, 0, 24), /* Direct Delegation AS112 Service, RFC 7534 */
    V4(198, 18, 0, 0, 15), /* Benchmarking, RFC 2544 */
    V4(198, 51, 100, 0, 24), /* Documentation (TEST-NET-2), RFC 5737 */
    V4(203, 0, 113, 0, 24), /* Documentation (TEST-NET-3), RFC 5737 */
    V4(240, 0, 0, 0, 4), /* Reserved, RFC 1112 s4 */
    V4(255, 255, 255, 255, 32), /* Limited Broadcast, RFC 8190, RFC 919 s7 */
    /* IANA IPv6 */
    V6(0, 0, 0, 0, 0, 0, 0, 0x1, 128), /* Loopback Address, RFC 4291 */
    V6(0, 0, 0, 0, 0, 0, 0, 0, 128), /* Unspecified Address, RFC 4291 */
    V6(0, 0, 0, 0, 0, 0xffff, 0, 0, 96), /* IPv4-mapped Address, RFC 4291 */
    V6(0x64, 0xff9b, 0, 0, 0, 0, 0, 0, 96), /* IPv4-IPv6 Translation (NAT64 well-known), RFC 6052 */
    V6(0x64, 0xff9b, 0x1, 0, 0, 0, 0, 0, 48), /* IPv4-IPv6 Translation (local use), RFC 8215 */
    V6(0x100, 0, 0, 0, 0, 0, 0, 0, 64), /* Discard-Only Address Block, RFC 6666 */
    V6(0x100, 0, 0, 0x1, 0, 0, 0, 0, 64), /* Dummy IPv6 Prefix, RFC 9780 */
    V6(0x2001, 0, 0, 0, 0, 0, 0, 0, 23), /* IETF Protocol Assignments, RFC 2928 */
    V6(0x2001, 0, 0, 0, 0, 0, 0, 0, 32), /* TEREDO, RFC 4380, RFC 8190 */
    V6(0x2001, 0x1, 0, 0, 0, 0, 0, 0x1, 128), /* Port Control Protocol Anycast, RFC 7723 */
    V6(0x2001, 0x1, 0, 0, 0, 0, 0, 0x2, 128), /* TURN Anycast, RFC 8155 */
    V6(0x2001, 0x1, 0, 0, 0, 0, 0, 0x3, 128), /* DNS-SD Service Registration Protocol Anycast, RFC 9665 */
    V6(0x2001, 0x2, 0, 0, 0, 0, 0, 0, 48), /* Benchmarking, RFC 5180, RFC Errata 1752 */
    V6(0x2001, 0x3, 0, 0, 0, 0, 0, 0, 32), /* AMT, RFC 7450 */
    V6(0x2001, 0x4, 0x112, 0, 0, 0, 0, 0, 48), /* AS112-v6, RFC 7535 */
    V6(0x2001, 0x10, 0, 0, 0, 0, 0, 0, 28), /* Deprecated (previously ORCHID), RFC 4843 */
    V6(0x2001, 0x20, 0, 0, 0, 0, 0, 0, 28), /* ORCHIDv2, RFC 7343 */
    V6(0x2001, 0x30, 0, 0, 0, 0, 0, 0, 28), /* Drone Remote ID Protocol Entity Tags, RFC 9374 */
    V6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0, 32), /* Documentation, RFC 3849 */
    V6(0x2002, 0, 0, 0, 0, 0, 0, 0, 16), /* 6to4, RFC 3056 */
    V6(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0, 48), /* Direct Delegation AS112 Service, RFC 7534 */
    V6(0x3fff, 0, 0, 0, 0, 0, 0, 0, 20), /* Documentation, RFC 9637 */
    V6(0x5f00, 0, 0, 0, 0, 0, 0, 0, 16), /* Segment Routing (SRv6) SIDs, RFC 9602 */
    V6(0xfc00, 0, 0, 0, 0, 0, 0, 0, 7), /* Unique-Local, RFC 4193, RFC 8190 */
    V6(0xfe80, 0, 0, 0, 0, 0, 0, 0, 10), /* Link-Local Unicast, RFC 4291 */
    /* further blocks */
    V4(224, 0, 0, 0, 4), /* Multicast, RFC 5771 */
    V4(168, 63, 129, 16, 32), /* Azure WireServer (virtual public IP of the host agent), Microsoft documentation */
    V6(0, 0, 0, 0, 0, 0, 0, 0, 96), /* IPv4-compatible IPv6 (deprecated), RFC 4291 s2.5.5.1 */
    V6(0, 0, 0, 0, 0xffff, 0, 0, 0, 96), /* IPv4-translated (SIIT), RFC 2765 / RFC 7915 */
    V6(0xfec0, 0, 0, 0, 0, 0, 0, 0, 10), /* Site-local (deprecated), RFC 3879 */
    V6(0xff00, 0, 0, 0, 0, 0, 0, 0, 8), /* Multicast, RFC 4291 */
    V6(0x3ffe, 0, 0, 0, 0, 0, 0, 0, 16), /* 6bone (returned), RFC 3701 */
};
#undef V4
#undef PAIR
#undef V6
/* clang-format on */

#endif
