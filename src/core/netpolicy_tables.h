/* SPDX-License-Identifier: Apache-2.0 */
/* core/netpolicy_tables.h - data of the name and port rules; for netpolicy.c. The address
 * blocks are in netpolicy_blocks.h.
 *
 * Ports: the "bad ports" of the WHATWG Fetch standard (82 without port 0).
 *   https://fetch.spec.whatwg.org/#port-blocking
 * A test compares ports and names with the lists in tests/data. */
#ifndef RBK_CORE_NETPOLICY_TABLES_H
#define RBK_CORE_NETPOLICY_TABLES_H

#include "core/netpolicy_blocks.h"

/* clang-format off */
static const uint16_t bad_ports[] = {
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465,
    512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
    995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
    6669, 6679, 6697, 10080,
};

/* Names that stand for this machine, its network or its cloud's control plane, and all
 * names under them (RFC 6761, 6762 appendix G, 7686, 8375, 9476; ".internal" by ICANN). */
static const char *const special_names[] = {
    "localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home",
    "lan", "arpa", "onion", "alt",
    /* metadata services */
    "metadata.google.internal", "metadata.goog", "metadata.amazonaws.com",
    "metadata.tencentyun.com", "metadata.packet.net", "metadata.platformequinix.com",
};
/* clang-format on */

#endif
