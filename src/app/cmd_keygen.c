/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_keygen.c - `ringback keygen`: a new key of signatures, on standard output and
 * nowhere else. */
#include "app/app.h"

#include "base/error.h"
#include "base/id.h"
#include "core/sign.h"

#include <openssl/crypto.h>

static int print_key(bool ed25519)
{
    char room[256];
    uint8_t seed[RBK_SIGN_SEED];
    rbk_buf b = {.p = room, .cap = sizeof room, .max = sizeof room};
    rbk_random(seed, sizeof seed);
    int r = rbk_sign_new_key(ed25519, seed, &b);
    if (r == 0)
        rbk_print(rbk_buf_view(&b));
    OPENSSL_cleanse(seed, sizeof seed);
    OPENSSL_cleanse(room, sizeof room);
    return r == 0 ? RBK_EXIT_OK : rbk_failed(r, rbk_strerror(r));
}

int rbk_cmd_keygen(int argc, char **argv)
{
    static const rbk_flag flags[] = {{"ed25519", 0, false}, {NULL, 0, false}};
    enum { ED25519 };
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    bool ed25519 = false;
    for (int i; (i = rbk_args_next(&a)) != RBK_ARG_END;) {
        if (i == RBK_ARG_BAD)
            return RBK_EXIT_USAGE;
        if (i == RBK_ARG_WORD)
            return rbk_usage("'%s' is too much: keygen takes options only", a.value);
        ed25519 = ed25519 || i == ED25519;
    }
    return print_key(ed25519);
}
