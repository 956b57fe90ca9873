/* SPDX-License-Identifier: Apache-2.0 */
/* core/webhook.c - the receiver's side of signatures: finds the three headers, then asks
 * core/sign.h. Pure; any thread. */
#include "core/webhook.h"

#include "base/error.h"

/* The value of a header that stands exactly once; else absent. */
static rbk_str find_once(const rbk_webhook *w, const char *name)
{
    rbk_str found = RBK_STR_NONE;
    for (size_t i = 0; i < w->n_headers; i++) {
        if (!rbk_str_ieqz(w->headers[i].name, name))
            continue;
        if (found.p)
            return RBK_STR_NONE;
        found = w->headers[i].value;
    }
    return found;
}

int rbk_webhook_check(const rbk_sign_keys *keys, const rbk_webhook *w, rbk_error *err)
{
    return rbk_sign_verify(keys,
                           &(rbk_sign_check){
                               .id = find_once(w, "webhook-id"),
                               .timestamp = find_once(w, "webhook-timestamp"),
                               .signature = find_once(w, "webhook-signature"),
                               .body = w->body,
                               .now = w->now / 1000,
                           },
                           err);
}

int rbk_webhook_verify(const rbk_webhook *w, rbk_error *err)
{
    rbk_sign_keys *keys = rbk_sign_keys_new();
    if (keys == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    int r = rbk_sign_keys_read(keys, w->keys,
                               RBK_SIGN_HMAC | RBK_SIGN_ED25519 | RBK_SIGN_TO_VERIFY, err);
    if (r == 0 && rbk_sign_keys_empty(keys))
        r = rbk_fail(err, RBK_E_CONFIG, "there is no key");
    if (r == 0)
        r = rbk_webhook_check(keys, w, err);
    rbk_sign_keys_unref(keys);
    return r;
}
