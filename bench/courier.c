/* SPDX-License-Identifier: Apache-2.0 */
/* bench/courier.c - how fast one courier loop delivers: the https transport alone,
 * without engine and store, against a TLS receiver that is already there.
 *
 *     courier URL CA.pem IN_FLIGHT SECONDS [http2]
 *
 * Prints deliveries a second and the processor time of each. To be read beside
 * `wrk -t1 -c IN_FLIGHT -s bench/post.lua URL` in the same minute. */
#include "core/dsn.h"
#include "net/loop.h"
#include "net/tls.h"
#include "transport/transports.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { IN_FLIGHT_MAX = 4096, BODY = 300 };

typedef struct run {
    rbk_loop *loop;
    rbk_transport *t;
    rbk_transport_env env;
    rbk_dsn dsn;
    rbk_attempt *attempts;
    unsigned n, ended;
    uint64_t done, failed, seen; /* `seen` is for the main thread */
    const char *fault;
    bool stop;
    rbk_str body;
} run;

static double cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static bool allow(const struct sockaddr *addr, void *user)
{
    (void)addr;
    (void)user;
    return true;
}

static void on_done(rbk_attempt *a, const rbk_attempt_result *result)
{
    run *r = a->user;
    if (result->err == 0 && result->complete && result->status / 100 == 2) {
        r->done++;
    } else if (!r->stop) {
        r->failed++;
        r->fault = result->err ? rbk_err_name(result->err) : "status";
    }
    if (r->stop || r->failed > 100)
        r->ended++;
    else
        rbk_transport_https.send(r->t, a);
}

static void start(void *arg)
{
    run *r = arg;
    rbk_error err = {0};
    if (rbk_transport_https.open(&r->env, &r->t, &err) < 0) {
        fprintf(stderr, "%s\n", err.detail);
        exit(1);
    }
    for (unsigned i = 0; i < r->n; i++) {
        r->attempts[i] = (rbk_attempt){
            .dsn = r->dsn.text,
            .parsed = &r->dsn,
            .receiver = r->dsn.receiver,
            .job = RBK_STR("0198c5e0-0000-7000-8000-000000000001"),
            .number = 1,
            .now = rbk_wall_now(),
            .body = r->body,
            .allow = allow,
            .done = on_done,
            .user = r,
        };
        rbk_transport_https.send(r->t, &r->attempts[i]);
    }
}

static void look(void *arg)
{
    run *r = arg;
    r->seen = r->done;
}

static void stop(void *arg)
{
    ((run *)arg)->stop = true;
}

static void finish(void *arg)
{
    rbk_transport_https.close(((run *)arg)->t);
}

static void pass(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds,
                         .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static void measure(run *r, double seconds)
{
    pass(0.5); /* the connections are made */
    rbk_loop_call(r->loop, look, r);
    uint64_t done = r->seen, from = rbk_mono_us();
    double cpu = cpu_us();
    pass(seconds);
    rbk_loop_call(r->loop, look, r);
    double n = (double)(r->seen - done), us = (double)(rbk_mono_us() - from);
    printf("in_flight=%u deliveries/s=%.0f cpu_us=%.1f failed=%llu %s\n", r->n, n / us * 1e6,
           (cpu_us() - cpu) / n, (unsigned long long)r->failed, r->fault ? r->fault : "");
}

int main(int argc, char **argv)
{
    static char body[BODY];
    run r = {.env = {.connect_ms = 5000, .total_ms = 15000, .resolve_ms = 1000}};
    rbk_error err = {0};
    rbk_tls *tls = NULL;
    if (argc != 5 && (argc != 6 || strcmp(argv[5], "http2") != 0)) {
        fprintf(stderr, "usage: courier URL CA.pem IN_FLIGHT SECONDS [http2]\n");
        return 2;
    }
    memset(body, 'x', sizeof body);
    r.body = (rbk_str){body, sizeof body};
    r.n = (unsigned)strtoul(argv[3], NULL, 10);
    rbk_tls_client_conf conf = {.ca_file = argv[2]};
    if (r.n == 0 || r.n > IN_FLIGHT_MAX ||
        rbk_dsn_parse(rbk_str_z(argv[1]), RBK_STR("https"), &r.dsn) != RBK_DSN_OK) {
        fprintf(stderr, "courier: bad URL or IN_FLIGHT\n");
        return 2;
    }
    r.attempts = calloc(r.n, sizeof *r.attempts);
    if (r.attempts == NULL || rbk_tls_client_new(&conf, &tls, &err) < 0 ||
        rbk_loop_new("courier", &r.loop, &err) < 0 || rbk_loop_start(r.loop, &err) < 0) {
        fprintf(stderr, "courier: %s\n", err.detail);
        return 1;
    }
    r.env.loop = r.loop;
    r.env.tls = tls;
    r.env.http2 = argc == 6;
    rbk_loop_call(r.loop, start, &r);
    measure(&r, strtod(argv[4], NULL));
    rbk_loop_call(r.loop, stop, &r);
    rbk_loop_call(r.loop, finish, &r);
    rbk_loop_stop(r.loop);
    rbk_loop_free(r.loop);
    rbk_tls_free(tls);
    free(r.attempts);
    return r.failed > 0;
}
