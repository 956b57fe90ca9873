/* SPDX-License-Identifier: Apache-2.0 */
/* core/dsn.h - the one parser of callback DSNs (RFC 3986, nothing repaired).
 *
 * What this parser found is what the client connects to; nothing parses the text
 * again. Pure; any thread. The parts point into the text that was parsed, except
 * `host_lower`, which holds the name as it is compared, resolved and verified. */
#ifndef RBK_CORE_DSN_H
#define RBK_CORE_DSN_H

#include "base/str.h"

enum { RBK_DSN_MAX = 2048, RBK_HOST_MAX = 253 };

typedef enum rbk_host_kind { RBK_HOST_NAME, RBK_HOST_IPV4, RBK_HOST_IPV6 } rbk_host_kind;

typedef enum rbk_dsn_fault {
    RBK_DSN_OK,
    RBK_DSN_EMPTY,       /* must be a non-empty string */
    RBK_DSN_TOO_LONG,    /* too long */
    RBK_DSN_INVALID,     /* invalid URL */
    RBK_DSN_NO_PROTOCOL, /* must have a protocol */
    RBK_DSN_PROTOCOL,    /* invalid protocol: … */
    RBK_DSN_USERINFO,    /* user info not allowed */
    RBK_DSN_PORT,        /* port not allowed */
    RBK_DSN_HOST,        /* host not allowed */
    RBK_DSN_ADDRESS,     /* address not allowed */
    RBK_DSN_NO_ADDRESS,  /* host has no allowed address */
    RBK_DSN_SOCKET       /* not on a websocket: "ws:" in a request that came otherwise */
} rbk_dsn_fault;

typedef struct rbk_dsn {
    rbk_str text;   /* the whole, as given */
    rbk_str scheme; /* lower-cased copy in `scheme_lower` */
    rbk_str host;   /* as given, without the brackets of an IPv6 literal */
    rbk_str target; /* path and query for the request line; "/" when the path is empty
                       and there is no query. For "https://h?q" it lives in no text:
                       `target_slash` says that a "/" goes in front of it */
    bool target_slash;
    uint16_t port; /* explicit, or the scheme's default: 443 for https and wss, else 0 */
    rbk_host_kind kind;
    uint8_t addr[16];                    /* the address of a literal: 4 or 16 bytes */
    char scheme_lower[16];               /* NUL-terminated */
    char host_lower[RBK_HOST_MAX + 1];   /* lower-cased, trailing dot removed; for a
                                            literal its canonical text, no brackets */
    char receiver[16 + RBK_HOST_MAX + 12]; /* "https://host:port", the receiver's name */
} rbk_dsn;

/* The scheme-independent half of the checks of a callback: size, characters, "has
 * a scheme", and - for the schemes of `schemes` (comma-separated, lower case:
 * "https,wss") - the grammar. RBK_DSN_OK, or the first fault in the documented
 * order; `ret` is complete only when OK. */
rbk_dsn_fault rbk_dsn_parse(rbk_str text, rbk_str schemes, rbk_dsn *ret);

/* The reason that the caller is given, NUL-terminated into `out`. `text` and
 * `schemes` as they went into the parser (the protocol's reason names them). */
void rbk_dsn_reason(rbk_dsn_fault fault, rbk_str text, rbk_str schemes, char out[160]);

/* Which check a fault belongs to, as an operator would look it up. Static text. */
const char *rbk_dsn_check(rbk_dsn_fault fault);

/* The next item of a comma-separated list, without blanks around it, taken off `list`.
 * False at the end; a comma at the very end begins no item. */
bool rbk_list_next(rbk_str *list, rbk_str *ret_item);

/* Canonical dotted quad only: four decimal numbers without leading zeros. */
int rbk_parse_ipv4(rbk_str s, uint8_t ret_addr[4]);
/* RFC 4291 text form, without brackets or zone. */
int rbk_parse_ipv6(rbk_str s, uint8_t ret_addr[16]);
/* RFC 5952 text (or dotted quad for `kind` IPv4), NUL-terminated. */
void rbk_format_addr(rbk_host_kind kind, const uint8_t *addr, char out[46]);

#endif
