/* SPDX-License-Identifier: Apache-2.0 */
/* server/tls_side.c - see tls_side.h. */
#include "server/tls_side.h"

#include "base/error.h"

int rbk_tls_side_new(const rbk_options *o, rbk_tls **ret, rbk_error *err)
{
    rbk_tls_server_conf conf = {.cert_file = o->tls_cert, .key_file = o->tls_key,
                                .client_ca = o->tls_client_ca[0] ? o->tls_client_ca : NULL};
    rbk_error what = {0};
    *ret = NULL;
    if (o->tls_cert[0] == 0)
        return 0;
    int r = rbk_tls_server_new(&conf, ret, &what);
    return r < 0 ? rbk_fail(err, r, "TLS of server.listen: %s", what.detail) : 0;
}

int rbk_tls_side_reload(const rbk_options *o, const rbk_tls *running, rbk_tls **ret, rbk_error *err)
{
    if ((running == NULL) != (o->tls_cert[0] == 0))
        return rbk_fail(err, RBK_E_CONFIG,
                        "server.tls_cert: TLS is switched on and off only by a new start");
    return rbk_tls_side_new(o, ret, err);
}

void rbk_tls_side_log(rbk_tls *t, const rbk_options *o, const rbk_log *log)
{
    rbk_wall_ms from = 0, until = 0, now = rbk_wall_now();
    char first[25], last[25];
    if (t == NULL)
        return;
    rbk_tls_server_validity(t, &from, &until);
    rbk_wall_format(from, first);
    rbk_wall_format(until, last);
    if (now < from || now > until)
        rbk_event(log, RBK_WARN, "tls.certificate_invalid", RBK_FZ("file", o->tls_cert),
                  RBK_FZ("from", first), RBK_FZ("until", last));
    else
        rbk_event(log, RBK_INFO, "tls.certificate", RBK_FZ("file", o->tls_cert),
                  RBK_FZ("until", last), RBK_FZ("clients", o->tls_client_ca[0] ? "yes" : "no"));
}
