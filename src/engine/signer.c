/* SPDX-License-Identifier: Apache-2.0 */
/* engine/signer.c - see signer.h. The lock is held only while a reference is taken. */
#include "engine/signer.h"

#include "base/clock.h"
#include "base/id.h"

#include <stdlib.h>

enum { ONE_KEY = 160, SIGNATURES_MAX = 8 << 10 };

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

static int sign(rbk_engine *e, const rbk_sign_message *m, rbk_buf *out)
{
    rbk_sign_keys *keys = rbk_engine_keys(e);
    int r = keys ? rbk_sign(keys, m, out) : RBK_E_STATE;
    rbk_sign_keys_unref(keys);
    return r < 0 ? r : rbk_buf_err(out);
}

void rbk_signer_ahead(rbk_engine *e, rbk_ticket *t)
{
    char id[RBK_ID_TEXT + 1];
    const rbk_job *job = t->job;
    rbk_buf text = RBK_BUF(SIGNATURES_MAX);
    rbk_wall_ms now = rbk_wall_now();
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, id);
    rbk_sign_message m = {
        .id = {id, RBK_ID_TEXT}, .body = job->response, .seconds = now / 1000};
    rbk_buf_reserve(&text, ONE_KEY);
    int r = sign(e, &m, &text);
    rbk_buf_c(&text, 0);
    if (r < 0 || rbk_buf_err(&text) < 0) {
        rbk_buf_free(&text);
        return;
    }
    free(t->signature);
    t->signature = text.p;
    t->signed_at = now;
}

static bool is_fresh(const rbk_ticket *t, rbk_wall_ms now)
{
    return t->signature && now >= t->signed_at && now - t->signed_at <= RBK_SIGNED_AHEAD_MS;
}

int rbk_signer_add(rbk_engine *e, rbk_ticket *t, rbk_attempt *a, rbk_buf *lines)
{
    int r = 0;
    rbk_buf_reserve(lines, ONE_KEY + a->headers.n); /* most often the only allocation */
    rbk_buf_lit(lines, "webhook-signature: ");
    if (is_fresh(t, a->now)) {
        a->now = t->signed_at;
        rbk_buf_str(lines, rbk_str_z(t->signature));
    } else {
        r = sign(e, &(rbk_sign_message){.id = a->job, .body = a->body, .seconds = a->now / 1000},
                 lines);
    }
    free(t->signature); /* each attempt has a signature of its own */
    t->signature = NULL;
    rbk_buf_lit(lines, "\r\n");
    rbk_buf_str(lines, a->headers);
    return r < 0 ? r : rbk_buf_err(lines);
}
