/* SPDX-License-Identifier: Apache-2.0 */
/* front/listeners.c - see listeners.h. */
#include "front/listeners.h"

#include <netinet/in.h>
#include <stdio.h>

static void note_address(const rbk_listening *l, rbk_own_listener *ret)
{
    const struct sockaddr_in *v4 = (const void *)&l->addr;
    const struct sockaddr_in6 *v6 = (const void *)&l->addr;
    *ret = (rbk_own_listener){.port = l->port};
    ret->kind = l->addr.ss_family == AF_INET6 ? RBK_HOST_IPV6 : RBK_HOST_IPV4;
    if (ret->kind == RBK_HOST_IPV6)
        memcpy(ret->addr, &v6->sin6_addr, 16);
    else
        memcpy(ret->addr, &v4->sin_addr, 4);
}

int rbk_listeners_open(rbk_listeners *ls, const char *key, rbk_str list,
                       const rbk_listen_conf *conf, rbk_error *err)
{
    rbk_str text;
    rbk_error what = {0};
    while (list.n && rbk_list_next(&list, &text)) {
        int n = rbk_listen(text, conf, ls->v + ls->n, RBK_LISTENERS_MAX - ls->n, &what);
        if (n < 0)
            return rbk_fail(err, n, "%s: %s", key, what.detail);
        for (; n > 0; n--, ls->n++)
            if (!ls->v[ls->n].local)
                note_address(&ls->v[ls->n], &ls->own[ls->n]);
    }
    return 0;
}

size_t rbk_listeners_own(const rbk_listeners *ls, rbk_own_listener *ret, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < ls->n && n < max; i++)
        if (!ls->v[i].local)
            ret[n++] = ls->own[i];
    return n;
}

void rbk_listener_text(const rbk_listeners *ls, size_t i, char out[RBK_LISTENER_TEXT])
{
    if (ls->v[i].local)
        snprintf(out, RBK_LISTENER_TEXT, "unix:%s", ls->v[i].path);
    else
        rbk_format_addr(ls->own[i].kind, ls->own[i].addr, out);
}

bool rbk_listener_is_loopback(const rbk_listeners *ls, size_t i)
{
    static const uint8_t one[16] = {[15] = 1};
    const rbk_own_listener *own = &ls->own[i];
    if (ls->v[i].local)
        return true;
    return own->kind == RBK_HOST_IPV4 ? own->addr[0] == 127 : memcmp(own->addr, one, 16) == 0;
}

void rbk_listeners_unlink(rbk_listeners *ls)
{
    for (size_t i = 0; i < ls->n; i++)
        rbk_listen_unlink(&ls->v[i]);
}

void rbk_listeners_close(rbk_listeners *ls)
{
    while (ls->n > 0)
        rbk_listen_close(&ls->v[--ls->n]);
}
