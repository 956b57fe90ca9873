/* SPDX-License-Identifier: Apache-2.0 */
/* engine/signer.c - see signer.h. The lock is held only while a reference is taken. */
#include "engine/signer.h"

#include "base/clock.h"
#include "base/id.h"
#include "core/header.h"
#include "core/ws_session.h"

#include <stdlib.h>

enum { ONE_KEY = 160, SIGNATURES_MAX = 8 << 10 };

/* Whose job it is that is signed. */
typedef struct owner {
    rbk_str name;             /* empty: nobody's */
    const rbk_caller *caller; /* NULL: tokens are not in use */
} owner;

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

/* HMAC keys of the server are for jobs that are nobody's: who has one could pass off a caller's
 * callback as another's. A caller has secrets of its own, or none. */
static int sign(rbk_engine *e, owner who, const rbk_sign_message *m, rbk_buf *out)
{
    rbk_sign_keys *keys = rbk_engine_keys(e);
    unsigned kinds = who.name.n ? RBK_SIGN_ED25519 : RBK_SIGN_ED25519 | RBK_SIGN_HMAC;
    int r = keys ? rbk_sign_by(keys, kinds, m, out) : RBK_E_STATE;
    rbk_sign_keys_unref(keys);
    if (r == 0 && who.caller && who.caller->secrets) {
        rbk_buf_c(out, ' ');
        r = rbk_sign(who.caller->secrets, m, out);
    }
    return r < 0 ? r : rbk_buf_err(out);
}

static int sign_as_known(rbk_engine *e, const rbk_job *job, const rbk_sign_message *m, rbk_buf *out)
{
    rbk_callers *callers = rbk_engine_callers(e);
    owner who = {.name = job->caller};
    who.caller = callers && job->caller.n ? rbk_callers_find(callers, job->caller) : NULL;
    bool gone = callers && job->caller.n && who.caller == NULL;
    int r = gone ? RBK_E_UNAUTHORIZED : sign(e, who, m, out);
    rbk_callers_unref(callers);
    return r;
}

void rbk_signer_ahead(rbk_engine *e, rbk_ticket *t)
{
    char id[RBK_ID_TEXT + 1];
    const rbk_job *job = t->job;
    if (rbk_session_is_lane(job->lane))
        return; /* nothing is signed on a client's own websocket */
    rbk_buf text = RBK_BUF(SIGNATURES_MAX);
    rbk_wall_ms now = rbk_wall_now();
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, id);
    rbk_sign_message m = {
        .id = {id, RBK_ID_TEXT}, .body = job->response, .seconds = now / 1000};
    rbk_buf_reserve(&text, ONE_KEY);
    int r = sign_as_known(e, job, &m, &text);
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

/* Lines of the request's headers, but for those that the caller's own take the place of. */
static void add_forwarded(rbk_buf *b, rbk_str lines, rbk_str own)
{
    while (lines.n) {
        const char *end = memchr(lines.p, '\n', lines.n), *colon = memchr(lines.p, ':', lines.n);
        size_t n = end ? (size_t)(end - lines.p) + 1 : lines.n;
        rbk_str name = {lines.p, colon ? (size_t)(colon - lines.p) : 0};
        if (!rbk_header_line(own, name))
            rbk_buf_str(b, (rbk_str){lines.p, n});
        lines = (rbk_str){lines.p + n, lines.n - n};
    }
}

int rbk_signer_add(rbk_engine *e, rbk_ticket *t, const rbk_caller *caller, rbk_attempt *a,
                   rbk_buf *lines)
{
    rbk_str own = caller ? caller->headers : RBK_STR_NONE;
    int r = 0;
    rbk_buf_reserve(lines, ONE_KEY + a->headers.n + own.n); /* most often the only allocation */
    rbk_buf_lit(lines, "webhook-signature: ");
    if (is_fresh(t, a->now)) {
        a->now = t->signed_at;
        rbk_buf_str(lines, rbk_str_z(t->signature));
    } else {
        r = sign(e, (owner){t->job->caller, caller}, &(rbk_sign_message){.id = a->job, .body = a->body,
                                                  .seconds = a->now / 1000}, lines);
    }
    free(t->signature); /* each attempt has a signature of its own */
    t->signature = NULL;
    rbk_buf_lit(lines, "\r\n");
    if (own.n)
        add_forwarded(lines, a->headers, own);
    else
        rbk_buf_str(lines, a->headers);
    rbk_buf_str(lines, own);
    return r < 0 ? r : rbk_buf_err(lines);
}
