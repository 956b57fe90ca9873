/* SPDX-License-Identifier: Apache-2.0 */
/* Options: values from text and back, files, environment, rules, the printed table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/options.h"

static rbk_options *opts;
static rbk_error err;

static int setup(void **state)
{
    (void)state;
    err = (rbk_error){0};
    opts = rbk_options_new();
    return opts ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    rbk_options_free(opts);
    return 0;
}

static int set(const char *key, const char *value)
{
    err = (rbk_error){0};
    return rbk_options_set(opts, rbk_str_z(key), rbk_str_z(value), &err);
}

static void assert_detail(const char *part)
{
    if (strstr(err.detail, part) == NULL)
        fail_msg("'%s' is not in '%s'", part, err.detail);
}

/* A file of `n` bytes; the caller frees and unlinks the name. */
static char *make_file(const char *text, size_t n)
{
    char name[] = "/tmp/rbk-options-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
    return strdup(name);
}

static int load_n(const char *text, size_t n)
{
    char *name = make_file(text, n), place[64];
    err = (rbk_error){0};
    int r = rbk_options_load(opts, name, &err);
    unlink(name);
    if (r < 0) { /* every fault of a file begins with its name */
        snprintf(place, sizeof place, "%s:", name);
        assert_detail(place);
    }
    free(name);
    return r;
}

static int load(const char *text)
{
    return load_n(text, strlen(text));
}

static void test_defaults(void **state)
{
    (void)state;
    assert_string_equal(opts->listen, "127.0.0.1:7600");
    assert_string_equal(opts->path, "/api");
    assert_int_equal(opts->threads, 0);
    assert_int_equal(opts->max_body, 1048576);
    assert_int_equal(opts->drain_ms, 25000);
    assert_string_equal(opts->store_dsn, "sqlite:ringback.db");
    assert_int_equal(opts->max_pending_bytes, INT64_C(10) << 30);
    assert_int_equal(opts->min_free, 256 << 20);
    assert_string_equal(opts->schemes, "https,wss");
    assert_string_equal(opts->hosts, "");
    assert_string_equal(opts->schedule, "5s,30s,2m,15m,1h,6h,12h,24h,24h");
    assert_true(opts->jitter == 0.2);
    assert_int_equal(opts->max_age_ms, 0);
    assert_int_equal(opts->per_receiver, 16);
    assert_string_equal(opts->ca_file, "");
    assert_false(opts->ca_only);
    assert_int_equal(opts->max_timeout_ms, 3600000);
    assert_int_equal(opts->log_level, RBK_INFO);
    assert_int_equal(opts->log_json, 0);
    assert_int_equal(rbk_options_check(opts, &err), 0);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t want; /* -1: refused */
    } rows[] = {
        {"1024", 1024},      {"1K", 1024},   {"4k", 4096},      {"3M", 3 << 20},
        {"256M", 256 << 20}, {"257M", -1},   {"1023", -1},      {"", -1},
        {"1.5M", -1},        {"1 M", -1},    {"M", -1},         {"-1K", -1},
        {"1MB", -1},         {"+4096", -1},  {"0x1000", -1},    {"99999999999999999999", -1},
        {"9999999999T", -1}, {"1Ki", -1},    {" 4096", -1},     {"4096 ", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t before = opts->max_body;
        int r = set("server.max_body", rows[i].text);
        if (rows[i].want < 0) {
            assert_int_equal(r, RBK_E_CONFIG);
            assert_detail("server.max_body: ");
            assert_int_equal(opts->max_body, before);
        } else {
            assert_int_equal(r, 0);
            assert_int_equal(opts->max_body, rows[i].want);
        }
    }
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t want;
    } rows[] = {
        {"1000ms", 1000}, {"5s", 5000},       {"2m", 120000}, {"1h", 3600000},
        {"30d", INT64_C(2592000000)},         {"", 0},        {"1S", 1000},
        {"5", -1},        {"999ms", -1},      {"366d", -1},   {"1h30m", -1},
        {"0", -1},        {"s", -1},          {"1w", -1},     {"99999999999999d", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int r = set("delivery.max_age", rows[i].text);
        assert_int_equal(r, rows[i].want < 0 ? RBK_E_CONFIG : 0);
        if (rows[i].want >= 0)
            assert_int_equal(opts->max_age_ms, rows[i].want);
    }
    assert_int_equal(set("server.drain", "0"), 0);
    assert_int_equal(opts->drain_ms, 0);
    assert_int_equal(set("server.drain", ""), RBK_E_CONFIG);
}

