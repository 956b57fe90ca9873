/* SPDX-License-Identifier: Apache-2.0 */
/* core/cidrs.h - lists of address blocks (RFC 4632, RFC 4291 section 2.3). Pure; any thread. */
#ifndef RBK_CORE_CIDRS_H
#define RBK_CORE_CIDRS_H

#include "core/dsn.h"

enum { RBK_CIDRS_MAX = 1024 }; /* of one list */

typedef struct rbk_cidr {
    rbk_host_kind kind; /* IPV4, IPV6 */
    unsigned bits;
    uint8_t addr[16];
} rbk_cidr;

typedef struct rbk_cidrs { /* all zero: empty */
    rbk_cidr *v;
    size_t n;
} rbk_cidrs;

/* "10.0.0.0/8, 2001:db8::/32, 127.0.0.1" into `ret`, which is to be freed in any case. 0;
 * RBK_E_CONFIG with `key` and the item in `err`; RBK_E_NOMEM. */
int rbk_cidrs_read(const char *key, rbk_str list, rbk_cidrs *ret, rbk_error *err);
void rbk_cidrs_free(rbk_cidrs *l);

/* Is the address, of 4 or 16 bytes, in one of the `n` blocks? */
bool rbk_cidrs_have(const rbk_cidr *v, size_t n, rbk_host_kind kind, const uint8_t *addr);

size_t rbk_addr_len(rbk_host_kind kind);
/* ::ffff:a.b.c.d becomes a.b.c.d, and true is returned. */
bool rbk_addr_unmap(rbk_host_kind *kind, const uint8_t **addr);

#endif
