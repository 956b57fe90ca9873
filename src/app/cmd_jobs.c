/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_jobs.c - `ringback jobs`: what is in the store, and changes by hand.
 *
 * Filters become params as they are: the server judges them. Pages are asked for until the
 * cursor ends, so a change of many jobs is many small ones, and an end in between leaves whole
 * pages behind. */
#include "app/admin_client.h"

#include <stdio.h>
#include <stdlib.h>

enum { STATE = RBK_ADMIN_FLAGS_N, METHOD, RECEIVER, ID, CALLER, FROM, TO_TIME, LIMIT, TO, ALL };

static const rbk_flag flags[] = {
    RBK_ADMIN_FLAGS, {"state", 0, true},   {"method", 0, true}, {"receiver", 0, true},
    {"id", 0, true}, {"caller", 0, true},  {"from", 0, true},   {"to-time", 0, true},
    {"limit", 0, true}, {"to", 0, true},   {"all", 0, false},   {NULL, 0, false}};

typedef struct jobs {
    rbk_admin_client client;
    const char *verb, *job;
    rbk_buf members; /* "name":value, with commas between */
    uint64_t limit;  /* of a list */
} jobs;

static void add_name(jobs *j, const char *name)
{
    rbk_buf_addf(&j->members, "%s\"%s\":", j->members.n ? "," : "", name);
}

static void add_string(jobs *j, const char *name, const char *value)
{
    add_name(j, name);
    rbk_buf_json_str(&j->members, rbk_str_z(value));
}

/* Seconds go as a number. */
static void add_time(jobs *j, const char *name, const char *value)
{
    uint64_t n;
    if (rbk_str_u64(rbk_str_z(value), INT64_MAX, &n) < 0) {
        add_string(j, name, value);
        return;
    }
    add_name(j, name);
    rbk_buf_add_u64(&j->members, n);
}

/* A JSON value is one; other text is a string. */
static void add_id(jobs *j, const char *value)
{
    yyjson_doc *doc = yyjson_read(value, strlen(value), YYJSON_READ_NUMBER_AS_RAW);
    add_name(j, "id");
    if (doc)
        rbk_buf_z(&j->members, value);
    else
        rbk_buf_json_str(&j->members, rbk_str_z(value));
    yyjson_doc_free(doc);
}

/* "dead,due" */
static void add_states(jobs *j, const char *value)
{
    add_name(j, "state");
    for (const char *p = value;; p++) {
        size_t n = strcspn(p, ",");
        rbk_buf_z(&j->members, p == value ? "[" : ",");
        rbk_buf_json_str(&j->members, (rbk_str){p, n});
        p += n;
        if (*p == 0)
            break;
    }
    rbk_buf_c(&j->members, ']');
}

static bool is_verb(const jobs *j, const char *verb)
{
    return strcmp(j->verb, verb) == 0;
}

static void take_flag(jobs *j, int flag, const char *value)
{
    if (flag < RBK_ADMIN_FLAGS_N)
        rbk_admin_client_flag(&j->client, flag, value);
    else if (flag == STATE)
        add_states(j, value);
    else if (flag == ID)
        add_id(j, value);
    else if (flag == FROM)
        add_time(j, "from", value);
    else if (flag == TO_TIME)
        add_time(j, j->verb && is_verb(j, "retry") ? "to_time" : "to", value);
    else if (flag == ALL) {
        add_name(j, "all");
        rbk_buf_lit(&j->members, "true");
    } else
        add_string(j, flags[flag].name, value);
}

/* --- Answers ----------------------------------------------------------------------------- */

static const char *text_of(yyjson_val *obj, const char *name)
{
    yyjson_val *v = yyjson_obj_get(obj, name);
    return yyjson_is_raw(v) ? yyjson_get_raw(v) : yyjson_get_str(v);
}

