/* SPDX-License-Identifier: Apache-2.0 */
/* The library as an embedder uses it: by ringback.h alone, on the memory store. */
#include "ringback.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { PATIENCE_S = 10 };

/* --- Waiting for one answer ------------------------------------------------------------ */

typedef struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    int count, status;
    char body[4096], jobs[4096];
} answer;

static void on_reply(void *user, const rbk_reply *reply)
{
    answer *a = user;
    pthread_mutex_lock(&a->lock);
    a->count++;
    a->status = reply->status;
    snprintf(a->body, sizeof a->body, "%.*s", (int)reply->body.n, reply->body.n ? reply->body.p : "");
    a->jobs[0] = 0;
    for (size_t i = 0; i < reply->n_headers; i++)
        if (strncmp(reply->headers[i].name.p, "Ringback-Job", 12) == 0)
            snprintf(a->jobs, sizeof a->jobs, "%.*s", (int)reply->headers[i].value.n,
                     reply->headers[i].value.p);
    pthread_cond_signal(&a->come);
    pthread_mutex_unlock(&a->lock);
}

static void wait_for(answer *a)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&a->lock);
    while (a->count == 0)
        assert_int_equal(pthread_cond_timedwait(&a->come, &a->lock, &t), 0);
    pthread_mutex_unlock(&a->lock);
}

static const char *ask(rbk_server *s, const char *body, answer *a)
{
    *a = (answer){.lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};
    assert_int_equal(rbk_server_handle(s, &(rbk_request){.body = {body, strlen(body)}}, on_reply, a),
                     0);
    wait_for(a);
    return a->body;
}

/* --- Methods ------------------------------------------------------------------------------ */

static void echo(rbk_call *call, void *user)
{
    rbk_str p = rbk_call_params(call);
    (void)user;
    rbk_call_result(call, p.p ? p.p : "null", p.p ? p.n : 4);
}

static void sum(rbk_call *call, void *user)
{
    int64_t a, b;
    (void)user;
    if (rbk_param_int(call, "/0", &a) < 0 || rbk_param_int(call, "/1", &b) < 0) {
        rbk_call_bad_param(call, "0", "must be an integer");
        return;
    }
    char text[32];
    rbk_call_result(call, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)(a + b)));
}

static void forget(rbk_call *call, void *user)
{
    (void)call;
    (void)user;
}

static void bad_json(rbk_call *call, void *user)
{
    atomic_int *ret = user;
    *ret = rbk_call_result(call, "{\"a\":", 5);
}

static void twice(rbk_call *call, void *user)
{
    atomic_int *ret = user;
    assert_int_equal(rbk_call_result(call, "1", 1), 0);
    *ret = rbk_call_result(call, "2", 1);
}

static void big(rbk_call *call, void *user)
{
    (void)user;
    size_t n = 3u << 20;
    char *text = malloc(n);
    memset(text, '7', n);
    rbk_call_result(call, text, n);
    free(text);
}

static void build(rbk_call *call, void *user)
{
    (void)user;
    rbk_json *j = rbk_call_json(call);
    rbk_json_object(j);
    rbk_json_key(j, "a");
    rbk_json_array(j);
    rbk_json_int(j, INT64_MIN);
    rbk_json_double(j, 99.99);
    rbk_json_double(j, 0.1 + 0.2);
    rbk_json_bool(j, true);
    rbk_json_null(j);
    rbk_json_text(j, "q\"\n");
    rbk_json_raw(j, (rbk_str){"[1]", 3});
    rbk_json_end(j);
    rbk_json_end(j);
    rbk_call_result_json(call, j);
}

static void build_badly(rbk_call *call, void *user)
{
    (void)user;
    rbk_json *j = rbk_call_json(call);
    rbk_json_object(j);
    rbk_json_int(j, 1); /* a value without a key */
    rbk_json_end(j);
    rbk_call_result_json(call, j);
}

typedef struct later {
    pthread_mutex_t lock;
    rbk_call *call;
} later;

static void keep(rbk_call *call, void *user)
{
    later *l = user;
    pthread_mutex_lock(&l->lock);
    l->call = rbk_call_ref(call);
    pthread_mutex_unlock(&l->lock);
}

