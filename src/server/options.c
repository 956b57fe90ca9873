/* SPDX-License-Identifier: Apache-2.0 */
/* server/options.c - settings: made with defaults, set by name, asked by the server.
 *
 * A key is "section.name", or `method."pattern".name` for one rule. Files, environment
 * and --set all end in rbk_options_set(). One thread. */
#include "server/options_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/dsn.h"
#include "method/worker.h"
#include "net/tls.h"
#include "server/tls_side.h"
#include "server/tokens.h"

#define ENV_PREFIX "RINGBACK_"

rbk_options *rbk_options_new(void)
{
    rbk_options *o = calloc(1, sizeof *o);
    if (o == NULL)
        return NULL;
    for (const rbk_option *opt = rbk_option_table; opt->name; opt++) {
        if (rbk_option_parse(opt, o, rbk_str_z(opt->def), NULL) < 0) {
            rbk_options_free(o);
            return NULL;
        }
    }
    return o;
}

static void free_texts(const rbk_option *table, void *base)
{
    for (const rbk_option *opt = table; opt->name; opt++)
        if (opt->kind == RBK_OPT_TEXT)
            free(*(char **)(void *)((char *)base + opt->offset));
}

void rbk_options_free(rbk_options *o)
{
    if (o == NULL)
        return;
    for (size_t i = 0; i < o->n_rules; i++) {
        free_texts(rbk_option_rule_table, &o->rules[i]);
        free(o->rules[i].pattern);
    }
    free(o->rules);
    free_texts(rbk_option_table, o);
    free(o);
}

static bool is_pattern(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '"' || s.p[i] == 0x7f)
            return false;
    return s.n > 0 && s.n <= RBK_OPTION_PATTERN_MAX;
}