static void add_job(rbk_columns *t, yyjson_val *job)
{
    const char *created = text_of(job, "created"), *reason = text_of(job, "reason");
    char at[20] = "-", why[80];
    if (created)
        snprintf(at, sizeof at, "%.19s", created);
    snprintf(why, sizeof why, "%.79s", reason ? reason : "");
    const char *const cells[] = {text_of(job, "job"), text_of(job, "state"), at,
                                 text_of(job, "attempts"), text_of(job, "method"),
                                 text_of(job, "receiver"), why};
    for (size_t i = 0; i < t->n; i++)
        rbk_columns_add(t, cells[i]);
}

static void print_jobs(const jobs *j, yyjson_val *list, bool first)
{
    static const char *const heads[] = {"JOB", "STATE", "CREATED (UTC)", "TRIES", "METHOD",
                                        "RECEIVER", "REASON"};
    rbk_columns t = {.n = sizeof heads / sizeof heads[0]};
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    for (size_t i = 0; first && !j->client.json && i < t.n; i++)
        rbk_columns_add(&t, heads[i]);
    for (yyjson_val *job; (job = yyjson_arr_iter_next(&it));)
        if (j->client.json)
            rbk_print_json(job);
        else
            add_job(&t, job);
    if (t.cells.n)
        rbk_columns_print(&t);
}

static void print_job(yyjson_val *job)
{
    rbk_columns t = {.n = 2}, a = {.n = 6};
    yyjson_obj_iter it = yyjson_obj_iter_with(job);
    static const char *const heads[] = {"TRY", "AT", "MS", "STATUS", "REASON", "ADDRESS"};
    static const char *const names[] = {"number", "at", "ms", "status", "reason", "address"};
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&it));) {
        yyjson_val *v = yyjson_obj_iter_get_val(key);
        if (strcmp(yyjson_get_str(key), "attempt_log") == 0)
            continue;
        char *json = yyjson_is_str(v) && strcmp(yyjson_get_str(key), "id") != 0
                         ? NULL : yyjson_val_write(v, 0, NULL);
        rbk_columns_add(&t, yyjson_get_str(key));
        rbk_columns_add(&t, yyjson_is_null(v) ? NULL : json ? json : yyjson_get_str(v));
        free(json);
    }
    rbk_columns_print(&t);
    yyjson_val *log = yyjson_obj_get(job, "attempt_log");
    if (yyjson_arr_size(log) == 0)
        return;
    printf("\nfailed attempts:\n");
    for (size_t i = 0; i < a.n; i++)
        rbk_columns_add(&a, heads[i]);
    yyjson_arr_iter notes = yyjson_arr_iter_with(log);
    for (yyjson_val *note; (note = yyjson_arr_iter_next(&notes));)
        for (size_t i = 0; i < a.n; i++)
            rbk_columns_add(&a, text_of(note, names[i]));
    rbk_columns_print(&a);
}

/* --- Pages ------------------------------------------------------------------------------- */

typedef struct pages {
    char cursor[32]; /* empty: from the start, or the end */
    uint64_t seen, changed, skipped;
} pages;

static void make_params(const jobs *j, const pages *p, rbk_buf *b)
{
    rbk_buf_c(b, '{');
    rbk_buf_str(b, rbk_buf_view(&j->members));
    if (p->cursor[0])
        rbk_buf_addf(b, "%s\"cursor\":\"%s\"", j->members.n ? "," : "", p->cursor);
    if (is_verb(j, "list")) {
        uint64_t left = j->limit - p->seen;
        rbk_buf_addf(b, "%s\"limit\":%d", b->n > 1 ? "," : "", left < 1000 ? (int)left : 1000);
    }
    rbk_buf_c(b, '}');
}

