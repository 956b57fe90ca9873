/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_token.c - `ringback token`: callers of the tokens file. A token is printed once, when it
 * is made; the file has its hash alone. */
#include "app/app.h"
#include "app/tokens_file.h"

#include "base/error.h"
#include "base/id.h"
#include "base/secret.h"

#include <stdio.h>

enum { LINES_MAX = 64 << 10 };

typedef struct request {
    const char *name;
    bool second, secret;
    rbk_buf rights; /* lines of the section */
} request;

/* --- add ------------------------------------------------------------------------------------ */

static int new_secret(rbk_buf *secret)
{
    uint8_t seed[RBK_SIGN_SEED];
    rbk_random(seed, sizeof seed);
    int r = rbk_sign_new_key(false, seed, secret);
    explicit_bzero(seed, sizeof seed);
    return r;
}

static int write_section(rbk_tokens_file *f, const request *q, const char *hash, rbk_str secret,
                         rbk_error *err)
{
    rbk_buf b = RBK_BUF(LINES_MAX);
    rbk_buf_reserve(&b, 1024 + q->rights.n);
    if (!q->second)
        rbk_buf_addf(&b, "%s[token \"%s\"]\n", f->text.n ? "\n" : "", q->name);
    rbk_buf_addf(&b, "hash = %s\n", hash);
    if (secret.n)
        rbk_buf_addf(&b, "secret = %.*s", RBK_FMT(secret)); /* it ends its line itself */
    rbk_buf_str(&b, rbk_buf_view(&q->rights));
    int r = rbk_buf_err(&b);
    if (r < 0)
        rbk_fail(err, r, "the rights are too long");
    else if (q->second)
        r = rbk_tokens_file_insert(f, q->name, rbk_buf_view(&b), err);
    else
        r = rbk_tokens_file_append(f, rbk_buf_view(&b), err);
    rbk_secret_free(&b);
    return r;
}

static void tell(const rbk_tokens_file *f, const request *q)
{
    fprintf(stderr, "ringback: the token of %s%s; it is not shown again. Its caller sends\n"
                    "  Authorization: Bearer <token>\n"
                    "and a server that runs with auth.tokens_file=%s knows it after a SIGHUP.\n",
            q->name, q->secret ? ", and behind it the secret that its callbacks are verified with" : "",
            f->path);
}

static int add(rbk_tokens_file *f, const request *q, rbk_error *err)
{
    char token[RBK_TOKEN_TEXT + 2], hash[65];
    rbk_buf secret = RBK_BUF(256);
    bool there = rbk_callers_find(f->callers, rbk_str_z(q->name)) != NULL;
    if (there && !q->second)
        return rbk_fail(err, RBK_E_STATE, "%s: has a token \"%s\" already; --second adds another one "
                                          "to it", f->path, q->name);
    rbk_buf_reserve(&secret, 256);
    int r = q->secret ? new_secret(&secret) : 0;
    rbk_token_new(token, hash);
    if (r == 0)
        r = write_section(f, q, hash, rbk_buf_view(&secret), err);
    if (r == 0) {
        token[RBK_TOKEN_TEXT] = '\n';
        rbk_print((rbk_str){token, RBK_TOKEN_TEXT + 1});
        rbk_print(rbk_buf_view(&secret));
        tell(f, q);
    }
    explicit_bzero(token, sizeof token);
    rbk_secret_free(&secret);
    return r;
}

/* --- list ------------------------------------------------------------------------------------- */

/* "X-Api-Key: abc" is shown as X-Api-Key. */
static void list_headers(const rbk_caller *c, rbk_buf *b)
{
    rbk_str lines = c->headers;
    while (lines.n) {
        size_t n = (size_t)((const char *)memchr(lines.p, '\n', lines.n) - lines.p) + 1;
        const char *colon = memchr(lines.p, ':', n);
        rbk_buf_addf(b, "%s%.*s", lines.p == c->headers.p ? "  headers=" : ",",
                     (int)(colon - lines.p), lines.p);
        lines = (rbk_str){lines.p + n, lines.n - n};
    }
}

static void list_one(const rbk_caller *c, rbk_buf *b)
{
    size_t secrets = c->secrets ? rbk_sign_keys_count(c->secrets, RBK_SIGN_HMAC) : 0;
    rbk_buf_addf(b, "%s  tokens=%zu  secrets=%zu", c->name, c->n_hashes, secrets);
    for (size_t i = 0; i < c->n_methods; i++)
        rbk_buf_addf(b, "%s%s", i ? "," : "  methods=", c->methods[i]);
    for (size_t i = 0; i < c->hosts.n; i++)
        rbk_buf_addf(b, "%s%.*s", i ? "," : "  hosts=", (int)c->hosts.v[i].n, c->hosts.v[i].p);
    list_headers(c, b);
    if (c->rate.n)
        rbk_buf_addf(b, "  rate=%lld/%s", (long long)c->rate.n,
                     c->rate.ms == 1000 ? "s" : c->rate.ms == 60000 ? "m" : "h");
    if (c->max_pending)
        rbk_buf_addf(b, "  max_pending=%lld", (long long)c->max_pending);
    if (c->max_pending_bytes)
        rbk_buf_addf(b, "  max_pending_bytes=%lld", (long long)c->max_pending_bytes);
    rbk_buf_c(b, '\n');
}

