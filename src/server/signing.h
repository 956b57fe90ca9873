/* SPDX-License-Identifier: Apache-2.0 */
/* server/signing.h - where the keys of signatures come from: files that their owner alone
 * can read. A key file is made at the first start. Faults name file and line, never a key.
 * One thread at a time. */
#ifndef RBK_SERVER_SIGNING_H
#define RBK_SERVER_SIGNING_H

#include "base/secret.h"
#include "core/sign.h"
#include "server/options.h"

typedef struct rbk_signing {
    char *key_path;          /* NULL: there is no store to put it beside */
    const char *secret_path; /* the options' */
    uint8_t seed[RBK_SIGN_SEED]; /* of the key that has no file */
} rbk_signing;

/* Find the files; make the key file where there is none. 1 when it was made, else 0;
 * RBK_E_SYS, RBK_E_NOMEM. */
int rbk_signing_open(rbk_signing *g, const rbk_options *o, const char *store_path, rbk_error *err);
/* Read them. 0; RBK_E_CONFIG, RBK_E_NOMEM. */
int rbk_signing_load(const rbk_signing *g, rbk_sign_keys **ret, rbk_error *err);
void rbk_signing_close(rbk_signing *g);

/* Add the keys of one file: 64 KiB at most, no access but its owner's. Errors as above. */
int rbk_signing_read(const char *path, unsigned kinds, rbk_sign_keys *keys, rbk_error *err);

#endif
