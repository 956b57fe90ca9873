/* SPDX-License-Identifier: Apache-2.0 */
/* method/upstream_health.c - what the operator is told of an upstream: once that it is not
 * reached, once that it is back, and of answers that are faults one line a second. A single
 * refusal beside calls that succeed (a full backlog) is no news. Loop thread. */
#include "method/upstream_impl.h"

#include "base/error.h"

enum { NEWS_MS = 1000 };

void rbk_upstream_lost(rbk_upstream *u, int err, int status, const char *detail)
{
    rbk_mono_ms now = rbk_loop_now(u->loop);
    if (u->down || (u->up_at && now - u->up_at < NEWS_MS))
        return;
    u->down = true;
    rbk_event(u->log, RBK_ERROR, "upstream.unreachable", RBK_FZ("upstream", u->receiver),
              RBK_F("status", status), RBK_FZ("error", err ? rbk_err_name(err) : ""),
              RBK_FZ("detail", detail));
}

void rbk_upstream_found(rbk_upstream *u)
{
    u->up_at = rbk_loop_now(u->loop);
    if (!u->down)
        return;
    u->down = false;
    rbk_event(u->log, RBK_INFO, "upstream.back", RBK_FZ("upstream", u->receiver));
}

static void tell(rbk_upstream *u, const rbk_call *call, int status, const char *why, rbk_str host)
{
    rbk_event(u->log, RBK_WARN, "upstream.fault", RBK_FZ("upstream", u->receiver),
              RBK_FS("method", rbk_call_method(call)), RBK_FZ("job", rbk_call_job(call) ? rbk_call_job(call) : ""),
              RBK_F("status", status), RBK_FZ("why", why), RBK_FS("host", host),
              RBK_F("more", u->untold));
}

void rbk_upstream_fault(rbk_upstream *u, const rbk_call *call, int status, const char *why)
{
    rbk_mono_ms now = rbk_loop_now(u->loop);
    if (u->told_at && now - u->told_at < NEWS_MS) {
        u->untold++;
        return;
    }
    tell(u, call, status, why, RBK_STR(""));
    u->told_at = now;
    u->untold = 0;
}

/* Somebody's configuration is wrong, and stays so: the first one says it all. */
void rbk_upstream_redirect(rbk_upstream *u, const rbk_call *call, int status, rbk_str host)
{
    if (!u->redirected)
        tell(u, call, status, "a redirect, which is not followed", host);
    u->redirected = true;
}
