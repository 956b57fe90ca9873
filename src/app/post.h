/* SPDX-License-Identifier: Apache-2.0 */
/* app/post.h - one POST to an http:// or https:// URL, waited for. For `call` and `demo`:
 * the URL is the developer's own, so no policy is asked. Any thread without a loop. */
#ifndef RBK_APP_POST_H
#define RBK_APP_POST_H

#include "base/buf.h"

typedef struct rbk_app_post {
    const char *url;
    const char *socket; /* path of a Unix socket to connect to in place of the URL's host; NULL: none */
    rbk_str body;
    rbk_str head; /* further header lines, each ended by CRLF */
    const char *ca_file; /* trusted besides the system's; NULL: none */
    int64_t timeout_ms;  /* for all of it */
} rbk_app_post;

/* The answer's status, with its body in `ret_body` (up to the buffer's max); or RBK_E_INVAL
 * (the URL), RBK_E_RESOLVE, RBK_E_CONNECT, RBK_E_TLS, RBK_E_TIMEOUT … with `err`. */
int rbk_app_post_run(const rbk_app_post *p, rbk_buf *ret_body, rbk_error *err);

#endif
