/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_response.c - bytes of a receiver into the reader of answers.
 *
 * The first byte picks what is asked for (a body, the headers beside it, an upgrade, a request that
 * is still being written), the second how the rest is cut. Beyond the sanitizers: the verdict and
 * the body do not depend on the cuts, and no more is kept than the limits allow. */
#include <stdint.h>
#include <stdlib.h>

#include "net/http_response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { WANTS_BODY = 1, WANTS_EXTRA = 2, WANTS_UPGRADE = 4, REQUEST_OPEN = 8 };

typedef struct outcome {
    int status;
    bool head_done, done, clean;
    rbk_buf body;
} outcome;

static void require(bool ok)
{
    if (!ok)
        abort();
}

static int feed_copy(rbk_response *r, const uint8_t *p, size_t n)
{
    char *copy = malloc(n);
    require(copy != NULL);
    memcpy(copy, p, n);
    int e = rbk_response_feed(r, copy, n);
    free(copy);
    return e;
}

static void check_bounds(const rbk_response *r)
{
    require(r->n_interim <= RBK_RESPONSE_INTERIM_MAX + 1);
    /* One more than the room says that the value was too long. */
    require(r->retry_after_n <= RBK_RESPONSE_FIELD_MAX + 1);
    require(r->encoding_n <= RBK_RESPONSE_FIELD_MAX + 1);
    require(!r->head_done || (r->status >= 100 && r->status <= 599));
    require(!r->clean || (r->done && r->fault == NULL));
    if (r->extra)
        require(rbk_response_location(r).n <= sizeof r->extra->location);
    rbk_response_retry_after(r);
    if (r->extra)
        rbk_response_keep_alive_ms(r);
}

static outcome run(const uint8_t *p, size_t n, unsigned wants, size_t step)
{
    rbk_response r;
    rbk_response_extra extra = {0};
    rbk_response_upgrade upgrade = {0};
    outcome o = {.body = RBK_BUF(1 << 20)};
    bool more = false;
    rbk_response_init(&r);
    r.body = wants & WANTS_BODY ? &o.body : NULL;
    r.extra = wants & WANTS_EXTRA ? &extra : NULL;
    r.upgrade = wants & WANTS_UPGRADE ? &upgrade : NULL;
    r.request_open = wants & REQUEST_OPEN;
    for (size_t at = 0; at < n && !more; at += step) {
        more = r.done; /* bytes that nobody asked for */
        if (!more && feed_copy(&r, p + at, step < n - at ? step : n - at) < 0)
            break;
        check_bounds(&r);
    }
    if (!r.done && r.fault == NULL)
        rbk_response_end(&r);
    check_bounds(&r);
    o.head_done = r.head_done;
    o.status = r.head_done ? r.status : 0;
    o.done = r.done;
    o.clean = r.clean && (!more || r.status == 101); /* what follows a 101 is another protocol's */
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3)
        return 0;
    outcome whole = run(data + 2, n - 2, data[0], n - 2);
    for (int i = 0; i < 2; i++) {
        outcome cut = run(data + 2, n - 2, data[0], i ? 1 : 1 + data[1] % 31);
        require(cut.head_done == whole.head_done && cut.status == whole.status);
        require(cut.done == whole.done && cut.clean == whole.clean);
        require(rbk_str_eq(rbk_buf_view(&cut.body), rbk_buf_view(&whole.body)));
        rbk_buf_free(&cut.body);
    }
    rbk_buf_free(&whole.body);
    return 0;
}