static void take_page(const jobs *j, pages *p, yyjson_val *result)
{
    const char *cursor = text_of(result, "cursor");
    if (is_verb(j, "list")) {
        yyjson_val *list = yyjson_obj_get(result, "jobs");
        print_jobs(j, list, p->seen == 0);
        p->seen += yyjson_arr_size(list);
        fflush(stdout);
    } else if (is_verb(j, "show")) {
        if (j->client.json)
            rbk_print_json(result);
        else
            print_job(result);
    } else {
        const char *changed = text_of(result, "changed"), *skipped = text_of(result, "skipped");
        p->changed += changed ? strtoull(changed, NULL, 10) : 0;
        p->skipped += skipped ? strtoull(skipped, NULL, 10) : 0;
    }
    snprintf(p->cursor, sizeof p->cursor, "%s", cursor ? cursor : "");
}

static int run_pages(const jobs *j)
{
    pages p = {0};
    char method[40];
    int code = RBK_EXIT_OK;
    snprintf(method, sizeof method, "rpc.jobs.%s", is_verb(j, "show") ? "get" : j->verb);
    do {
        rbk_buf params = RBK_BUF(1 << 20);
        yyjson_val *result = NULL;
        make_params(j, &p, &params);
        yyjson_doc *doc = rbk_admin_ask(&j->client, method, rbk_buf_view(&params), &result, &code);
        rbk_buf_free(&params);
        if (doc == NULL)
            break;
        take_page(j, &p, result);
        yyjson_doc_free(doc);
    } while (p.cursor[0] && (!is_verb(j, "list") || p.seen < j->limit));
    bool change = !is_verb(j, "list") && !is_verb(j, "show");
    if (change && j->client.json && (code == RBK_EXIT_OK || p.changed))
        printf("{\"changed\":%llu,\"skipped\":%llu}\n", (unsigned long long)p.changed,
               (unsigned long long)p.skipped);
    else if (change && (code == RBK_EXIT_OK || p.changed))
        printf("%llu changed, %llu skipped\n", (unsigned long long)p.changed,
               (unsigned long long)p.skipped);
    if (is_verb(j, "list") && p.cursor[0] && code == RBK_EXIT_OK && !j->client.json)
        fprintf(stderr, "ringback: there are more; --limit shows them\n");
    return code;
}

static bool is_known(const char *verb)
{
    static const char *const verbs[] = {"list", "show", "retry", "cancel", "purge"};
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verb, verbs[i]) == 0)
            return true;
    return false;
}

int rbk_cmd_jobs(int argc, char **argv)
{
    jobs j = {.members = RBK_BUF(1 << 18), .limit = 1000};
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags, .at = 1};
    int code = RBK_EXIT_USAGE, i;
    if (argc < 1 || !is_known(argv[0]))
        return rbk_usage("jobs wants list, show, retry, cancel or purge");
    j.verb = argv[0];
    while ((i = rbk_args_next(&a)) != RBK_ARG_END) {
        if (i == RBK_ARG_BAD || (i == LIMIT && !rbk_args_number(&a, INT64_MAX, &j.limit)))
            goto out;
        if (i == RBK_ARG_WORD && (j.job || is_verb(&j, "list"))) {
            rbk_usage("'%s' is too much", a.value);
            goto out;
        }
        if (i == TO && !is_verb(&j, "retry")) {
            rbk_usage("--to is the new callback of a retry; the end of a time is --to-time");
            goto out;
        }
        if (i == RBK_ARG_WORD)
            add_string(&j, "job", j.job = a.value);
        else if (i != LIMIT)
            take_flag(&j, i, a.value);
    }
    if (is_verb(&j, "show") && j.job == NULL)
        rbk_usage("jobs show wants a job id");
    else if (j.limit == 0)
        rbk_usage("--limit must be at least 1");
    else if (!is_verb(&j, "list") && !is_verb(&j, "show") && j.members.n == 0)
        rbk_usage("jobs %s wants a job id, a filter, or --all", j.verb);
    else
        code = run_pages(&j);
out:
    rbk_buf_free(&j.members);
    return code;
}