static void test_switches_and_names(void **state)
{
    (void)state;
    static const char *const yes[] = {"yes", "true", "on", "Yes", "TRUE"};
    static const char *const no[] = {"no", "false", "off", "No"};
    for (size_t i = 0; i < 5; i++) {
        opts->ca_only = false;
        assert_int_equal(set("delivery.ca_only", yes[i]), 0);
        assert_true(opts->ca_only);
    }
    for (size_t i = 0; i < 4; i++) {
        opts->ca_only = true;
        assert_int_equal(set("delivery.ca_only", no[i]), 0);
        assert_false(opts->ca_only);
    }
    assert_int_equal(set("delivery.ca_only", "1"), RBK_E_CONFIG);
    assert_int_equal(set("delivery.ca_only", ""), RBK_E_CONFIG);
    assert_int_equal(set("log.level", "error"), 0);
    assert_int_equal(opts->log_level, RBK_ERROR);
    assert_int_equal(set("log.format", "json"), 0);
    assert_int_equal(opts->log_json, 1);
    assert_int_equal(set("log.format", "xml"), RBK_E_CONFIG);
    assert_detail("log.format: 'xml' is none of logfmt, json");
}

static void test_reals(void **state)
{
    (void)state;
    assert_int_equal(set("delivery.jitter", "0"), 0);
    assert_true(opts->jitter == 0.0);
    assert_int_equal(set("delivery.jitter", "0.125"), 0);
    assert_true(opts->jitter == 0.125);
    assert_int_equal(set("delivery.jitter", "1.0"), 0);
    static const char *const bad[] = {"",    ".5",  "1.1", "0,2",       "1e-1", "nan",
                                      "inf", "0.2x", "0.", "0.1234567", "-0.1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(set("delivery.jitter", bad[i]), RBK_E_CONFIG);
    assert_true(opts->jitter == 1.0);
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *wrong; /* NULL: fine */
    } rows[] = {
        {"server.listen", "127.0.0.1:0, [::1]:7600,:80", NULL},
        {"server.listen", "localhost:80", "'localhost:80' is not an address"},
        {"server.listen", "127.0.0.1", "is not an address"},
        {"server.listen", "127.0.0.1:65536", "is not an address"},
        {"server.listen", "127.1:80", "is not an address"},
        {"server.listen", ":80,", "'' is not an address"},
        {"server.listen", "", "'' is not an address"},
        {"admin.listen", "", NULL},
        {"admin.listen", "127.0.0.1:0,[::1]:7601", NULL},
        {"admin.listen", "localhost:7601", "'localhost:7601' is not an address"},
        {"server.path", "/", NULL},
        {"server.path", "/rpc/v1", NULL},
        {"server.path", "api", "is not a path"},
        {"server.path", "/a?b", "is not a path"},
        {"server.path", "", "is not a path"},
        {"store.dsn", "memory:", NULL},
        {"store.dsn", "sqlite:/var/lib/a b.db", NULL},
        {"store.dsn", "sqlite:", "is neither sqlite:FILE nor memory:"},
        {"store.dsn", "redis:1", "is neither sqlite:FILE nor memory:"},
        {"callback.schemes", "https", NULL},
        {"callback.schemes", "https,wss", NULL},
        {"callback.schemes", "wss", NULL},
        {"callback.schemes", "https,sqs", "'sqs' is not a scheme of this version"},
        {"callback.schemes", "ws", "ws is not encrypted, use wss"},
        {"callback.schemes", "http", "http is not encrypted, use https"},
        {"callback.schemes", "", "'' is not a scheme"},
        {"callback.hosts", "*.example.com,**.example.org", NULL},
        {"callback.allow", "10.0.0.0/8,fd00::/8", NULL},
        {"callback.allow", "10.0.0.0/33", "10.0.0.0/33"},
        {"callback.deny", "nonsense", "nonsense"},
        {"callback.ports", "443,8000-8999", NULL},
        {"callback.ports", "9-1", "9-1"},
        {"callback.ports", "70000", "70000"},
        {"delivery.schedule", "1ms,2s,3m", NULL},
        {"delivery.schedule", "", "is not a list"},
        {"delivery.schedule", "5s,,6s", "is not a list"},
        {"delivery.forward_headers", "", NULL},
        {"delivery.forward_headers", "X-A, x-b", NULL},
        {"delivery.forward_headers", "Authorization", "'Authorization' is never forwarded"},
        {"delivery.forward_headers", "x-a,webhook-id", "'webhook-id' is never forwarded"},
        {"delivery.forward_headers", "x a", "is not a header name"},
        {"delivery.forward_headers", "x-a,", "is not a header name"},
        {"method.\"m\".forward_headers", "Authorization, x-a", NULL},
        {"method.\"m\".forward_headers", "transfer-encoding", "'transfer-encoding' is never forwarded"},
        {"method.\"m\".forward_headers", "x a", "is not a header name"},
        {"method.\"m\".upstream", "http+unix://%2Frun%2Fapp.sock/api", NULL},
        {"method.\"m\".upstream", "tcp://h/", "'tcp://h/' is none of http://host:port/path"},
        {"method.\"m\".upstream", "http://u:pw@h/", "a token goes into upstream_token_file"},
        {"delivery.ca_file", "a\nb", "has a control character"},
        {"server.nothing", "1", "unknown key"},
        {"nothing.path", "1", "unknown key"},
        {"path", "1", "unknown key"},
        {"", "1", "unknown key"},
        {"server.hosts", "", NULL},
        {"server.hosts", "a b", "'a b' is not a host"},
        {"server.origins", "https://app.example", NULL},
        {"server.origins", "*", "'*' is not an origin"},
        {"method.module", "x.so", "unknown key"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int r = set(rows[i].key, rows[i].value);
        if (rows[i].wrong == NULL && r < 0)
            fail_msg("%s=%s: %s", rows[i].key, rows[i].value, err.detail);
        if (rows[i].wrong) {
            assert_int_equal(r, RBK_E_CONFIG);
            assert_detail(rows[i].key);
            assert_detail(rows[i].wrong);
        }
    }
    char *big = calloc(1, 4002);
    memset(big, 'x', 4001);
    assert_int_equal(set("delivery.ca_file", big), RBK_E_CONFIG);
    assert_detail("longer than 4000 bytes");
    free(big);
}

static void test_rules(void **state)
{
    (void)state;
    assert_int_equal(set("method.\"*\".module", "./all.so"), 0);
    assert_int_equal(set("method.\"Order.*\".timeout", "5s"), 0);
    assert_int_equal(set("method.\"Order.*\".module", "./order.so"), 0);
    assert_int_equal(set("method.\"Order.*Slow\".module", "./late.so"), 0);
    assert_int_equal(set("method.\"Order.Ship*\".module", "./ship.so"), 0);
    assert_int_equal(set("method.\"Order.get\".module", "./get.so"), 0);
    assert_int_equal(opts->n_rules, 5);
    assert_int_equal(opts->rules[1].timeout_ms, 5000);
    static const char *const want[][2] = {
        {"Order.get", "./get.so"},      {"Order.gets", "./order.so"},
        {"Order.Shipped", "./ship.so"}, {"Order.ShipSlow", "./ship.so"},
        {"Order.aSlow", "./order.so"},  {"order.get", "./all.so"},
        {"Order", "./all.so"},          {"", "./all.so"},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_string_equal(rbk_options_provider(opts, rbk_str_z(want[i][0]))->module, want[i][1]);
    assert_int_equal(set("method.\"*\".module", ""), 0);
    assert_null(opts->rules[0].module);
    static const char *const bad[] = {"method.\"\".timeout", "method.\"a b\".timeout",
                                      "method.\"a\".nothing", "method.\"a\"timeout",
                                      "method.\"a.timeout", "method.\"x\".timeout"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(set(bad[i], "x"), RBK_E_CONFIG);
    assert_int_equal(opts->n_rules, 5); /* a refused value leaves no rule behind */
}

static void test_no_rule(void **state)
{
    (void)state;
    assert_null(rbk_options_provider(opts, RBK_STR("a")));
    assert_int_equal(set("method.\"b*c*d\".module", "./b.so"), 0);
    assert_int_equal(set("method.\"bdccdd\".timeout", "1s"), 0); /* settings alone */
    assert_null(rbk_options_provider(opts, RBK_STR("bcdc")));
    assert_non_null(rbk_options_provider(opts, RBK_STR("bdccdd")));
    assert_null(rbk_options_provider(opts, RBK_STR("b")));
}

static void test_file(void **state)
{
    (void)state;
    assert_int_equal(load("\xef\xbb\xbf# a comment\n; another\n\n"
                          "[server]   # here too\n"
                          "path = /rpc ; behind a blank\r\n"
                          "  max_batch=7\t# tab\n"
                          "[store]\n"
                          "dsn = \"sqlite:/tmp/a # \\\"b\\\" \\\\.db\" # not part\n"
                          "[callback]\n"
                          "hosts =\n"
                          "[ method \"Order.*\" ]\n"
                          "timeout = 5s\n"
                          "[method]\n"
                          "threads=4"),
                     0);
    assert_string_equal(opts->path, "/rpc");
    assert_int_equal(opts->max_batch, 7);
    assert_string_equal(opts->store_dsn, "sqlite:/tmp/a # \"b\" \\.db");
    assert_int_equal(opts->method_threads, 4);
    assert_int_equal(opts->n_rules, 1);
    assert_string_equal(opts->rules[0].pattern, "Order.*");
    assert_int_equal(opts->rules[0].timeout_ms, 5000);
    assert_int_equal(load("[store]\ndsn = sqlite:a#b;c.db\n"), 0);
    assert_string_equal(opts->store_dsn, "sqlite:a#b;c.db");
}

static void test_file_faults(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"[server]\npath = x\n", ":2: server.path: 'x' is not a path"},
        {"\n[server]\nmax_body = 2X\n", ":3: server.max_body: '2X' is not a size"},
        {"path = /x\n", ":1: the key stands before the first section"},
        {"[server]\n\n\nno_such = 1\n", ":4: server.no_such: unknown key"},
        {"[nothing]\n", ":1: unknown section"},
        {"[server \"x\"]\n", ":1: unknown section"},
        {"[server\n", ":1: is not a section"},
        {"[server] x\n", ":1: is not a section"},
        {"[method \"x\" y]\n", ":1: is not a section"},
        {"[method \"x]\n", ":1: a quote is not closed"},
        {"[method \"\"]\n", ":1: the pattern is empty or too long"},
        {"[method \"a b\"]\ntimeout=1s\n", ":2: method.\"a b\".timeout: a pattern has"},
        {"[server]\njust words\n", ":2: is neither a section nor"},
        {"[server]\nPath = /x\n", ":2: the key has other characters"},
        {"[server]\n= /x\n", ":2: the key has other characters"},
        {"[delivery]\n2http = no\n", ":2: the key has other characters"},
        {"[delivery]\nhttp2 = maybe\n", ":2: delivery.http2: "},
        {"[server]\npath = \"/x\n", ":2: a quote is not closed"},
        {"[server]\npath = \"/x\" y\n", ":2: something follows the closing quote"},
        {"[server]\npath = \"/\\x\"\n", ":2: a backslash in quotes"},
        {"[server]\npath = /x\n[server]\npath = /y\n", ":4: server.path: is set twice"},
        {"[server]\npath = /x\n  continued\n", ":3: is neither a section nor"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(load(rows[i][0]), RBK_E_CONFIG);
        assert_detail(rows[i][1]);
    }
    assert_int_equal(load_n("[server]\npath = /x\0y\n", 20), RBK_E_CONFIG);
    assert_detail(":2: the line has a NUL byte");
}

/* Nothing is cut: not a long line, a long pattern, nor a long file. */
static void test_file_bounds(void **state)
{
    (void)state;
    size_t n = 0, room = (1 << 20) + 10000;
    char *text = malloc(room);
    n = (size_t)snprintf(text, room, "[delivery]\nca_file = ");
    memset(text + n, 'a', 3900);
    assert_int_equal(load_n(text, n + 3900), 0);
    assert_int_equal(strlen(opts->ca_file), 3900);
    memset(text + n, 'a', 4090);
    assert_int_equal(load_n(text, n + 4090), RBK_E_CONFIG);
    assert_detail(":2: the line is longer than 4096 bytes");

    n = (size_t)snprintf(text, room, "[method \"");
    memset(text + n, 'm', 255);
    snprintf(text + n + 255, room - n - 255, "\"]\ntimeout = 1s\n");
    assert_int_equal(load(text), 0);
    assert_int_equal(strlen(opts->rules[0].pattern), 255);
    memset(text + n, 'm', 256);
    snprintf(text + n + 256, room - n - 256, "\"]\ntimeout = 1s\n");
    assert_int_equal(load(text), RBK_E_CONFIG);

    memset(text, '\n', room);
    assert_int_equal(load_n(text, room), RBK_E_CONFIG);
    assert_detail("is larger than 1048576 bytes");
    free(text);
}

static void test_unreadable_file(void **state)
{
    (void)state;
    assert_int_equal(rbk_options_load(opts, "/nonexistent/ringback.ini", &err), RBK_E_CONFIG);
    assert_detail("/nonexistent/ringback.ini: cannot be read: No such file");
    assert_int_equal(rbk_options_load(opts, "/", &err), RBK_E_CONFIG);
    assert_detail("is not a regular file");
    assert_int_equal(rbk_options_load(opts, "/dev/zero", &err), RBK_E_CONFIG);
    assert_detail("/dev/zero: cannot be read: it is not a regular file");
}

/* Nobody writes to it: a reader that waits would wait for ever. */
static void test_fifo_is_refused(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof name, "/tmp/rbk-options-fifo-%d", (int)getpid());
    assert_int_equal(mkfifo(name, 0600), 0);
    int r = rbk_options_load(opts, name, &err);
    unlink(name);
    assert_int_equal(r, RBK_E_CONFIG);
    assert_detail("is not a regular file");
}

static void test_environment(void **state)
{
    (void)state;
    char *const fine[] = {"PATH=/bin", "RINGBACK=/x/ringback", "RINGBACK_SERVER_MAX_BODY=2M",
                          "RINGBACK_STORE_DSN=sqlite:a=b.db", "RINGBACKUP_X=1", NULL};
    assert_int_equal(rbk_options_env(opts, fine, &err), 0);
    assert_int_equal(opts->max_body, 2 << 20);
    assert_string_equal(opts->store_dsn, "sqlite:a=b.db");
    char *const unknown[] = {"RINGBACK_SERVER_PORT=1", NULL};
    assert_int_equal(rbk_options_env(opts, unknown, &err), RBK_E_CONFIG);
    assert_detail("RINGBACK_SERVER_PORT: server.port: unknown key");
    char *const bad[] = {"RINGBACK_LOG_LEVEL=loud", NULL};
    assert_int_equal(rbk_options_env(opts, bad, &err), RBK_E_CONFIG);
    assert_detail("RINGBACK_LOG_LEVEL: log.level: 'loud'");
    assert_int_equal(rbk_options_env(opts, NULL, &err), 0);
}

static void test_check(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"delivery.ca_only", "yes", "delivery.ca_only"},
        {"delivery.in_flight", "3", "delivery.per_receiver"},
        {"method.max_timeout", "2s", "method.timeout"},
        {"method.\"a\".timeout", "2h", "method.\"a\".timeout"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        teardown(NULL);
        setup(NULL);
        assert_int_equal(set(rows[i][0], rows[i][1]), 0);
        assert_int_equal(rbk_options_check(opts, &err), RBK_E_CONFIG);
        assert_detail(rows[i][2]);
    }
}