static rbk_call *kept(later *l)
{
    for (int i = 0; i < PATIENCE_S * 1000; i++) {
        pthread_mutex_lock(&l->lock);
        rbk_call *c = l->call;
        pthread_mutex_unlock(&l->lock);
        if (c)
            return c;
        usleep(1000);
    }
    fail_msg("the method did not run");
    return NULL;
}

/* --- The server ------------------------------------------------------------------------------ */

typedef struct fixture {
    rbk_server *s;
    atomic_int bad_json, twice;
    later later;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->later.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    f->s = rbk_server_new();
    assert_int_equal(rbk_server_set(f->s, "server.listen", "127.0.0.1:0"), 0);
    assert_int_equal(rbk_server_set(f->s, "store.dsn", "memory:"), 0);
    assert_int_equal(rbk_server_set(f->s, "callback.resolve", "no"), 0); /* no name server is asked */
    assert_int_equal(rbk_server_set(f->s, "method.threads", "2"), 0);
    assert_int_equal(rbk_server_set(f->s, "server.drain", "1s"), 0);
    const rbk_method methods[] = {
        {.name = "echo", .fn = echo, .flags = RBK_METHOD_INLINE},
        {.name = "sum", .fn = sum},
        {.name = "forget", .fn = forget},
        {.name = "bad_json", .fn = bad_json, .user = &f->bad_json},
        {.name = "twice", .fn = twice, .user = &f->twice},
        {.name = "big", .fn = big},
        {.name = "build", .fn = build},
        {.name = "build_badly", .fn = build_badly},
        {.name = "keep", .fn = keep, .user = &f->later},
        {.name = "keep_inline", .fn = keep, .user = &f->later, .flags = RBK_METHOD_INLINE},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        assert_int_equal(rbk_server_method(f->s, &methods[i]), 0);
    if (rbk_server_start(f->s) < 0)
        fail_msg("%s", rbk_server_error(f->s));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    rbk_server_free(f->s);
    free(f);
    return 0;
}

static void test_answers(void **state)
{
    fixture *f = *state;
    answer a;
    assert_string_equal(ask(f->s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sum\",\"params\":[40,2]}", &a),
                        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":42}");
    assert_int_equal(a.status, 200);
    assert_string_equal(ask(f->s, "{\"id\":1.50,\"method\":\"echo\",\"params\":{\"n\":1E5}}", &a),
                        "{\"id\":1.50,\"result\":{\"n\":1E5}}");
    assert_string_equal(ask(f->s, "[{\"id\":1,\"method\":\"sum\",\"params\":[1,2]},{\"id\":2,\"method\":\"echo\"},"
                                  "{\"method\":\"echo\"},{\"id\":3,\"method\":\"nope\"}]", &a),
                        "[{\"id\":1,\"result\":3},{\"id\":2,\"result\":null},"
                        "{\"id\":3,\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}]");
    assert_string_equal(ask(f->s, "{\"method\":\"sum\",\"params\":[1,2]}", &a), "");
    assert_int_equal(a.status, 204);
}

/* The method may still be on its way out when its answer is here. */
static void wait_for_value(atomic_int *at, int value)
{
    for (int i = 0; i < PATIENCE_S * 1000 && *at != value; i++)
        usleep(1000);
    assert_int_equal(*at, value);
}

static void test_faults_of_methods(void **state)
{
    fixture *f = *state;
    answer a;
    const char *internal = "{\"id\":1,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}";
    assert_string_equal(ask(f->s, "{\"id\":1,\"method\":\"forget\"}", &a), internal);
    assert_string_equal(ask(f->s, "{\"id\":1,\"method\":\"bad_json\"}", &a), internal);
    wait_for_value(&f->bad_json, RBK_E_PARSE);
    assert_string_equal(ask(f->s, "{\"id\":1,\"method\":\"twice\"}", &a), "{\"id\":1,\"result\":1}");
    assert_string_equal(ask(f->s, "{\"id\":1,\"method\":\"big\"}", &a),
                        "{\"id\":1,\"error\":{\"code\":-32008,\"message\":\"Result too large\"}}");
    assert_string_equal(ask(f->s, "{\"id\":1,\"method\":\"sum\",\"params\":[\"x\"]}", &a),
                        "{\"id\":1,\"error\":{\"code\":-32602,\"message\":\"Invalid params\","
                        "\"data\":{\"0\":\"must be an integer\"}}}");
    wait_for_value(&f->twice, RBK_E_STATE);
}

static void test_builder(void **state)
{
    fixture *f = *state;
    answer a;
    assert_string_equal(ask(f->s, "{\"id\":1,\"method\":\"build\"}", &a),
                        "{\"id\":1,\"result\":{\"a\":[-9223372036854775808,99.99,0.30000000000000004,"
                        "true,null,\"q\\\"\\n\",[1]]}}");
    assert_string_equal(ask(f->s, "{\"id\":1,\"method\":\"build_badly\"}", &a),
                        "{\"id\":1,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}");
}

static void answer_later(fixture *f, const char *method)
{
    answer a = {.lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};
    char body[128];
    f->later.call = NULL;
    snprintf(body, sizeof body, "{\"id\":1,\"method\":\"%s\"}", method);
    rbk_server_handle(f->s, &(rbk_request){.body = {body, strlen(body)}}, on_reply, &a);
    rbk_call *c = kept(&f->later);
    assert_null(rbk_call_job(c));
    assert_int_equal(a.count, 0);
    assert_int_equal(rbk_call_result(c, "\"later\"", 7), 0);
    rbk_call_unref(c);
    wait_for(&a);
    assert_string_equal(a.body, "{\"id\":1,\"result\":\"later\"}");
}

static void test_answers_later(void **state)
{
    answer_later(*state, "keep");
    answer_later(*state, "keep_inline");
}

static void test_time_out_and_late_answer(void **state)
{
    fixture *f = *state;
    answer a;
    rbk_stats stats;
    f->later.call = NULL;
    assert_string_equal(ask(f->s, "{\"id\":1,\"method\":\"keep\",\"params\":{\"$rpc.timeout\":0.1}}", &a),
                        "{\"id\":1,\"error\":{\"code\":-32002,\"message\":\"Timed out\"}}");
    rbk_call *c = kept(&f->later);
    assert_true(rbk_call_cancelled(c));
    assert_int_equal(rbk_call_result(c, "1", 1), RBK_E_STATE);
    rbk_call_unref(c);
    rbk_server_stats(f->s, &stats);
    assert_int_equal(stats.late, 1);
}

static void test_answer_after_the_stop(void **state)
{
    fixture *f = *state;
    answer a = {.lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};
    const char *body = "{\"id\":1,\"method\":\"keep_inline\"}";
    f->later.call = NULL;
    rbk_server_handle(f->s, &(rbk_request){.body = {body, strlen(body)}}, on_reply, &a);
    rbk_call *c = kept(&f->later);
    rbk_server_free(f->s);
    f->s = NULL;
    wait_for(&a); /* the client was told */
    assert_string_equal(a.body, "{\"id\":1,\"error\":{\"code\":-32004,\"message\":\"Interrupted\"}}");
    assert_int_equal(rbk_call_result(c, "1", 1), RBK_E_STATE);
    assert_int_equal(a.count, 1);
    rbk_call_unref(c);
}

/* --- Jobs --------------------------------------------------------------------------------------- */

#define LATER "\"$rpc.callback\":\"https://example.com/x\",\"$rpc.delay\":3600"

static void on_job(void *user, const rbk_job_info *info)
{
    answer *a = user;
    pthread_mutex_lock(&a->lock);
    a->count++;
    snprintf(a->body, sizeof a->body, "%s", info ? info->state : "none");
    pthread_cond_signal(&a->come);
    pthread_mutex_unlock(&a->lock);
}

static void test_a_job_is_acknowledged_and_found(void **state)
{
    fixture *f = *state;
    answer a, found = {.lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};
    rbk_stats stats;
    assert_string_equal(ask(f->s, "{\"id\":\"x\",\"method\":\"echo\",\"params\":{" LATER "}}", &a),
                        "{\"id\":\"x\",\"result\":{\"callback\":{\"url\":\"https://example.com/x\","
                        "\"status\":true,\"data\":[]}}}");
    assert_int_equal(strlen(a.jobs), 36);
    assert_int_equal(rbk_server_job(f->s, a.jobs, on_job, &found), 0);
    wait_for(&found);
    assert_string_equal(found.body, "QUEUED");
    rbk_server_stats(f->s, &stats);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.pending, 1);
    assert_int_equal(rbk_server_job(f->s, "no id", on_job, &found), RBK_E_INVAL);
}

