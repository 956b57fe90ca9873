/* SPDX-License-Identifier: Apache-2.0 */
/* examples/embed.c - a whole server with one method that answers later.
 *     cc embed.c -o embed $(pkg-config --cflags --libs ringback) -lpthread && ./embed
 *     curl http://127.0.0.1:7600/api -H 'Content-Type: application/json' \
 *          -d '{"id":1,"method":"report.make","params":{"pages":3}}'
 * Put "$rpc.callback": "https://…" into the params and the answer goes there instead. */
#define _POSIX_C_SOURCE 200809L
#include <ringback.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void *make_report(void *arg)
{
    rbk_call *call = arg;
    int64_t pages = 1;
    rbk_param_int(call, "/pages", &pages);
    pthread_detach(pthread_self());
    sleep(2); /* the slow part */
    char json[40];
    int n = snprintf(json, sizeof json, "{\"pages\":%lld}", (long long)pages);
    rbk_call_result(call, json, (size_t)n);
    rbk_call_unref(call);
    return NULL;
}

static void report(rbk_call *call, void *user)
{
    pthread_t thread;
    (void)user;
    if (pthread_create(&thread, NULL, make_report, rbk_call_ref(call)) != 0)
        rbk_call_unref(call); /* unanswered: the caller gets -32603 */
}

static void log_line(void *user, rbk_log_level level, const char *line)
{
    (void)user, (void)level;
    fprintf(stderr, "%s\n", line);
}

int main(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* before the server makes its threads */
    rbk_server *s = rbk_server_new();
    rbk_server_log(s, log_line, NULL);
    int up = rbk_server_set(s, "store.dsn", "sqlite:embed.db") == 0 &&
             rbk_server_method(s, &(rbk_method){.name = "report.make", .fn = report}) == 0 &&
             rbk_server_start(s) == 0;
    if (up)
        sigwaitinfo(&set, NULL);
    else
        fprintf(stderr, "embed: %s\n", rbk_server_error(s));
    rbk_server_free(s); /* stops first */
    return up ? 0 : 1;
}