static void test_dump_reads_back(void **state)
{
    (void)state;
    rbk_buf first = RBK_BUF(1 << 20), second = RBK_BUF(1 << 20);
    assert_int_equal(set("store.dsn", "sqlite: \"quoted\" # \\ name"), 0);
    assert_int_equal(set("delivery.ca_file", " blanks "), 0);
    assert_int_equal(set("delivery.jitter", "0.000125"), 0);
    assert_int_equal(set("delivery.max_age", "1500ms"), 0);
    assert_int_equal(set("server.max_body", "1048577"), 0);
    assert_int_equal(set("delivery.ca_only", "on"), 0);
    assert_int_equal(set("delivery.http2", "no"), 0);
    assert_int_equal(set("log.level", "debug"), 0);
    assert_int_equal(set("method.\"A.*\".timeout", "3m"), 0);
    assert_int_equal(set("method.\"A.*\".module", "#x.so"), 0);
    rbk_options_dump(opts, &first);
    assert_int_equal(first.err, 0);
    teardown(NULL);
    setup(NULL);
    assert_int_equal(load_n(first.p, first.n), 0);
    assert_string_equal(opts->store_dsn, "sqlite: \"quoted\" # \\ name");
    assert_string_equal(opts->ca_file, " blanks ");
    assert_string_equal(opts->rules[0].module, "#x.so");
    assert_int_equal(opts->max_body, 1048577);
    assert_false(opts->http2);
    rbk_options_dump(opts, &second);
    assert_true(rbk_str_eq(rbk_buf_view(&first), rbk_buf_view(&second)));
    rbk_buf_free(&first);
    rbk_buf_free(&second);
}