static void test_job_ids_rise(void **state)
{
    fixture *f = *state;
    answer a;
    char last[64] = "";
    for (int i = 0; i < 100; i++) {
        ask(f->s, "{\"id\":1,\"method\":\"echo\",\"params\":{" LATER "}}", &a);
        assert_true(strcmp(a.jobs, last) > 0);
        snprintf(last, sizeof last, "%.36s", a.jobs);
    }
}

static void test_misuse(void **state)
{
    fixture *f = *state;
    assert_int_equal(rbk_server_start(f->s), RBK_E_STATE);
    assert_int_equal(rbk_server_set(f->s, "server.path", "/x"), RBK_E_STATE);
    assert_int_equal(rbk_server_method(f->s, &(rbk_method){.name = "x", .fn = echo}), RBK_E_STATE);
    rbk_server *s = rbk_server_new();
    assert_int_equal(rbk_server_set(s, "no.such", "1"), RBK_E_CONFIG);
    assert_non_null(strstr(rbk_server_error(s), "no.such"));
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "rpc.x", .fn = echo}), RBK_E_INVAL);
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "x", .fn = echo}), 0);
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "x", .fn = echo}), RBK_E_STATE);
    rbk_server_free(s);
}

/* --- Reload ----------------------------------------------------------------------------------- */