static int list(const rbk_tokens_file *f, rbk_error *err)
{
    rbk_buf b = RBK_BUF(64 << 20);
    for (size_t i = 0; i < rbk_callers_count(f->callers); i++)
        list_one(rbk_callers_at(f->callers, i), &b);
    int r = rbk_buf_err(&b);
    if (r == 0)
        rbk_print(rbk_buf_view(&b));
    else
        rbk_fail(err, r, "%s", rbk_strerror(r));
    rbk_buf_free(&b);
    return r;
}

/* --- the command -------------------------------------------------------------------------------- */

typedef enum verb { ADD, LIST, REMOVE, VERBS } verb;
static const char *const verbs[] = {"add", "list", "remove"};

static int run(verb v, const char *path, const request *q)
{
    rbk_tokens_file f;
    rbk_error err = {0};
    int r = rbk_tokens_file_open(&f, path, v == ADD, &err);
    if (r == 0)
        r = v == ADD ? add(&f, q, &err) : v == LIST ? list(&f, &err)
                                                    : rbk_tokens_file_remove(&f, q->name, &err);
    rbk_tokens_file_close(&f);
    return r < 0 ? rbk_failed(r, err.detail) : RBK_EXIT_OK;
}

/* The file: --file, or what the settings say. */
static int run_with(verb v, const char *file, const rbk_settings *settings, const request *q)
{
    rbk_error err = {0};
    if (file)
        return run(v, file, q);
    rbk_options *o = rbk_settings_load(settings, &err);
    if (o == NULL)
        return rbk_failed(err.code, err.detail);
    int code = o->tokens_file[0] ? run(v, o->tokens_file, q)
                                 : rbk_usage("--file, or the setting auth.tokens_file, names the file");
    rbk_options_free(o);
    return code;
}

/* What a shell may hand over must not begin another line. */
static bool add_right(request *q, const char *key, const char *value)
{
    if (strpbrk(value, "\r\n")) {
        rbk_usage("a value has a line end");
        return false;
    }
    rbk_buf_addf(&q->rights, "%s = \"", key);
    for (const char *p = value; *p; p++) {
        if (*p == '"' || *p == '\\')
            rbk_buf_c(&q->rights, '\\');
        rbk_buf_c(&q->rights, *p);
    }
    rbk_buf_lit(&q->rights, "\"\n");
    return true;
}

static const rbk_flag flags[] = {
    RBK_SETTINGS_FLAGS, {"file", 0, true}, {"second", 0, false}, {"secret", 0, false},
    {"methods", 0, true}, {"hosts", 0, true}, {"header", 0, true}, {"rate", 0, true},
    {"max-pending", 0, true}, {"max-pending-bytes", 0, true}, {NULL, 0, false}};
enum { FILE_FLAG = RBK_SETTINGS_N, SECOND, SECRET, METHODS };

static bool take(request *q, rbk_settings *settings, const char **file, const rbk_args *a, int i)
{
    static const char *const keys[] = {"methods", "hosts", "headers", "rate", "max_pending",
                                       "max_pending_bytes"};
    if (i < RBK_SETTINGS_N)
        return rbk_settings_add(settings, i, a->value) == 0;
    if (i >= METHODS)
        return add_right(q, keys[i - METHODS], a->value);
    if (i == FILE_FLAG)
        *file = a->value;
    q->second = q->second || i == SECOND;
    q->secret = q->secret || i == SECRET;
    return true;
}

static int check(verb v, size_t n, const request *q)
{
    if (v == VERBS)
        return rbk_usage("token wants add NAME, list or remove NAME");
    if (n != (v == LIST ? 1 : 2))
        return rbk_usage(v == LIST ? "token list takes no name" : "token %s wants one NAME", verbs[v]);
    if (v != LIST && !rbk_caller_is_name(rbk_str_z(q->name)))
        return rbk_usage("a name has 1 to %d of a-z A-Z 0-9 . _ - @, and begins with a letter or digit",
                         RBK_CALLER_NAME_MAX);
    if (v != ADD && (q->second || q->secret || q->rights.n))
        return rbk_usage("only token add takes rights");
    return RBK_EXIT_OK;
}

int rbk_cmd_token(int argc, char **argv)
{
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    request q = {.rights = RBK_BUF(LINES_MAX)};
    rbk_settings settings = {0};
    const char *words[2] = {NULL, NULL}, *file = NULL;
    size_t n = 0;
    int code = RBK_EXIT_USAGE;
    for (int i; (i = rbk_args_next(&a)) != RBK_ARG_END;) {
        if (i == RBK_ARG_BAD || (i != RBK_ARG_WORD && !take(&q, &settings, &file, &a, i)))
            goto out;
        if (i == RBK_ARG_WORD && n < 2)
            words[n] = a.value;
        n += i == RBK_ARG_WORD;
    }
    verb v = ADD;
    while (v < VERBS && (n == 0 || strcmp(words[0], verbs[v]) != 0))
        v++;
    q.name = words[1];
    code = check(v, n, &q);
    if (code == RBK_EXIT_OK)
        code = run_with(v, file, &settings, &q);
out:
    rbk_secret_free(&q.rights);
    rbk_settings_free(&settings);
    return code;
}
