/* SPDX-License-Identifier: Apache-2.0 */
/* front/front_numbers.c - see front_numbers.h. Counters are relaxed: each is right by itself. All
 * label values are written out here, so that peers cannot make new ones. */
#include "front/front_numbers.h"

#include <math.h>
#include <stdio.h>

const double rbk_duration_bounds[RBK_DURATION_BUCKETS] = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, INFINITY,
};

static const char *const refusals[RBK_REFUSALS] = {
#define REFUSAL(sym, label) label,
    RBK_REFUSAL_MAP(REFUSAL)
#undef REFUSAL
};

static const char *const kinds[RBK_EXCHANGE_KINDS] = {
#define KIND(sym, label) label,
    RBK_EXCHANGE_KIND_MAP(KIND)
#undef KIND
};

static const char *const statuses[RBK_HTTP_STATUSES] = {
#define STATUS(n) #n,
    RBK_HTTP_STATUS_MAP(STATUS) "other",
#undef STATUS
};

void rbk_front_numbers_answered(rbk_front_numbers *n, rbk_exchange_kind kind, uint64_t us)
{
    size_t i = 0;
    while (i < RBK_DURATION_BUCKETS - 1 && (double)us > rbk_duration_bounds[i] * 1e6)
        i++;
    rbk_count(&n->durations[kind][i], 1);
    rbk_count(&n->duration_us[kind], us);
}

void rbk_front_numbers_sum(const rbk_front_numbers *n, rbk_front_metrics *ret)
{
    for (size_t i = 0; i < RBK_HTTP_STATUSES; i++)
        ret->answers[i] += rbk_count_now(&n->http.answers[i]);
    ret->accepted += rbk_count_now(&n->http.accepted);
    ret->bytes_in += rbk_count_now(&n->http.bytes_in);
    ret->bytes_out += rbk_count_now(&n->http.bytes_out);
    for (size_t i = 0; i < RBK_REFUSALS; i++)
        ret->refused[i] += rbk_count_now(&n->refused[i]);
    for (size_t k = 0; k < RBK_EXCHANGE_KINDS; k++) {
        for (size_t i = 0; i < RBK_DURATION_BUCKETS; i++)
            ret->durations[k][i] += rbk_count_now(&n->durations[k][i]);
        ret->duration_sum[k] += (double)rbk_count_now(&n->duration_us[k]) / 1e6;
    }
}

static void add_family(rbk_buf *b, const char *name, const char *type, const char *help)
{
    rbk_buf_addf(b, "# HELP ringback_%s %s\n# TYPE ringback_%s %s\n", name, help, name, type);
}

static void add_one(rbk_buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    add_family(b, name, type, help);
    rbk_buf_addf(b, "ringback_%s %llu\n", name, (unsigned long long)v);
}

static void add_labelled(rbk_buf *b, const char *name, const char *label, const char *value, uint64_t v)
{
    rbk_buf_addf(b, "ringback_%s{%s=\"%s\"} %llu\n", name, label, value, (unsigned long long)v);
}

static void add_durations(rbk_buf *b, const rbk_front_metrics *m, size_t kind)
{
    static const char name[] = "request_duration_seconds";
    uint64_t sum = 0;
    for (size_t i = 0; i < RBK_DURATION_BUCKETS; i++) {
        char bound[16] = "+Inf";
        sum += m->durations[kind][i];
        if (!isinf(rbk_duration_bounds[i]))
            snprintf(bound, sizeof bound, "%g", rbk_duration_bounds[i]);
        rbk_buf_addf(b, "ringback_%s_bucket{kind=\"%s\",le=\"%s\"} %llu\n", name, kinds[kind], bound,
                     (unsigned long long)sum);
    }
    rbk_buf_addf(b, "ringback_%s_sum{kind=\"%s\"} %.6f\nringback_%s_count{kind=\"%s\"} %llu\n", name,
                 kinds[kind], m->duration_sum[kind], name, kinds[kind], (unsigned long long)sum);
}

void rbk_front_write_metrics(rbk_buf *b, const rbk_front_metrics *m)
{
    add_family(b, "http_requests_total", "counter", "HTTP requests answered, by status.");
    for (size_t i = 0; i < RBK_HTTP_STATUSES; i++)
        add_labelled(b, "http_requests_total", "status", statuses[i], m->answers[i]);
    add_family(b, "refused_total", "counter",
               "Connections and requests refused as a whole, by reason.");
    for (size_t i = 0; i < RBK_REFUSALS; i++)
        add_labelled(b, "refused_total", "reason", refusals[i], m->refused[i]);
    add_one(b, "connections", "gauge", "Connections of clients that are open.", m->open);
    add_one(b, "websockets", "gauge", "Those of them that are websockets.", m->websockets);
    add_one(b, "connections_accepted_total", "counter", "Connections of clients that got a place.",
            m->accepted);
    add_one(b, "received_bytes_total", "counter", "Bytes from clients, without TLS.", m->bytes_in);
    add_one(b, "sent_bytes_total", "counter", "Bytes to clients, without TLS.", m->bytes_out);
    add_family(b, "request_duration_seconds", "histogram",
               "From a whole request body to its answer, by what it asked for.");
    for (size_t k = 0; k < RBK_EXCHANGE_KINDS; k++)
        add_durations(b, m, k);
}

void rbk_front_write_stats(rbk_buf *b, const rbk_front_metrics *m)
{
    rbk_buf_addf(b, ",\"connections\":%llu,\"websockets\":%llu,\"connections_accepted\":%llu,\"received_bytes\":%llu,"
                    "\"sent_bytes\":%llu",
                 (unsigned long long)m->open, (unsigned long long)m->websockets, (unsigned long long)m->accepted,
                 (unsigned long long)m->bytes_in, (unsigned long long)m->bytes_out);
    rbk_buf_lit(b, ",\"http_requests\":{");
    for (size_t i = 0; i < RBK_HTTP_STATUSES; i++)
        rbk_buf_addf(b, "%s\"%s\":%llu", i ? "," : "", statuses[i], (unsigned long long)m->answers[i]);
    rbk_buf_lit(b, "},\"refused_requests\":{");
    for (size_t i = 0; i < RBK_REFUSALS; i++)
        rbk_buf_addf(b, "%s\"%s\":%llu", i ? "," : "", refusals[i], (unsigned long long)m->refused[i]);
    rbk_buf_c(b, '}');
}
