/* SPDX-License-Identifier: Apache-2.0 */
/* engine/signer.c - see signer.h. The lock is held only while a reference is taken. */
#include "engine/signer.h"

void rbk_engine_use_keys(rbk_engine *e, rbk_sign_keys *keys)
{
    pthread_mutex_lock(&e->keys_lock);
    rbk_sign_keys *old = e->keys;
    e->keys = keys;
    pthread_mutex_unlock(&e->keys_lock);
    rbk_sign_keys_unref(old);
}

rbk_sign_keys *rbk_engine_keys(rbk_engine *e)
{
    pthread_mutex_lock(&e->keys_lock);
    rbk_sign_keys *keys = e->keys ? rbk_sign_keys_ref(e->keys) : NULL;
    pthread_mutex_unlock(&e->keys_lock);
    return keys;
}

int rbk_signer_add(rbk_engine *e, const rbk_attempt *a, rbk_buf *lines)
{
    rbk_sign_keys *keys = rbk_engine_keys(e);
    rbk_sign_message m = {.id = a->job, .body = a->body, .seconds = a->now / 1000};
    if (keys == NULL)
        return RBK_E_STATE;
    rbk_buf_reserve(lines, 160 + a->headers.n); /* one key of each kind: one allocation */
    rbk_buf_lit(lines, "webhook-signature: ");
    int r = rbk_sign(keys, &m, lines);
    rbk_buf_lit(lines, "\r\n");
    rbk_buf_str(lines, a->headers);
    rbk_sign_keys_unref(keys);
    return r < 0 ? r : rbk_buf_err(lines);
}
