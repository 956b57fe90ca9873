/* SPDX-License-Identifier: Apache-2.0 */
/* server/options.h - every option, once.
 *
 * One table holds name, type, default, range and a line of help; the parser, `--help`, `ringback config` and docs/configuration.md all
 * come from it. One thread. */
#ifndef RBK_SERVER_OPTIONS_H
#define RBK_SERVER_OPTIONS_H

#include "base/buf.h"
#include "base/log.h"
#include "core/bucket.h"
#include "engine/callers.h"
#include "seam/methods.h"

struct rbk_origins; /* front/origin.h */

/* One [method "pattern"] section: exact name, then longest literal prefix, then order. */
typedef struct rbk_method_rule {
    char *pattern; /* a glob: "OrderService.*" */
    char *module;  /* path, NULL: none */
    char *describe; /* file of descriptions, NULL: none */
    int64_t timeout_ms; /* 0: method.timeout */
    int64_t concurrency; /* 0: what its kind takes */
    int64_t once;        /* at-most-once */
    char *forward_headers;
    char *upstream; /* URL, NULL: none; and what belongs to it */
    char *upstream_token_file, *upstream_ca_file;
    int64_t upstream_connect_ms, upstream_connections, upstream_idle_ms;
    char *worker;        /* command, NULL: none */
    int64_t workers, pipelining, retries;
    int64_t worker_memory, worker_cpu_ms, worker_files; /* 0: no limit */
} rbk_method_rule;

typedef struct rbk_options {
    /* server */
    char *listen; /* comma-separated addresses */
    char *socket_mode;
    char *path;
    char *server_hosts, *origins; /* comma-separated; empty: none */
    char *rate; /* of one address; empty: no bound */
    char *exempt;
    int64_t client_connections; /* server.per_address */
    char *tls_cert, *tls_key, *tls_client_ca; /* files; empty: none */
    int64_t threads, max_body, max_batch, max_connections, max_sockets, ping_ms, drain_ms;
    /* admin */
    char *admin_listen; /* may be empty: none */
    char *admin_token_file;
    /* auth */
    char *tokens_file;
    bool auth_open;
    /* store */
    char *store_dsn;
    int64_t max_pending, max_pending_bytes, min_free;
    int64_t retention_ms, retention_bytes, retention_dead_ms, dedup_ms;
    /* callback */
    char *schemes, *hosts, *allow, *deny, *ports, *name_servers;
    bool resolve;
    int64_t resolve_ms;
    /* delivery */
    char *schedule;
    double jitter;
    int64_t max_age_ms, connect_ms, delivery_ms, in_flight, per_receiver, per_address, breaker;
    char *forward_headers, *proxy, *ca_file, *client_cert, *client_key;
    bool ca_only, http2;
    /* signing */
    char *key_file, *secret_file;
    /* method */
    int64_t method_threads, max_waiting, method_ms, max_timeout_ms, max_result, max_runs, missing_ms;
    rbk_method_rule *rules;
    size_t n_rules;
    /* log */
    int64_t log_level; /* rbk_level */
    int64_t log_json;
} rbk_options;

rbk_options *rbk_options_new(void); /* defaults; NULL when memory is out */
void rbk_options_free(rbk_options *o);

/* key "store.dsn" or `method."Order.*".timeout`. RBK_E_CONFIG with a line in err->detail
 * that names the key and what is wrong with the value. */
int rbk_options_set(rbk_options *o, rbk_str key, rbk_str value, rbk_error *err);
/* An INI file. RBK_E_CONFIG with "FILE:LINE: key: what" in err->detail. */
int rbk_options_load(rbk_options *o, const char *path, rbk_error *err);
/* RINGBACK_SECTION_KEY variables of `environ`; an unknown RINGBACK_ name is a fault. */
int rbk_options_env(rbk_options *o, char *const *environ_list, rbk_error *err);
/* Rules that concern more than one option. */
int rbk_options_check(const rbk_options *o, rbk_error *err);
/* Can the files that the options name be read? A module without a slash in its name is
 * looked for elsewhere and not checked. *ret_callers gets the table of auth.tokens_file, or NULL where
 * none is named; it may be NULL itself. 0 or RBK_E_CONFIG. */
int rbk_options_check_files(const rbk_options *o, rbk_callers **ret_callers, rbk_error *err);

/* Take those settings of `fresh` that can change while a server runs. `fresh` gets the old
 * ones and is then good for rbk_options_free(), or for being taken back. */
void rbk_options_take(rbk_options *o, rbk_options *fresh);
/* The keys whose values differ and that only a start can change: "server.path, …". */
void rbk_options_fixed(const rbk_options *o, const rbk_options *fresh, rbk_buf *names);

/* The settings as an INI file that reads back the same. */
void rbk_options_dump(const rbk_options *o, rbk_buf *b);
unsigned rbk_options_socket_mode(const rbk_options *o);
/* What browsers may be talked into; as rbk_origins_new(). */
int rbk_options_origins(const rbk_options *o, struct rbk_origins **ret, rbk_error *err);

/* The table as Markdown (docs/configuration.md) or as text (--help). */
void rbk_options_doc(rbk_buf *b, bool markdown);

/* Do both say the same, pattern included? */
bool rbk_options_same_rule(const rbk_method_rule *a, const rbk_method_rule *b);
/* server.rate. */
rbk_rate rbk_options_rate(const rbk_options *o);
/* The best rule for a method name of those that have a module, a worker or an upstream, or NULL. */
const rbk_method_rule *rbk_options_provider(const rbk_options *o, rbk_str method);

#endif
