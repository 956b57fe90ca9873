/* SPDX-License-Identifier: Apache-2.0 */
/* server/options_impl.h - shared by the options*.c files; not for anybody else.
 *
 * The table (options_table.c) says what each option is; options_value.c turns text into
 * values and back; options_check.c holds the checks of texts with a grammar of their
 * own. Everything else goes through these three. One thread. */
#ifndef RBK_SERVER_OPTIONS_IMPL_H
#define RBK_SERVER_OPTIONS_IMPL_H

#include "base/error.h"
#include "server/options.h"

enum {
    RBK_OPTION_TEXT_MAX = 4000,  /* bytes of a value */
    RBK_OPTION_RULES_MAX = 1000, /* [method "…"] sections */
    RBK_OPTION_PATTERN_MAX = 255
};

typedef enum rbk_option_kind {
    RBK_OPT_TEXT,  /* char * */
    RBK_OPT_INT,   /* int64_t: 1000 */
    RBK_OPT_SIZE,  /* int64_t: 1M */
    RBK_OPT_MS,    /* int64_t: 250ms; empty is 0 where `none` says so */
    RBK_OPT_REAL,  /* double: 0.2 */
    RBK_OPT_BOOL,  /* bool: yes, no */
    RBK_OPT_LEVEL, /* int64_t: place in debug, info, warn, error */
    RBK_OPT_FORMAT, /* int64_t: place in logfmt, json */
    RBK_OPT_GUARANTEE /* int64_t: place in at-least-once, at-most-once */
} rbk_option_kind;

/* What is wrong with a text, or NULL. `out` has room for a text with names in it. */
typedef const char *(*rbk_option_check_fn)(rbk_str text, char out[160]);

typedef struct rbk_option {
    const char *section, *name;
    rbk_option_kind kind;
    size_t offset; /* in rbk_options, or in rbk_method_rule */
    const char *def;
    int64_t min, max; /* numbers; an empty text is legal when min is 0 */
    bool none;        /* an empty text is legal, and means 0 */
    bool reload;      /* a new value takes effect while the server runs */
    bool provider;    /* of a rule: another value needs another worker, another upstream */
    rbk_option_check_fn check;
    const char *help;
} rbk_option;

/* Ends with a row whose name is NULL. In the order of the sections. */
extern const rbk_option rbk_option_table[];
extern const rbk_option rbk_option_rule_table[]; /* [method "pattern"] */

/* Set the field of `base` that `opt` describes. 0, or RBK_E_CONFIG / RBK_E_NOMEM with
 * what is wrong (not the key) in err->detail. */
int rbk_option_parse(const rbk_option *opt, void *base, rbk_str text, rbk_error *err);
/* The text that parses to the same value. */
void rbk_option_print(const rbk_option *opt, const void *base, rbk_buf *b);
/* "1K to 256M": what the option takes, for people. */
void rbk_option_range(const rbk_option *opt, rbk_buf *b);

const char *rbk_check_listen(rbk_str text, char out[160]);
const char *rbk_check_admin_listen(rbk_str text, char out[160]);
/* Are all addresses of this machine alone? Of passed sockets nobody knows. */
bool rbk_is_loopback_listen(rbk_str text);
const char *rbk_check_rate(rbk_str text, char out[160]);
const char *rbk_check_exempt(rbk_str text, char out[160]);
const char *rbk_check_mode(rbk_str text, char out[160]);
const char *rbk_check_path(rbk_str text, char out[160]);
const char *rbk_check_store(rbk_str text, char out[160]);
const char *rbk_check_schemes(rbk_str text, char out[160]);
const char *rbk_check_hosts(rbk_str text, char out[160]);
const char *rbk_check_cidrs(rbk_str text, char out[160]);
const char *rbk_check_ports(rbk_str text, char out[160]);
const char *rbk_check_name_servers(rbk_str text, char out[160]);
const char *rbk_check_schedule(rbk_str text, char out[160]);
const char *rbk_check_forward(rbk_str text, char out[160]);
const char *rbk_check_method_forward(rbk_str text, char out[160]);
const char *rbk_check_upstream(rbk_str text, char out[160]);
const char *rbk_check_proxy(rbk_str text, char out[160]);
const char *rbk_check_key_path(rbk_str text, char out[160]);
/* A file of tokens; a token itself has been shown to `ps` and is not shown again. */
const char *rbk_check_tokens_path(rbk_str text, char out[160]);
const char *rbk_check_worker(rbk_str text, char out[160]);

#endif