static void test_doc(void **state)
{
    (void)state;
    for (int markdown = 0; markdown < 2; markdown++) {
        rbk_buf b = RBK_BUF(1 << 20);
        rbk_options_doc(&b, markdown);
        rbk_buf_c(&b, 0);
        assert_int_equal(b.err, 0);
        assert_non_null(strstr(b.p, markdown ? "| `max_body` | `1M` | 1K to 256M |"
                                             : "  server.max_body=1M\n"));
        assert_non_null(strstr(b.p, markdown ? "### `[method \"pattern\"]`"
                                             : "  method.\"pattern\".module=\n"));
        rbk_buf_free(&b);
    }
}

/* What can change is taken, what cannot is named. */
static void test_reload(void **state)
{
    (void)state;
    rbk_options *fresh = rbk_options_new(), *mine = opts;
    rbk_buf names = RBK_BUF(4096);
    rbk_options_fixed(mine, fresh, &names);
    assert_int_equal(names.n, 0);
    opts = fresh;
    assert_int_equal(set("callback.hosts", "**.example.com"), 0);
    assert_int_equal(set("callback.resolve", "no"), 0);
    assert_int_equal(set("callback.resolve_timeout", "1s"), 0);
    assert_int_equal(set("log.level", "warn"), 0);
    assert_int_equal(set("server.path", "/other"), 0);
    assert_int_equal(set("delivery.jitter", "0.5"), 0);
    assert_int_equal(set("method.\"A.*\".timeout", "3m"), 0);
    opts = mine;
    rbk_options_take(mine, fresh);
    assert_string_equal(mine->hosts, "**.example.com");
    assert_false(mine->resolve);
    assert_int_equal(mine->resolve_ms, 1000);
    assert_int_equal(mine->log_level, RBK_WARN);
    assert_string_equal(mine->path, "/api");
    assert_int_equal(mine->n_rules, 1);
    assert_int_equal(mine->rules[0].timeout_ms, 180000);
    assert_int_equal(fresh->n_rules, 0);
    rbk_options_fixed(mine, fresh, &names);
    rbk_buf_c(&names, 0);
    assert_string_equal(names.p, "server.path, delivery.jitter");
    rbk_buf_free(&names);
    rbk_options_free(fresh);
}

