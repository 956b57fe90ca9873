/* SPDX-License-Identifier: Apache-2.0 */
/* front/admin_write.c - jobs, receivers and numbers as JSON, and the numbers as Prometheus
 * text (version 0.0.4): every family with HELP and TYPE. Pure; any thread. */
#include "front/admin_impl.h"

#include "base/clock.h"
#include "base/id.h"
#include "core/job_state.h"
#include "transport/version.h"

#include <math.h>

void rbk_admin_write_i64(rbk_buf *b, int64_t v)
{
    rbk_buf_addf(b, "%lld", (long long)v);
}

/* --- Jobs -------------------------------------------------------------------------------- */

static void add_text(rbk_buf *b, const char *name, rbk_str s)
{
    rbk_buf_addf(b, ",\"%s\":", name);
    if (s.p)
        rbk_buf_json_str(b, s);
    else
        rbk_buf_lit(b, "null");
}

/* JSON that the job keeps as text. */
static void add_value(rbk_buf *b, const char *name, rbk_str json)
{
    rbk_buf_addf(b, ",\"%s\":", name);
    rbk_buf_str(b, json.p ? json : RBK_STR("null"));
}

static void add_number(rbk_buf *b, const char *name, int64_t v)
{
    rbk_buf_addf(b, ",\"%s\":%lld", name, (long long)v);
}

static void add_time(rbk_buf *b, const char *name, rbk_wall_ms t)
{
    char text[25];
    if (t > 0)
        rbk_wall_format(t, text);
    add_text(b, name, t > 0 ? rbk_str_z(text) : RBK_STR_NONE);
}

void rbk_admin_write_job(rbk_buf *b, const rbk_job *job, bool whole)
{
    char id[RBK_ID_TEXT + 1];
    rbk_dsn dsn;
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, id);
    bool known = job->callback.p && rbk_dsn_parse(job->callback, RBK_STR("https,wss"), &dsn) == 0;
    rbk_buf_addf(b, "{\"job\":\"%s\",\"state\":\"%s\"", id,
                 rbk_job_state_name((rbk_job_state)job->state));
    add_text(b, "method", job->method);
    add_value(b, "id", job->rpc_id);
    add_text(b, "receiver", known ? rbk_str_z(dsn.receiver) : RBK_STR_NONE);
    add_text(b, "callback", job->callback);
    add_text(b, "caller", job->caller);
    add_time(b, "created", job->created);
    add_time(b, "due", job->due);
    add_time(b, "first_attempt", job->first_attempt);
    add_number(b, "runs", job->runs);
    add_number(b, "attempts", job->attempts);
    add_number(b, "last_status", job->last_status);
    add_text(b, "reason", job->reason);
    if (whole) {
        add_text(b, "ray_id", job->ray_id);
        add_text(b, "lane", job->lane);
        add_text(b, "failure_callback", job->failure_callback);
        add_number(b, "timeout_ms", job->timeout_ms);
        add_time(b, "deadline", job->deadline);
        add_value(b, "params", job->params);
        add_value(b, "response", job->response);
    }
    rbk_buf_c(b, '}');
}

void rbk_admin_write_notes(rbk_buf *b, const rbk_attempt_note *notes, size_t n)
{
    rbk_buf_c(b, '[');
    for (size_t i = 0; i < n; i++) {
        rbk_buf_addf(b, "%s{\"number\":%u", i ? "," : "", (unsigned)notes[i].number);
        add_time(b, "at", notes[i].at);
        add_number(b, "ms", notes[i].ms);
        add_number(b, "status", notes[i].status);
        add_text(b, "reason", rbk_str_z(notes[i].reason));
        add_text(b, "address", rbk_str_z(notes[i].host));
        rbk_buf_c(b, '}');
    }
    rbk_buf_c(b, ']');
}

