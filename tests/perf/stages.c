/* SPDX-License-Identifier: Apache-2.0 */
/* tests/perf/stages.c - one stage of a job's way, over and over with a fixed input, on one
 * thread, for its instructions to be counted. The counting begins and ends with run_stage().
 *
 *   stages request|admit|delivery ROUNDS
 *
 * request: the bytes of one HTTP request, its JSON-RPC body, and the acknowledgement.
 * admit: both checks of its callback, and the job as the store gets it.
 * delivery: where it goes, and the bytes of the receiver's answer. */
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "core/dsn.h"
#include "core/envelope.h"
#include "core/rpc.h"
#include "net/http_parse.h"
#include "net/http_response.h"
#include "ringback/store.h"

#define BODY                                                                                       \
    "{\"id\":\"example_order\",\"method\":\"OrderService.processOrder\",\"params\":{\"orderId\":"  \
    "\"12345\",\"note\":\"0123456789012345678901234567890123456789\",\"$rpc.callback\":"           \
    "\"https://example.com/order/callback\"}}"

static const char request[] = "POST /api HTTP/1.1\r\nHost: 127.0.0.1:7600\r\n"
                              "Content-Type: application/json\r\nContent-Length: 178\r\n\r\n";
static const char body[] = BODY;
static const char answer[] = "HTTP/1.1 204 No Content\r\nServer: nginx\r\n"
                             "Date: Wed, 25 Nov 2026 17:00:00 GMT\r\nConnection: keep-alive\r\n\r\n";
static const rbk_http_conf http = {
    .max_body = 1 << 20, .max_line = 8192, .max_head = 32 << 10, .max_fields = 100};
static const rbk_rpc_limits limits = {.max_batch = 100, .max_timeout_ms = 3600000};
static rbk_rpc_doc *doc;

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "stages: %s\n", what);
    exit(1);
}

static void read_request(void)
{
    rbk_http_head head = {0};
    rbk_rpc_doc *d = NULL;
    rbk_buf out = RBK_BUF(4096);
    size_t used;
    rbk_http_head_reset(&head, &http);
    require(rbk_http_head_feed(&head, &http, rbk_str_z(request), &used) == RBK_HTTP_DONE, "head");
    require(rbk_rpc_parse(rbk_str_z(body), &limits, &d) == 0 && d->items[0].err == 0, "body");
    rbk_write_ack(&out, (rbk_to){d->items[0].id, false}, d->items[0].svc.callback, RBK_STR_NONE);
    require(rbk_buf_err(&out) == 0, "acknowledgement");
    rbk_buf_free(&out);
    rbk_rpc_free(d);
    rbk_http_head_free(&head);
}

static void make_job(void)
{
    const rbk_rpc_item *it = &doc->items[0];
    rbk_dsn dsn;
    require(rbk_dsn_parse(it->svc.callback, RBK_STR("https,wss"), &dsn) == RBK_DSN_OK, "callback");
    rbk_job *job = rbk_job_copy(&(rbk_job){.state = 1, .method = it->method, .rpc_id = it->id,
                                           .params = it->params, .callback = it->svc.callback});
    require(job != NULL, "job");
    rbk_job_free(job);
}

static void read_answer(void)
{
    rbk_response r = {0};
    rbk_dsn dsn;
    require(rbk_dsn_parse(doc->items[0].svc.callback, RBK_STR("https"), &dsn) == RBK_DSN_OK, "callback");
    rbk_response_init(&r);
    require(rbk_response_feed(&r, answer, sizeof answer - 1) == 0 && r.done && r.clean, "answer");
}

__attribute__((noinline)) static void run_stage(void (*stage)(void), int rounds)
{
    for (int i = 0; i < rounds; i++)
        stage();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(void);
    } stages[] = {{"request", read_request}, {"admit", make_job}, {"delivery", read_answer}};
    require(argc == 3, "usage: stages request|admit|delivery ROUNDS");
    require(rbk_rpc_parse(rbk_str_z(body), &limits, &doc) == 0, "body");
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        if (strcmp(stages[i].name, argv[1]) != 0)
            continue;
        stages[i].fn(); /* what is made once */
        run_stage(stages[i].fn, atoi(argv[2]));
    }
    rbk_rpc_free(doc);
    return 0;
}
