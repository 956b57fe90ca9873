/* SPDX-License-Identifier: Apache-2.0 */
/* net/http.h - what HTTP server and client share: names of statuses, header lists. */
#ifndef RBK_NET_HTTP_H
#define RBK_NET_HTTP_H

#include "base/buf.h"

typedef struct rbk_http_header {
    rbk_str name, value; /* value without blanks around it */
} rbk_http_header;

const char *rbk_http_reason(int status); /* "OK", "Payload Too Large" … */
/* The first header of that name (ASCII case ignored), or an absent string. */
rbk_str rbk_http_find(const rbk_http_header *h, size_t n, const char *name);
/* Is the value of Content-Type a JSON-RPC body's: application/json or application/json-rpc,
 * whatever its parameters? */
bool rbk_http_is_json(rbk_str content_type);
/* "Mon, 23 Nov 2026 21:04:05 GMT" (RFC 9110 section 5.6.7), NUL-terminated. */
void rbk_http_date(rbk_wall_ms now, char out[30]);

#endif
