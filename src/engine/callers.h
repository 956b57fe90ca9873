/* SPDX-License-Identifier: Apache-2.0 */
/* engine/callers.h - who may call, what each may do, and how its callbacks are signed.
 *
 * Read whole from the text of `auth.tokens_file` (engine/callers_read.c) and never changed: any
 * number of threads may ask, each with a reference, and a new table takes the place of an old one.
 * Tokens are known by their SHA-256 alone. Secrets are wiped with the table. */
#ifndef RBK_ENGINE_CALLERS_H
#define RBK_ENGINE_CALLERS_H

#include "core/bucket.h"
#include "core/hosts.h"
#include "core/sign.h"

enum {
    RBK_CALLERS_MAX = 10000,
    RBK_CALLERS_FILE_MAX = 4 << 20, /* bytes of the text */
    RBK_CALLER_NAME_MAX = 64,
    RBK_CALLER_SLOTS = 2, /* tokens of a caller, and secrets: the second is for a change */
    RBK_CALLER_GLOBS_MAX = 256,
    RBK_CALLER_HEADERS_MAX = 16,
    RBK_CALLER_HEADERS_BYTES = 4096,
    RBK_TOKEN_TEXT = 47 /* "rbk_" and 32 random bytes in base64url */
};

typedef struct rbk_callers rbk_callers;

/* One [token "name"]; valid as long as a reference to its table. */
typedef struct rbk_caller {
    char name[RBK_CALLER_NAME_MAX + 1];
    uint8_t hash[RBK_CALLER_SLOTS][32];
    size_t n_hashes;
    rbk_sign_keys *secrets; /* NULL: its callbacks have the server's ed25519 signatures alone */
    char **methods;         /* globs; none: every method */
    size_t n_methods;
    rbk_hosts hosts;      /* that its callbacks may go to, besides what callback.hosts asks */
    rbk_str headers;      /* lines for its receivers, "Name: value\r\n" each; or absent */
    rbk_rate rate;        /* requests */
    int64_t max_pending, max_pending_bytes; /* unfinished jobs at one time; 0: no bound */
} rbk_caller;

/* 0; RBK_E_CONFIG with "FILE:LINE: key: what" in err->detail, never a secret; RBK_E_NOMEM. */
int rbk_callers_read(const char *path, rbk_str text, rbk_callers **ret, rbk_error *err);
rbk_callers *rbk_callers_ref(rbk_callers *c);
void rbk_callers_unref(rbk_callers *c); /* NULL is legal */

size_t rbk_callers_count(const rbk_callers *c);
/* In the order of the file. */
const rbk_caller *rbk_callers_at(const rbk_callers *c, size_t i);
/* By its name; NULL: there is none. */
const rbk_caller *rbk_callers_find(const rbk_callers *c, rbk_str name);
/* Whose token is it? NULL: nobody's. The same work whether it is somebody's or not. */
const rbk_caller *rbk_callers_by_token(const rbk_callers *c, rbk_str token);

/* `caller` NULL: everybody may. Methods of the server itself ("rpc.") are not asked about here. */
bool rbk_caller_may_call(const rbk_caller *caller, rbk_str method);

/* 1 to 64 of letters, digits, and . _ - @, the first of them a letter or digit. */
bool rbk_caller_is_name(rbk_str name);

/* A new token, NUL-terminated, and the hash that the file has of it, in hex. */
void rbk_token_new(char ret_token[RBK_TOKEN_TEXT + 1], char ret_hash[65]);

#endif
