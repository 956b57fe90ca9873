/* SPDX-License-Identifier: Apache-2.0 */
/* engine/callers.c - see callers.h: the table, and what is asked of it.
 *
 * A token is looked up by its SHA-256. The first bits of that say where to compare; then always
 * the same number of hashes is compared, each in constant time and to the end, so that the time
 * tells nothing of what is in the file. (It could tell no more than bits of a hash, and a token
 * is not found from its hash: it holds 256 random bits.) */
#include "engine/callers_impl.h"

#include "base/error.h"
#include "base/id.h"
#include "seam/methods.h"

#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

rbk_callers *rbk_callers_new(void)
{
    rbk_callers *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    atomic_init(&c->refs, 1);
    c->names = rbk_map_new();
    if (c->names)
        return c;
    free(c);
    return NULL;
}

rbk_callers *rbk_callers_ref(rbk_callers *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

static void free_caller(rbk_caller *c)
{
    rbk_sign_keys_unref(c->secrets);
    for (size_t i = 0; i < c->n_methods; i++)
        free(c->methods[i]);
    free(c->methods);
    rbk_hosts_free(&c->hosts);
    if (c->headers.p) {
        char *text = (char *)(uintptr_t)c->headers.p;
        explicit_bzero(text, c->headers.n);
        free(text);
    }
}

void rbk_callers_unref(rbk_callers *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < c->n; i++)
        free_caller(&c->list[i]);
    free(c->list);
    rbk_map_free(c->names);
    free(c->tokens);
    free(c->first);
    free(c);
}

/* --- The index of tokens ------------------------------------------------------------------ */

static int by_hash(const void *a, const void *b)
{
    return memcmp(((const rbk_token_hash *)a)->hash, ((const rbk_token_hash *)b)->hash, 32);
}

static size_t bucket_of(const rbk_callers *c, const uint8_t hash[32])
{
    uint32_t head = (uint32_t)hash[0] << 16 | (uint32_t)hash[1] << 8 | hash[2];
    return head >> (24 - c->bits);
}

static size_t count_tokens(const rbk_callers *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += c->list[i].n_hashes;
    return n;
}

static void collect_tokens(rbk_callers *c)
{
    for (size_t i = 0; i < c->n; i++)
        for (size_t k = 0; k < c->list[i].n_hashes; k++) {
            rbk_token_hash *t = &c->tokens[c->n_tokens++];
            memcpy(t->hash, c->list[i].hash[k], sizeof t->hash);
            t->caller = (uint32_t)i;
        }
    if (c->n_tokens)
        qsort(c->tokens, c->n_tokens, sizeof *c->tokens, by_hash);
}

/* Where each bucket begins, and how many the fullest has. */
static void find_buckets(rbk_callers *c)
{
    size_t n = (size_t)1 << c->bits, at = 0;
    c->span = 1;
    for (size_t b = 0; b < n; b++) {
        size_t from = at;
        c->first[b] = (uint32_t)at;
        while (at < c->n_tokens && bucket_of(c, c->tokens[at].hash) == b)
            at++;
        if (at - from > c->span)
            c->span = at - from;
    }
}

int rbk_callers_index(rbk_callers *c, rbk_error *err)
{
    size_t n = count_tokens(c);
    while ((size_t)1 << c->bits < n)
        c->bits++;
    c->first = calloc((size_t)1 << c->bits, sizeof *c->first);
    c->tokens = calloc(2 * n + 1, sizeof *c->tokens); /* no span is greater than n, or 1 */
    if (c->first == NULL || c->tokens == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    collect_tokens(c);
    for (size_t i = 1; i < n; i++)
        if (by_hash(&c->tokens[i - 1], &c->tokens[i]) == 0)
            return rbk_fail(err, RBK_E_CONFIG, "hash: tokens \"%s\" and \"%s\" have the same one",
                            c->list[c->tokens[i - 1].caller].name, c->list[c->tokens[i].caller].name);
    find_buckets(c);
    return 0;
}

/* --- Asking --------------------------------------------------------------------------------- */

const rbk_caller *rbk_callers_by_token(const rbk_callers *c, rbk_str token)
{
    uint8_t hash[32];
    size_t found = 0;
    SHA256((const unsigned char *)token.p, token.n, hash);
    const rbk_token_hash *t = &c->tokens[c->first[bucket_of(c, hash)]];
    for (size_t i = 0; i < c->span; i++) {
        size_t same = CRYPTO_memcmp(hash, t[i].hash, sizeof hash) == 0;
        found |= (0 - same) & ((size_t)t[i].caller + 1);
    }
    OPENSSL_cleanse(hash, sizeof hash);
    return found ? &c->list[found - 1] : NULL;
}

size_t rbk_callers_count(const rbk_callers *c)
{
    return c->n;
}

const rbk_caller *rbk_callers_at(const rbk_callers *c, size_t i)
{
    return &c->list[i];
}

const rbk_caller *rbk_callers_find(const rbk_callers *c, rbk_str name)
{
    uintptr_t at = (uintptr_t)rbk_map_get(c->names, name);
    return at ? &c->list[at - 1] : NULL;
}

bool rbk_caller_may_call(const rbk_caller *caller, rbk_str method)
{
    if (caller == NULL || caller->n_methods == 0)
        return true;
    for (size_t i = 0; i < caller->n_methods; i++)
        if (rbk_method_fits(caller->methods[i], method))
            return true;
    return false;
}

bool rbk_caller_is_name(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = rbk_lower(s.p[i]);
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (i == 0 || c == 0 || !strchr("._-@", c)))
            return false;
    }
    return s.n > 0 && s.n <= RBK_CALLER_NAME_MAX;
}

void rbk_token_new(char ret_token[RBK_TOKEN_TEXT + 1], char ret_hash[65])
{
    uint8_t random[32], hash[32];
    unsigned char text[45];
    rbk_random(random, sizeof random);
    EVP_EncodeBlock(text, random, sizeof random); /* 43 characters and one "=" */
    memcpy(ret_token, "rbk_", 4);
    for (size_t i = 0; i < 43; i++)
        ret_token[4 + i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : (char)text[i];
    ret_token[RBK_TOKEN_TEXT] = 0;
    SHA256((const unsigned char *)ret_token, RBK_TOKEN_TEXT, hash);
    for (size_t i = 0; i < sizeof hash; i++) {
        ret_hash[2 * i] = "0123456789abcdef"[hash[i] >> 4];
        ret_hash[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    ret_hash[64] = 0;
    OPENSSL_cleanse(random, sizeof random);
    OPENSSL_cleanse(text, sizeof text);
}
