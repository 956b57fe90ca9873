/* SPDX-License-Identifier: Apache-2.0 */
/* core/keys.c - see keys.h. */
#include "core/keys.h"

#include "base/str.h"

#include <openssl/evp.h>

/* --- Hashes ---------------------------------------------------------------------------- */

/* Each text with its length before it, so that none runs into the next; an absent one has a
 * length that no text has. */
static bool add(EVP_MD_CTX *ctx, rbk_str s)
{
    uint8_t head[8];
    uint64_t n = s.p ? s.n : UINT64_MAX;
    for (int i = 0; i < 8; i++)
        head[i] = (uint8_t)(n >> (8 * i));
    return EVP_DigestUpdate(ctx, head, sizeof head) == 1 &&
           (s.n == 0 || EVP_DigestUpdate(ctx, s.p, s.n) == 1);
}

bool rbk_request_print(const rbk_job *job, uint8_t ret[32])
{
    const rbk_str kind = job->flags & RBK_JOB_NOTIFICATION ? RBK_STR("n") : RBK_STR("r");
    unsigned n = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && add(ctx, kind) &&
              add(ctx, job->method) && add(ctx, job->params) && add(ctx, job->callback) &&
              add(ctx, job->failure_callback) && EVP_DigestFinal_ex(ctx, ret, &n) == 1 && n == 32;
    EVP_MD_CTX_free(ctx);
    return ok;
}

bool rbk_key_lane(rbk_str caller, rbk_str key, char ret[RBK_KEY_LANE_MAX + 1])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t hash[32];
    unsigned n = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && add(ctx, caller) &&
              add(ctx, key) && EVP_DigestFinal_ex(ctx, hash, &n) == 1 && n == sizeof hash;
    EVP_MD_CTX_free(ctx);
    memcpy(ret, "key:", 4);
    for (size_t i = 0; ok && i < sizeof hash; i++) {
        ret[4 + 2 * i] = digits[hash[i] >> 4];
        ret[5 + 2 * i] = digits[hash[i] & 15];
    }
    ret[ok ? RBK_KEY_LANE_MAX : 0] = 0;
    return ok;
}

/* --- The header ----------------------------------------------------------------------------- */

/* Inside the quotes: visible ASCII and blanks, `\` before `"` and itself alone. What follows the
 * closing quote may be parameters, which mean nothing here. */
static bool read_quoted(rbk_str v, char *out, size_t *ret_n)
{
    size_t n = 0, i = 1;
    for (; i < v.n && v.p[i] != '"'; i++) {
        if (v.p[i] == '\\' && (++i == v.n || (v.p[i] != '"' && v.p[i] != '\\')))
            return false;
        if (v.p[i] < ' ' || v.p[i] > '~' || n == RBK_SVC_KEY_MAX)
            return false;
        out[n++] = v.p[i];
    }
    if (i == v.n)
        return false;
    rbk_str rest = rbk_str_trim((rbk_str){v.p + i + 1, v.n - i - 1});
    *ret_n = n;
    return n > 0 && (rest.n == 0 || rest.p[0] == ';');
}

static bool read_bare(rbk_str v, char *out, size_t *ret_n)
{
    if (v.n == 0 || v.n > RBK_SVC_KEY_MAX)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] <= ' ' || v.p[i] > '~' || strchr("\",;", v.p[i]))
            return false;
        out[i] = v.p[i];
    }
    *ret_n = v.n;
    return true;
}

int rbk_rpc_idempotency_key(rbk_rpc_doc *doc, rbk_str header)
{
    static const char name[] = "idempotencyKey";
    char key[RBK_SVC_KEY_MAX];
    size_t n = 0;
    rbk_str v = rbk_str_trim(header);
    bool ok = v.n && v.p[0] == '"' ? read_quoted(v, key, &n) : read_bare(v, key, &n);
    for (size_t i = 0; i < doc->n; i++) {
        rbk_rpc_item *it = &doc->items[i];
        rbk_str before = it->svc.idem_key;
        int r = 0;
        if (it->err)
            continue;
        if (!ok)
            r = rbk_rpc_refuse(doc, i, name, "the header Idempotency-Key is not a string of 1 to 255 bytes");
        else if (doc->batch)
            r = rbk_rpc_refuse(doc, i, name, "the header Idempotency-Key does not go with a batch");
        else if (!(it->svc.set & RBK_SVC_BIT(callback)))
            r = rbk_rpc_refuse(doc, i, name, "needs $rpc.callback");
        else if (before.p && !rbk_str_eq(before, (rbk_str){key, n}))
            r = rbk_rpc_refuse(doc, i, name, "differs from the header Idempotency-Key");
        else if (before.p == NULL && (it->svc.idem_key = rbk_rpc_dup(doc, (rbk_str){key, n})).p == NULL)
            r = RBK_E_NOMEM;
        if (r < 0)
            return r;
    }
    return 0;
}