static void test_name_servers(void **state)
{
    (void)state;
    static const char *const good[] = {"", "10.0.0.53", "127.0.0.1:5353", "[::1]:53, 10.0.0.53"};
    static const char *const bad[] = {"ns.example.com", ":53", "1.2.3", "127.0.0.1:99999", "::1", ","};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(set("callback.name_servers", good[i]), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(set("callback.name_servers", bad[i]), RBK_E_CONFIG);
}

static void test_proxy(void **state)
{
    (void)state;
    static const char *const good[] = {"", "http://10.0.0.8:3128", "http://proxy.example:1/",
                                       "http://[::1]:65535"};
    static const char *const bad[] = {
        "proxy.example:3128", "https://proxy.example:3128", "http://proxy.example",
        "http://proxy.example:0", "http://proxy.example:70000", "http://proxy.example:1/x",
        "http://proxy.example:1?x", "http://:3128", "http://::1:3128", "socks5://10.0.0.8:1080",
        "http://1.2.3:80", "http://u:secret@10.0.0.8:3128", "u:secret@10.0.0.8:3128"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(set("delivery.proxy", good[i]), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(set("delivery.proxy", bad[i]), RBK_E_CONFIG);
    assert_non_null(strstr(err.detail, "user info not allowed"));
    assert_null(strstr(err.detail, "secret"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(defaults),    TEST(sizes),       TEST(times),       TEST(switches_and_names),
        TEST(reals),       TEST(texts),       TEST(rules),       TEST(no_rule),
        TEST(file),        TEST(file_faults), TEST(file_bounds), TEST(unreadable_file),
        TEST(fifo_is_refused), TEST(environment), TEST(check), TEST(dump_reads_back), TEST(doc),
        TEST(reload),      TEST(name_servers), TEST(proxy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
