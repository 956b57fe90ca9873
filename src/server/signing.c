/* SPDX-License-Identifier: Apache-2.0 */
/* server/signing.c - see signing.h.
 *
 * A new key is written to a file of another name, synced, and linked to its place: no
 * start finds half a key, and of two that make one at the same time both use the first. */
#include "server/signing.h"

#include "base/error.h"
#include "base/id.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

/* --- Reading ----------------------------------------------------------------------------- */

int rbk_signing_read(const char *path, unsigned kinds, rbk_sign_keys *keys, rbk_error *err)
{
    rbk_buf text;
    rbk_error what = {0};
    int r = rbk_secret_read(path, &text, err);
    if (r == 0) {
        r = rbk_sign_keys_read(keys, rbk_buf_view(&text), kinds, &what);
        if (r < 0)
            rbk_fail(err, r, "%s: %s", path, what.detail);
    }
    rbk_secret_free(&text);
    return r;
}

/* --- Making -------------------------------------------------------------------------------- */

static int fail_write(rbk_error *err, const char *path)
{
    return rbk_fail(err, RBK_E_SYS, "%s: cannot make the key file: %s", path, strerror(errno));
}

/* 1: the file is there, and ours; 0: somebody else was quicker. */
static int put_file(const char *path, rbk_str text, rbk_error *err)
{
    char *temp = NULL;
    int r = 1;
    if (asprintf(&temp, "%s.%ld", path, (long)getpid()) < 0)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    unlink(temp); /* of a process that died with this number */
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || !rbk_secret_write(fd, text))
        r = fail_write(err, path);
    else if (link(temp, path) < 0)
        r = errno == EEXIST ? 0 : fail_write(err, path);
    if (fd >= 0) {
        close(fd);
        unlink(temp);
    }
    if (r == 1)
        rbk_secret_sync_folder(path);
    free(temp);
    return r;
}

static int make_key(const char *path, rbk_error *err)
{
    uint8_t seed[RBK_SIGN_SEED];
    rbk_buf text = RBK_BUF(1024);
    rbk_buf_reserve(&text, 1024);
    rbk_buf_lit(&text, "# Signs what ringback delivers. Keep it secret, and keep it.\n");
    rbk_random(seed, sizeof seed);
    int r = rbk_sign_new_key(true, seed, &text);
    r = r < 0 ? rbk_fail(err, r, "%s: cannot make a key", path)
              : put_file(path, rbk_buf_view(&text), err);
    OPENSSL_cleanse(seed, sizeof seed);
    if (text.p)
        OPENSSL_cleanse(text.p, text.cap);
    rbk_buf_free(&text);
    return r;
}

/* --- The server's ------------------------------------------------------------------------------ */

int rbk_signing_open(rbk_signing *g, const rbk_options *o, const char *store_path, rbk_error *err)
{
    g->secret_path = o->secret_file && o->secret_file[0] ? o->secret_file : NULL;
    bool named = o->key_file && o->key_file[0];
    if (!named && store_path == NULL) {
        rbk_random(g->seed, sizeof g->seed);
        return 0;
    }
    if (asprintf(&g->key_path, "%s%s", named ? o->key_file : store_path, named ? "" : ".key") < 0) {
        g->key_path = NULL;
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    }
    return access(g->key_path, F_OK) == 0 ? 0 : make_key(g->key_path, err);
}

static int add_seed(const rbk_signing *g, rbk_sign_keys *keys, rbk_error *err)
{
    rbk_buf text = RBK_BUF(1024);
    int r = rbk_sign_new_key(true, g->seed, &text);
    if (r == 0)
        r = rbk_sign_keys_read(keys, rbk_buf_view(&text), RBK_SIGN_ED25519, err);
    if (text.p)
        OPENSSL_cleanse(text.p, text.cap);
    rbk_buf_free(&text);
    return r;
}

static int add_all(const rbk_signing *g, rbk_sign_keys *keys, rbk_error *err)
{
    int r = g->key_path ? rbk_signing_read(g->key_path, RBK_SIGN_ED25519, keys, err)
                        : add_seed(g, keys, err);
    if (r == 0 && rbk_sign_keys_empty(keys))
        r = rbk_fail(err, RBK_E_CONFIG, "%s: holds no key", g->key_path);
    if (r == 0 && g->secret_path)
        r = rbk_signing_read(g->secret_path, RBK_SIGN_ED25519 | RBK_SIGN_HMAC, keys, err);
    return r;
}

int rbk_signing_load(const rbk_signing *g, rbk_sign_keys **ret, rbk_error *err)
{
    rbk_sign_keys *keys = rbk_sign_keys_new();
    if (keys == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    int r = add_all(g, keys, err);
    if (r < 0) {
        rbk_sign_keys_unref(keys);
        return r;
    }
    *ret = keys;
    return 0;
}

void rbk_signing_close(rbk_signing *g)
{
    OPENSSL_cleanse(g->seed, sizeof g->seed);
    free(g->key_path);
    g->key_path = NULL;
}