void rbk_admin_write_receiver(rbk_buf *b, const rbk_receiver_info *r)
{
    rbk_buf_lit(b, "{\"receiver\":");
    rbk_buf_json_str(b, rbk_str_z(r->name));
    rbk_buf_addf(b, ",\"paused\":%s,\"held\":%s", r->paused ? "true" : "false",
                 r->held ? "true" : "false");
    add_number(b, "fails", r->fails);
    add_text(b, "why", r->why[0] ? rbk_str_z(r->why) : RBK_STR_NONE);
    add_number(b, "queued", (int64_t)r->queued);
    add_number(b, "in_flight", (int64_t)r->in_flight);
    add_number(b, "probe_in_ms", r->probe_in_ms);
    rbk_buf_c(b, '}');
}

/* --- Numbers ----------------------------------------------------------------------------- */

static const char *const outcomes[RBK_ATTEMPT_OUTCOMES] = {
#define OUTCOME(sym, label) label,
    RBK_ATTEMPT_OUTCOME_MAP(OUTCOME)
#undef OUTCOME
};

/* field of rbk_metrics, family, type, help. Ages are written in seconds, below. */
#define PLAIN_MAP(X)                                                                               \
    X(accepted, "jobs_accepted_total", "counter", "Jobs acknowledged since the start.")            \
    X(delivered, "jobs_delivered_total", "counter", "Jobs whose receiver took the response.")      \
    X(dead, "jobs_dead_total", "counter", "Jobs that were given up.")                              \
    X(cancelled, "jobs_cancelled_total", "counter", "Jobs that were cancelled.")                   \
    X(refused, "jobs_refused_total", "counter", "Calls with a callback that were refused.")        \
    X(over_quota, "jobs_over_quota_total", "counter",                                              \
      "Of these, because their caller has too much pending.")                                      \
    X(duplicates, "jobs_duplicate_total", "counter",                                               \
      "Requests that were a job already, by their idempotency key.")                               \
    X(sync_calls, "sync_calls_total", "counter", "Calls without a callback.")                      \
    X(late, "late_results_total", "counter", "Results that came after the time-out.")              \
    X(progress_sent, "progress_sent_total", "counter", "Notifications of progress that arrived.")  \
    X(progress_lost, "progress_lost_total", "counter", "Those that did not; none is sent again.")  \
    X(lookups, "resolver_lookups_total", "counter", "Names of receivers looked up.")               \
    X(in_flight, "deliveries_in_flight", "gauge", "Attempts under way.")                           \
    X(pending_bytes, "jobs_pending_bytes", "gauge", "Bytes of unfinished jobs in the store.")      \
    X(in_memory, "jobs_in_memory", "gauge", "Unfinished jobs that are in memory too.")             \
    X(receivers, "receivers", "gauge", "Receivers that are remembered.")                           \
    X(receivers_paused, "receivers_paused", "gauge", "Receivers that nothing is sent to now.")     \
    X(sessions, "websocket_sessions", "gauge", "Clients' websockets that responses may be sent on.") \
    X(unacknowledged, "websocket_unacknowledged", "gauge",                                         \
      "Responses that were sent on them and are not acknowledged.")

void rbk_admin_write_stats(rbk_buf *b, const rbk_metrics *m, const rbk_front_metrics *front)
{
    rbk_buf_addf(b, "{\"version\":\"%s\"", RBK_VERSION);
#define NUMBER(field, family, type, help) add_number(b, #field, (int64_t)m->field);
    PLAIN_MAP(NUMBER)
#undef NUMBER
    add_number(b, "pending", m->pending);
    add_number(b, "held", m->held);
    add_number(b, "queued", m->queued);
    add_number(b, "due", m->due);
    add_number(b, "kept_done", m->kept_done);
    add_number(b, "kept_dead", m->kept_dead);
    add_number(b, "oldest_due_ms", m->oldest_due_ms);
    add_number(b, "stalled_ms", m->stalled_ms);
    rbk_buf_lit(b, ",\"attempts\":{");
    for (size_t i = 0; i < RBK_ATTEMPT_OUTCOMES; i++)
        rbk_buf_addf(b, "%s\"%s\":%llu", i ? "," : "", outcomes[i],
                     (unsigned long long)m->attempts[i]);
    rbk_buf_c(b, '}');
    if (front)
        rbk_front_write_stats(b, front);
    rbk_buf_c(b, '}');
}

