/* SPDX-License-Identifier: Apache-2.0 */
/* base/id.c - see id.h. One generator belongs to one thread. */
#include "base/id.h"

#include <sys/random.h>

#define RND_MASK ((UINT64_C(1) << 62) - 1)
#define SEQ_MAX ((UINT64_C(1) << 60) - 1)

void rbk_random(void *p, size_t n)
{
    char *at = p;
    while (n) {
        ssize_t r = getrandom(at, n, 0);
        if (r < 0)
            continue; /* EINTR is the only fault of a valid buffer */
        at += r;
        n -= (size_t)r;
    }
}

void rbk_id_gen_init(rbk_id_gen *g, uint64_t last)
{
    g->last = last;
    g->left = 0;
}

rbk_id rbk_id_next(rbk_id_gen *g, rbk_wall_ms now)
{
    uint64_t seq = now > 0 ? (uint64_t)now << 12 : 0;
    if (seq <= g->last)
        seq = g->last + 1;
    if (seq > SEQ_MAX)
        seq = SEQ_MAX;
    g->last = seq;
    if (g->left == 0) {
        rbk_random(g->pool, sizeof g->pool);
        g->left = sizeof g->pool / sizeof g->pool[0];
    }
    return (rbk_id){seq, g->pool[--g->left] & RND_MASK};
}

void rbk_id_format(rbk_id id, char out[RBK_ID_TEXT + 1])
{
    static const char hex[] = "0123456789abcdef";
    uint64_t hi = (id.seq >> 12) << 16 | UINT64_C(0x7000) | (id.seq & 0xfff);
    uint64_t lo = UINT64_C(2) << 62 | id.rnd;
    size_t at = 0;
    for (int i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            out[at++] = '-';
        uint64_t w = i < 16 ? hi : lo;
        out[at++] = hex[w >> (60 - 4 * (i & 15)) & 15];
    }
    out[at] = 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = rbk_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int rbk_id_parse(rbk_str s, rbk_id *ret_id)
{
    if (s.n != RBK_ID_TEXT)
        return RBK_E_INVAL;
    uint64_t w[2] = {0, 0};
    int digits = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (s.p[i] != '-')
                return RBK_E_INVAL;
            continue;
        }
        int v = hex_value(s.p[i]);
        if (v < 0)
            return RBK_E_INVAL;
        w[digits / 16] = w[digits / 16] << 4 | (uint64_t)v;
        digits++;
    }
    if ((w[0] >> 12 & 15) != 7 || w[1] >> 62 != 2)
        return RBK_E_INVAL;
    ret_id->seq = (w[0] >> 16) << 12 | (w[0] & 0xfff);
    ret_id->rnd = w[1] & RND_MASK;
    return 0;
}