static rbk_server *fresh_with(const char *key, const char *value)
{
    rbk_server *fresh = rbk_server_new();
    assert_non_null(fresh);
    assert_int_equal(rbk_server_set(fresh, "callback.resolve", "no"), 0);
    assert_int_equal(rbk_server_set(fresh, key, value), 0);
    return fresh;
}

static void test_reload(void **state)
{
    fixture *f = *state;
    static const char body[] = "{\"id\":1,\"method\":\"echo\",\"params\":{\"$rpc.callback\":"
                               "\"https://hooks.example.com/x\",\"$rpc.delay\":1000}}";
    answer a;
    assert_non_null(strstr(ask(f->s, body, &a), "\"status\":true"));
    rbk_server *fresh = fresh_with("callback.hosts", "**.example.org");
    assert_int_equal(rbk_server_reload(f->s, fresh), 0);
    assert_int_equal(rbk_server_reload(f->s, fresh), RBK_E_STATE); /* used up */
    assert_int_equal(rbk_server_start(fresh), RBK_E_STATE);
    rbk_server_free(fresh);
    assert_non_null(strstr(ask(f->s, body, &a), "host not allowed"));
    assert_int_equal(rbk_server_reload(f->s, NULL), 0); /* the keys alone */
    assert_non_null(strstr(ask(f->s, body, &a), "host not allowed"));
    fresh = fresh_with("method.timeout", "2h"); /* more than method.max_timeout */
    assert_int_equal(rbk_server_reload(f->s, fresh), RBK_E_CONFIG);
    assert_non_null(strstr(rbk_server_error(f->s), "method.timeout"));
    rbk_server_free(fresh);
    assert_non_null(strstr(ask(f->s, body, &a), "host not allowed"));
    fresh = fresh_with("callback.hosts", "");
    assert_int_equal(rbk_server_reload(fresh, NULL), RBK_E_STATE);
    assert_int_equal(rbk_server_reload(f->s, fresh), 0);
    rbk_server_free(fresh);
    assert_non_null(strstr(ask(f->s, body, &a), "\"status\":true"));
    assert_int_equal(rbk_server_reload(f->s, f->s), RBK_E_STATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_faults_of_methods, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_builder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answers_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time_out_and_late_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answer_after_the_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_job_is_acknowledged_and_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_job_ids_rise, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reload, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misuse, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
