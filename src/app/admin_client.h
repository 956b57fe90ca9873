/* SPDX-License-Identifier: Apache-2.0 */
/* app/admin_client.h - questions to the operators' side of a server, for the commands. */
#ifndef RBK_APP_ADMIN_CLIENT_H
#define RBK_APP_ADMIN_CLIENT_H

#include "app/app.h"
#include "base/buf.h"

#include <yyjson.h>

#define RBK_ADMIN_FLAGS {"admin", 0, true}, {"token-file", 0, true}, {"json", 0, false}
enum { RBK_ADMIN_URL, RBK_ADMIN_TOKEN, RBK_ADMIN_JSON, RBK_ADMIN_FLAGS_N };

typedef struct rbk_admin_client {
    const char *url; /* or "unix:/path"; NULL: RINGBACK_ADMIN, else http://127.0.0.1:7601 */
    const char *token_file;
    bool json; /* print what comes */
} rbk_admin_client;

/* One of the flags above. */
void rbk_admin_client_flag(rbk_admin_client *c, int flag, const char *value);
/* Ask, with `params` as JSON text. The document, whose "result" goes to *ret_result; or NULL
 * when a fault was told to stderr, with the exit code in *ret_code. */
yyjson_doc *rbk_admin_ask(const rbk_admin_client *c, const char *method, rbk_str params,
                          yyjson_val **ret_result, int *ret_code);

/* --- Output --- */

enum { RBK_COLUMNS_MAX = 8 };
/* Rows of cells, printed with aligned columns: the last one is as wide as it is. */
typedef struct rbk_columns {
    size_t n, rows;
    rbk_buf cells; /* each NUL-terminated */
} rbk_columns;

void rbk_columns_add(rbk_columns *t, const char *cell); /* NULL is "-"; control bytes are shown */
void rbk_columns_print(rbk_columns *t);                 /* and frees */
/* A value as one line of JSON. */
void rbk_print_json(yyjson_val *v);

/* "Authorization: Bearer …" and its line end, from a file whose one line is the token; nothing for
 * NULL. 0, or negative with the file in `err`. */
int rbk_app_token_head(const char *file, rbk_buf *b, rbk_error *err);

#endif