static void add_family(rbk_buf *b, const char *name, const char *type, const char *help)
{
    rbk_buf_addf(b, "# HELP ringback_%s %s\n# TYPE ringback_%s %s\n", name, help, name, type);
}

static void add_plain(rbk_buf *b, const char *name, const char *labels, int64_t v)
{
    rbk_buf_addf(b, "ringback_%s%s %lld\n", name, labels, (long long)v);
}

static void add_seconds(rbk_buf *b, const char *name, const char *help, int64_t ms)
{
    add_family(b, name, "gauge", help);
    rbk_buf_addf(b, "ringback_%s %lld.%03d\n", name, (long long)(ms / 1000), (int)(ms % 1000));
}

static void add_latency(rbk_buf *b, const rbk_metrics *m)
{
    static const char name[] = "delivery_latency_seconds";
    uint64_t sum = 0;
    add_family(b, name, "histogram", "From acceptance to the receiver's 2xx.");
    for (size_t i = 0; i < RBK_LATENCY_BUCKETS; i++) {
        sum += m->latency[i];
        if (isinf(rbk_latency_bounds[i]))
            rbk_buf_addf(b, "ringback_%s_bucket{le=\"+Inf\"} %llu\n", name,
                         (unsigned long long)sum);
        else
            rbk_buf_addf(b, "ringback_%s_bucket{le=\"%g\"} %llu\n", name, rbk_latency_bounds[i],
                         (unsigned long long)sum);
    }
    rbk_buf_addf(b, "ringback_%s_sum %.3f\nringback_%s_count %llu\n", name, m->latency_sum, name,
                 (unsigned long long)sum);
}

void rbk_admin_write_metrics(rbk_buf *b, const rbk_metrics *m, const rbk_front_metrics *front)
{
#define FAMILY(field, family, type, help)                                                          \
    add_family(b, family, type, help);                                                             \
    add_plain(b, family, "", (int64_t)m->field);
    PLAIN_MAP(FAMILY)
#undef FAMILY
    add_family(b, "delivery_attempts_total", "counter", "Attempts to deliver, by how they ended.");
    for (size_t i = 0; i < RBK_ATTEMPT_OUTCOMES; i++)
        rbk_buf_addf(b, "ringback_delivery_attempts_total{outcome=\"%s\"} %llu\n", outcomes[i],
                     (unsigned long long)m->attempts[i]);
    add_family(b, "jobs_pending", "gauge", "Unfinished jobs in the store, by stored state.");
    add_plain(b, "jobs_pending", "{state=\"held\"}", m->held);
    add_plain(b, "jobs_pending", "{state=\"queued\"}", m->queued);
    add_plain(b, "jobs_pending", "{state=\"due\"}", m->due);
    add_family(b, "jobs_kept", "gauge", "Ended jobs that the store still has.");
    add_plain(b, "jobs_kept", "{shelf=\"done\"}", m->kept_done);
    add_plain(b, "jobs_kept", "{shelf=\"dead\"}", m->kept_dead);
    add_seconds(b, "oldest_due_seconds", "How long the job that is due longest is overdue.",
                m->oldest_due_ms);
    add_seconds(b, "stalled_seconds", "Since a job made progress, while some are due.",
                m->stalled_ms);
    add_latency(b, m);
    if (front)
        rbk_front_write_metrics(b, front);
    add_family(b, "build_info", "gauge", "The version that runs; always 1.");
    rbk_buf_addf(b, "ringback_build_info{version=\"%s\"} 1\n", RBK_VERSION);
}
