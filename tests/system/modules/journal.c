/* SPDX-License-Identifier: Apache-2.0 */
/* tests/system/modules/journal.c - the methods that the system tests call.
 *
 * test.journal appends "job run wall_ns\n" to the file named by RBK_JOURNAL and syncs
 * it, then returns its params: the file is the witness of what ran, and when. The
 * others answer from another thread, crash, or are the fixtures of the JSON-RPC
 * specification's examples. Uses nothing but ringback.h. Runs on method threads. */
#include "ringback.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int journal_fd = -1;

static int64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void answer_params(rbk_call *call)
{
    rbk_str p = rbk_call_params(call);
    if (p.p)
        rbk_call_result(call, p.p, p.n);
    else
        rbk_call_result(call, "null", 4);
}

/* One write is one line: O_APPEND keeps the lines of several threads apart. */
static bool write_journal(rbk_call *call)
{
    char line[128];
    const char *job = rbk_call_job(call);
    int n = snprintf(line, sizeof line, "%s %u %lld\n", job ? job : "-", rbk_call_run(call),
                     (long long)wall_ns());
    return write(journal_fd, line, (size_t)n) == n && fdatasync(journal_fd) == 0;
}

static void run_journal(rbk_call *call, void *user)
{
    (void)user;
    if (journal_fd >= 0 && !write_journal(call)) {
        rbk_call_error(call, 1, "the journal cannot be written", NULL);
        return;
    }
    answer_params(call);
}

static void run_echo(rbk_call *call, void *user)
{
    (void)user;
    answer_params(call);
}

/* {"job": the job id or null, "run": 1, 2 …} */
static void run_whoami(rbk_call *call, void *user)
{
    (void)user;
    rbk_json *j = rbk_call_json(call);
    rbk_json_object(j);
    rbk_json_key(j, "job");
    if (rbk_call_job(call))
        rbk_json_text(j, rbk_call_job(call));
    else
        rbk_json_null(j);
    rbk_json_key(j, "run");
    rbk_json_int(j, rbk_call_run(call));
    rbk_json_end(j);
    rbk_call_result_json(call, j);
}

static void sleep_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0)
        ;
}

/* Writes the journal first, then stays: what a kill interrupts. */
static void run_linger(rbk_call *call, void *user)
{
    int64_t ms = 0;
    rbk_param_int(call, "/ms", &ms);
    if (journal_fd >= 0)
        write_journal(call);
    if (rbk_call_run(call) == 1)
        sleep_ms(ms);
    run_whoami(call, user);
}

/* Dies as by a fault of its own, at once and without a trace. */
static void run_crash(rbk_call *call, void *user)
{
    (void)user;
    if (journal_fd >= 0)
        write_journal(call);
    raise(SIGKILL);
}

static void *answer_late(void *arg)
{
    rbk_call *call = arg;
    int64_t ms = 0;
    rbk_param_int(call, "/ms", &ms);
    sleep_ms(ms);
    answer_params(call);
    rbk_call_unref(call);
    return NULL;
}

/* Answers from a thread of its own after params.ms. */
static void run_late(rbk_call *call, void *user)
{
    (void)user;
    pthread_t t;
    if (pthread_create(&t, NULL, answer_late, rbk_call_ref(call)) != 0) {
        rbk_call_unref(call);
        rbk_call_error(call, 2, "no thread", NULL);
        return;
    }
    pthread_detach(t);
}

/* Reports 1 to params.steps, params.ms apart, and answers with what became of them. */
static void run_progress(rbk_call *call, void *user)
{
    (void)user;
    int64_t steps = 0, ms = 0, faults = 0;
    char text[64];
    rbk_param_int(call, "/steps", &steps);
    rbk_param_int(call, "/ms", &ms);
    for (int64_t i = 1; i <= steps && !rbk_call_cancelled(call); i++) {
        snprintf(text, sizeof text, "step %lld, \"%s\"", (long long)i, "\303\244\n");
        faults += rbk_call_progress(call, (double)i / 2, (double)steps / 2, text) != 0;
        sleep_ms(ms);
    }
    int n = snprintf(text, sizeof text, "{\"steps\":%lld,\"faults\":%lld}", (long long)steps,
                     (long long)faults);
    rbk_call_result(call, text, (size_t)n);
}

/* A result of params.bytes bytes. */
static void run_big(rbk_call *call, void *user)
{
    (void)user;
    int64_t n = 0;
    if (rbk_param_int(call, "/bytes", &n) < 0 || n < 2 || n > 16 << 20) {
        rbk_call_bad_param(call, "bytes", "must be 2 to 16777216");
        return;
    }
    char *text = malloc((size_t)n);
    if (text == NULL) {
        rbk_call_error(call, 3, "no memory", NULL);
        return;
    }
    memset(text, 'x', (size_t)n);
    text[0] = text[n - 1] = '"';
    rbk_call_result(call, text, (size_t)n);
    free(text);
}

/* --- the methods of the specification's examples ------------------------------- */

static void answer_int(rbk_call *call, int64_t v)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%lld", (long long)v);
    rbk_call_result(call, text, (size_t)n);
}

static void run_subtract(rbk_call *call, void *user)
{
    (void)user;
    int64_t a, b;
    rbk_str more;
    bool list = rbk_param_int(call, "/0", &a) == 0 && rbk_param_int(call, "/1", &b) == 0 &&
                rbk_param_raw(call, "/2", &more) == RBK_E_NOTFOUND;
    if (!list && (rbk_param_int(call, "/minuend", &a) < 0 || rbk_param_int(call, "/subtrahend", &b) < 0)) {
        rbk_call_bad_param(call, "params", "two integers are wanted");
        return;
    }
    answer_int(call, a - b);
}

static void run_sum(rbk_call *call, void *user)
{
    (void)user;
    int64_t sum = 0, v;
    char pointer[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(pointer, sizeof pointer, "/%d", i);
        int r = rbk_param_int(call, pointer, &v);
        if (r == RBK_E_NOTFOUND)
            break;
        if (r < 0) {
            rbk_call_bad_param(call, "params", "must be integers");
            return;
        }
        sum += v;
    }
    answer_int(call, sum);
}

static void run_get_data(rbk_call *call, void *user)
{
    (void)user;
    rbk_call_result(call, "[\"hello\",5]", 11);
}

int RBK_MODULE_INIT(rbk_module *m);

RBK_API int RBK_MODULE_INIT(rbk_module *m)
{
    static const rbk_method methods[] = {
        {.name = "test.journal", .fn = run_journal}, {.name = "test.echo", .fn = run_echo},
        {.name = "test.whoami", .fn = run_whoami},   {.name = "test.linger", .fn = run_linger},
        {.name = "test.crash", .fn = run_crash},     {.name = "test.late", .fn = run_late},
        {.name = "test.progress", .fn = run_progress},
        {.name = "test.big", .fn = run_big},         {.name = "subtract", .fn = run_subtract},
        {.name = "sum", .fn = run_sum},              {.name = "get_data", .fn = run_get_data},
        {.name = "update", .fn = run_echo},          {.name = "notify_hello", .fn = run_echo},
        {.name = "notify_sum", .fn = run_echo},
    };
    if (rbk_module_abi(m) != RBK_MODULE_ABI)
        return -1;
    const char *path = getenv("RBK_JOURNAL");
    if (path && (journal_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
        return -1;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (rbk_module_method(m, &methods[i]) < 0)
            return -1;
    return 0;
}