/* The rule of exactly this pattern, made when there is none. */
static int take_rule(rbk_options *o, rbk_str pattern, rbk_method_rule **ret, rbk_error *err)
{
    for (size_t i = 0; i < o->n_rules; i++) {
        if (rbk_str_eqz(pattern, o->rules[i].pattern)) {
            *ret = &o->rules[i];
            return 0;
        }
    }
    if (o->n_rules == RBK_OPTION_RULES_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "more than %d method sections", RBK_OPTION_RULES_MAX);
    rbk_method_rule *rules = realloc(o->rules, (o->n_rules + 1) * sizeof *rules);
    if (rules)
        o->rules = rules;
    char *copy = rules ? strndup(pattern.p, pattern.n) : NULL;
    if (copy == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    rules[o->n_rules] = (rbk_method_rule){.pattern = copy};
    *ret = &rules[o->n_rules++];
    int r = 0;
    for (const rbk_option *opt = rbk_option_rule_table; r == 0 && opt->name; opt++)
        if (opt->kind != RBK_OPT_TEXT)
            r = rbk_option_parse(opt, *ret, rbk_str_z(opt->def), err);
    return r;
}

/* An empty text is none at all. */
static int set_rule(rbk_options *o, rbk_str pattern, const rbk_option *opt, rbk_str value,
                    rbk_error *err)
{
    rbk_method_rule *rule = NULL;
    size_t before = o->n_rules;
    if (!is_pattern(pattern))
        return rbk_fail(err, RBK_E_CONFIG, "a pattern has 1 to %d characters, no blanks or quotes",
                        RBK_OPTION_PATTERN_MAX);
    int r = take_rule(o, pattern, &rule, err);
    if (r == 0)
        r = rbk_option_parse(opt, rule, value, err);
    if (r < 0 && o->n_rules > before)
        free(o->rules[--o->n_rules].pattern);
    char **written = opt->kind == RBK_OPT_TEXT ? (char **)(void *)((char *)rule + opt->offset) : NULL;
    if (r == 0 && written && **written == 0) {
        free(*written);
        *written = NULL;
    }
    return r;
}

static const rbk_option *find_option(const rbk_option *table, rbk_str section, rbk_str name)
{
    for (const rbk_option *opt = table; opt->name; opt++)
        if (rbk_str_eqz(section, opt->section) && rbk_str_eqz(name, opt->name))
            return opt;
    return NULL;
}

/* `method."pattern".name` into its parts; false when it is no such key. */
static bool split_rule_key(rbk_str key, rbk_str *ret_pattern, rbk_str *ret_name)
{
    rbk_str prefix = RBK_STR("method.\"");
    if (!rbk_str_starts(key, prefix))
        return false;
    const char *pattern = key.p + prefix.n, *end = key.p + key.n;
    const char *quote = memchr(pattern, '"', (size_t)(end - pattern));
    if (quote == NULL || quote + 1 == end || quote[1] != '.')
        return false;
    *ret_pattern = (rbk_str){pattern, (size_t)(quote - pattern)};
    *ret_name = (rbk_str){quote + 2, (size_t)(end - quote - 2)};
    return true;
}

/* `method.Order.*.timeout` wants quotes around its pattern. */
static int fail_unknown(rbk_str key, rbk_error *err)
{
    const size_t from = sizeof "method." - 1;
    const char *dot = key.n ? memrchr(key.p, '.', key.n) : NULL;
    if (dot == NULL || !rbk_str_starts(key, RBK_STR("method.")) || dot < key.p + from ||
        memchr(key.p, '"', key.n))
        return rbk_fail(err, RBK_E_CONFIG, "unknown key");
    rbk_str pattern = {key.p + from, (size_t)(dot - key.p) - from};
    rbk_str name = {dot + 1, key.n - (size_t)(dot - key.p) - 1};
    if (pattern.n > RBK_OPTION_PATTERN_MAX || !find_option(rbk_option_rule_table, RBK_STR("method"), name))
        return rbk_fail(err, RBK_E_CONFIG, "unknown key");
    return rbk_fail(err, RBK_E_CONFIG, "unknown key; a pattern needs quotes: method.\"%.*s\".%.*s",
                    RBK_FMT(pattern), RBK_FMT(name));
}

static int set_key(rbk_options *o, rbk_str key, rbk_str value, rbk_error *err)
{
    rbk_str pattern, name;
    const rbk_option *opt;
    if (split_rule_key(key, &pattern, &name)) {
        opt = find_option(rbk_option_rule_table, RBK_STR("method"), name);
        if (opt)
            return set_rule(o, pattern, opt, value, err);
        return rbk_fail(err, RBK_E_CONFIG, "unknown key");
    }
    const char *dot = key.n ? memchr(key.p, '.', key.n) : NULL;
    size_t n = dot ? (size_t)(dot - key.p) : 0;
    opt = dot ? find_option(rbk_option_table, (rbk_str){key.p, n},
                            (rbk_str){dot + 1, key.n - n - 1})
              : NULL;
    return opt ? rbk_option_parse(opt, o, value, err) : fail_unknown(key, err);
}

int rbk_options_set(rbk_options *o, rbk_str key, rbk_str value, rbk_error *err)
{
    rbk_error what = {0};
    int r = set_key(o, key, value, &what);
    if (r < 0)
        rbk_fail(err, r, "%.*s: %s", key.n > 300 ? 300 : RBK_FMT(key), what.detail);
    return r;
}

/* RINGBACK_SERVER_MAX_BODY is server.max_body: no section has a `_` in its name. */
static int set_variable(rbk_options *o, rbk_str name, rbk_str value, rbk_error *err)
{
    char key[64];
    size_t n = 0;
    bool dot = false;
    rbk_error what = {0};
    for (size_t i = sizeof ENV_PREFIX - 1; i < name.n && n < sizeof key; i++, n++) {
        key[n] = rbk_lower(name.p[i]);
        if (key[n] == '_' && !dot) {
            key[n] = '.';
            dot = true;
        }
    }
    if (rbk_str_eqz(name, ENV_PREFIX "ADMIN")) /* where the commands find a server; no option */
        return 0;
    int r = rbk_options_set(o, (rbk_str){key, n}, value, &what);
    if (r < 0)
        rbk_fail(err, r, "environment: %.*s: %s", name.n > 100 ? 100 : RBK_FMT(name), what.detail);
    return r;
}

int rbk_options_env(rbk_options *o, char *const *environ_list, rbk_error *err)
{
    for (char *const *e = environ_list; e && *e; e++) {
        rbk_str all = rbk_str_z(*e);
        const char *eq = strchr(*e, '=');
        if (eq == NULL || !rbk_str_starts(all, RBK_STR(ENV_PREFIX)))
            continue;
        size_t n = (size_t)(eq - *e);
        int r = set_variable(o, (rbk_str){all.p, n}, (rbk_str){eq + 1, all.n - n - 1}, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static size_t size_of(rbk_option_kind kind)
{
    switch (kind) {
    case RBK_OPT_TEXT:
        return sizeof(char *);
    case RBK_OPT_REAL:
        return sizeof(double);
    case RBK_OPT_BOOL:
        return sizeof(bool);
    case RBK_OPT_INT:
    case RBK_OPT_SIZE:
    case RBK_OPT_MS:
    case RBK_OPT_LEVEL:
    case RBK_OPT_FORMAT:
    case RBK_OPT_GUARANTEE:
        break;
    }
    return sizeof(int64_t);
}

void rbk_options_take(rbk_options *o, rbk_options *fresh)
{
    for (const rbk_option *opt = rbk_option_table; opt->name; opt++) {
        char *a = (char *)o + opt->offset, *b = (char *)fresh + opt->offset, hold[16];
        size_t n = size_of(opt->kind);
        if (!opt->reload)
            continue;
        memcpy(hold, a, n);
        memcpy(a, b, n);
        memcpy(b, hold, n);
    }
    rbk_method_rule *rules = o->rules;
    size_t n_rules = o->n_rules;
    o->rules = fresh->rules;
    o->n_rules = fresh->n_rules;
    fresh->rules = rules;
    fresh->n_rules = n_rules;
}

/* The same text means the same. Without memory they differ: too much is named, not too little. */
static bool is_same(const rbk_option *opt, const void *a, const void *b)
{
    rbk_buf x = RBK_BUF(RBK_OPTION_TEXT_MAX + 1), y = RBK_BUF(RBK_OPTION_TEXT_MAX + 1);
    rbk_option_print(opt, a, &x);
    rbk_option_print(opt, b, &y);
    bool same = !x.err && !y.err && rbk_str_eq(rbk_buf_view(&x), rbk_buf_view(&y));
    rbk_buf_free(&x);
    rbk_buf_free(&y);
    return same;
}

bool rbk_options_same_rule(const rbk_method_rule *a, const rbk_method_rule *b)
{
    bool same = strcmp(a->pattern, b->pattern) == 0;
    for (const rbk_option *opt = rbk_option_rule_table; same && opt->name; opt++)
        same = is_same(opt, a, b);
    return same;
}

void rbk_options_fixed(const rbk_options *o, const rbk_options *fresh, rbk_buf *names)
{
    for (const rbk_option *opt = rbk_option_table; opt->name; opt++)
        if (!opt->reload && !is_same(opt, o, fresh))
            rbk_buf_addf(names, "%s%s.%s", names->n ? ", " : "", opt->section, opt->name);
}

static bool names_authorization(const char *headers)
{
    rbk_str list = rbk_str_z(headers), name;
    while (rbk_list_next(&list, &name))
        if (rbk_str_ieqz(name, "authorization"))
            return true;
    return false;
}

int rbk_options_check(const rbk_options *o, rbk_error *err)
{
    if (o->ca_only && o->ca_file[0] == 0)
        return rbk_fail(err, RBK_E_CONFIG, "delivery.ca_only: needs delivery.ca_file");
    if ((o->client_cert[0] == 0) != (o->client_key[0] == 0))
        return rbk_fail(err, RBK_E_CONFIG,
                        "delivery.client_cert: goes with delivery.client_key, one needs the other");
    if ((o->tls_cert[0] == 0) != (o->tls_key[0] == 0))
        return rbk_fail(err, RBK_E_CONFIG,
                        "server.tls_cert: goes with server.tls_key, one needs the other");
    if (o->tls_client_ca[0] && o->tls_cert[0] == 0)
        return rbk_fail(err, RBK_E_CONFIG, "server.tls_client_ca: needs server.tls_cert");
    if (o->admin_token_file[0] == 0 && !rbk_is_loopback_listen(rbk_str_z(o->admin_listen)))
        return rbk_fail(err, RBK_E_CONFIG,
                        "admin.listen: other addresses than loopback need admin.token_file");
    if (o->tokens_file[0] == 0 && o->tls_client_ca[0] == 0 && !o->auth_open &&
        !rbk_is_loopback_listen(rbk_str_z(o->listen)))
        return rbk_fail(err, RBK_E_CONFIG,
                        "server.listen: other addresses than loopback need auth.tokens_file "
                        "(ringback token add makes it), server.tls_client_ca, or auth.open=yes");
    if (o->per_receiver > o->in_flight)
        return rbk_fail(err, RBK_E_CONFIG,
                        "delivery.per_receiver: is greater than delivery.in_flight");
    if (o->method_ms > o->max_timeout_ms)
        return rbk_fail(err, RBK_E_CONFIG, "method.timeout: is greater than method.max_timeout");
    for (size_t i = 0; i < o->n_rules; i++) {
        const rbk_method_rule *rule = &o->rules[i];
        if (rule->timeout_ms > o->max_timeout_ms)
            return rbk_fail(err, RBK_E_CONFIG,
                            "method.\"%s\".timeout: is greater than method.max_timeout",
                            rule->pattern);
        if ((rule->module != NULL) + (rule->upstream != NULL) + (rule->worker != NULL) > 1)
            return rbk_fail(err, RBK_E_CONFIG,
                            "method.\"%s\": module, upstream and worker: one of them runs it",
                            rule->pattern);
        if (rule->upstream_token_file && names_authorization(rule->forward_headers))
            return rbk_fail(err, RBK_E_CONFIG,
                            "method.\"%s\".forward_headers: Authorization is what "
                            "upstream_token_file sends", rule->pattern);
    }
    if (o->max_pending_bytes < o->max_body)
        return rbk_fail(err, RBK_E_CONFIG,
                        "store.max_pending_bytes: is less than server.max_body");
    return 0;
}

/* NULL, or why `path` is no file that we can read. Never opened: a FIFO would hold us. */
static const char *cannot_read(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || access(path, R_OK) < 0)
        return strerror(errno);
    return S_ISDIR(st.st_mode) ? "it is a folder" : NULL;
}

static int check_rule_files(const rbk_method_rule *rule, rbk_error *err)
{
    const struct {
        const char *key, *path;
    } files[] = {
        {"module", rule->module && strchr(rule->module, '/') ? rule->module : NULL},
        {"describe", rule->describe},
        {"upstream_token_file", rule->upstream_token_file},
        {"upstream_ca_file", rule->upstream_ca_file},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *wrong = files[i].path ? cannot_read(files[i].path) : NULL;
        if (wrong)
            return rbk_fail(err, RBK_E_CONFIG, "method.\"%s\".%s: %s: %s", rule->pattern, files[i].key,
                            files[i].path, wrong);
    }
    rbk_error why = {0};
    int r = rule->worker ? rbk_worker_check(rule->worker, &why) : 0;
    return r < 0 ? rbk_fail(err, r, "method.\"%s\".worker: %s", rule->pattern, why.detail) : 0;
}

int rbk_options_check_files(const rbk_options *o, rbk_callers **ret_callers, rbk_error *err)
{
    rbk_error what = {0};
    const char *wrong = o->ca_file[0] ? cannot_read(o->ca_file) : NULL;
    if (wrong)
        return rbk_fail(err, RBK_E_CONFIG, "delivery.ca_file: %s: %s", o->ca_file, wrong);
    rbk_tls *tls = NULL; /* by making them, since pair and mode have to fit */
    rbk_tls_client_conf own = {.cert_file = o->client_cert, .key_file = o->client_key};
    int r = o->client_cert[0] ? rbk_tls_client_new(&own, &tls, err) : 0;
    rbk_tls_free(tls);
    if (r == 0)
        r = rbk_tls_side_new(o, &tls, err);
    if (r < 0)
        return r;
    rbk_tls_free(tls);
    wrong = o->admin_token_file[0] ? cannot_read(o->admin_token_file) : NULL;
    if (wrong)
        return rbk_fail(err, RBK_E_CONFIG, "admin.token_file: %s: %s", o->admin_token_file, wrong);
    rbk_callers *callers = NULL; /* by reading them */
    if (o->tokens_file[0])
        r = rbk_tokens_read(o->tokens_file, &callers, &what);
    if (r < 0)
        rbk_fail(err, r, "auth.tokens_file: %s", what.detail);
    for (size_t i = 0; i < o->n_rules && r == 0; i++)
        r = check_rule_files(&o->rules[i], err);
    if (r == 0 && ret_callers)
        *ret_callers = callers;
    else
        rbk_callers_unref(callers);
    return r;
}

const rbk_method_rule *rbk_options_provider(const rbk_options *o, rbk_str method)
{
    const rbk_method_rule *best = NULL;
    size_t best_n = 0;
    for (size_t i = 0; i < o->n_rules; i++) {
        const rbk_method_rule *rule = &o->rules[i];
        size_t n = strcspn(rule->pattern, "*");
        if (!rule->module && !rule->worker && !rule->upstream)
            continue;
        if (rule->pattern[n] == 0 && rbk_str_eqz(method, rule->pattern))
            return rule;
        if (rbk_method_fits(rule->pattern, method) && (best == NULL || n > best_n)) {
            best = rule;
            best_n = n;
        }
    }
    return best;
}

rbk_rate rbk_options_rate(const rbk_options *o)
{
    rbk_rate rate = {0, 0};
    if (o->rate[0])
        (void)rbk_rate_read(rbk_str_z(o->rate), &rate); /* it was checked */
    return rate;
}
