/* SPDX-License-Identifier: Apache-2.0 */
/* core/ws_session.c - see ws_session.h. */
#include "core/ws_session.h"

#include <openssl/evp.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum { HASH = 32 };
_Static_assert((int)HASH == (int)RBK_SESSION_RANDOM, "one text for both");

/* Base64url without padding, of 32 bytes. */
static void write_text(const uint8_t p[HASH], char out[RBK_SESSION_TOKEN + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < HASH; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        v |= i + 1 < HASH ? (uint32_t)p[i + 1] << 8 : 0;
        v |= i + 2 < HASH ? p[i + 2] : 0;
        for (int shift = 18; shift >= 0 && n < RBK_SESSION_TOKEN; shift -= 6)
            out[n++] = letters[v >> shift & 63];
    }
    out[n] = 0;
}

void rbk_session_token(const uint8_t random[RBK_SESSION_RANDOM], char out[RBK_SESSION_TOKEN + 1])
{
    write_text(random, out);
}

/* The last letter holds four bits: two of its six are nothing's. */
bool rbk_session_is_token(rbk_str text)
{
    size_t at = 0;
    if (text.n != RBK_SESSION_TOKEN)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        const char *found = text.p[i] ? strchr(letters, text.p[i]) : NULL;
        if (found == NULL)
            return false;
        at = (size_t)(found - letters);
    }
    return at % 4 == 0;
}

/* The name's length goes first, so that no other name and token make the same bytes. */
bool rbk_session_name(rbk_str caller, rbk_str token, char out[RBK_SESSION_NAME + 1])
{
    uint8_t hash[EVP_MAX_MD_SIZE], n[4];
    char text[RBK_SESSION_TOKEN + 1];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    for (int i = 0; i < 4; i++)
        n[i] = (uint8_t)(caller.n >> 8 * i);
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(ctx, n, sizeof n) == 1 &&
              EVP_DigestUpdate(ctx, caller.n ? caller.p : "", caller.n) == 1 &&
              EVP_DigestUpdate(ctx, token.p, token.n) == 1 &&
              EVP_DigestFinal_ex(ctx, hash, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        return false;
    write_text(hash, text);
    memcpy(out, "ws:", 3);
    memcpy(out + 3, text, sizeof text);
    return true;
}

bool rbk_session_is_asked(rbk_str callback)
{
    return rbk_str_eqz(callback, "ws:");
}

bool rbk_session_is_name(rbk_str callback)
{
    return callback.n == RBK_SESSION_NAME && rbk_str_starts(callback, RBK_STR("ws:"));
}

bool rbk_session_is_lane(rbk_str lane)
{
    return rbk_str_starts(lane, RBK_STR("send:ws:"));
}

void rbk_session_write(rbk_buf *b, rbk_str response, rbk_str job, uint32_t attempt)
{
    rbk_buf_reserve(b, response.n + job.n + 64);
    if (response.n < 2 || response.p[response.n - 1] != '}') {
        rbk_buf_str(b, response); /* no object of ours ends so */
        return;
    }
    rbk_buf_str(b, (rbk_str){response.p, response.n - 1});
    rbk_buf_lit(b, ",\"ringback\":{\"job\":\"");
    rbk_buf_str(b, job);
    rbk_buf_addf(b, "\",\"attempt\":%u}}", (unsigned)attempt);
}
