/* SPDX-License-Identifier: Apache-2.0 */
/* The state table, cell by cell, against a table written a second time, as a picture;
 * and docs/jobs.md against the code. */
#include "base/buf.h"
#include "core/job_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* Rows are states 1 to 9 by number; a column is an event, a digit the state it leads
 * to, a point no move. */
static const rbk_job_event column[] = {
    RBK_EV_CLAIM,           RBK_EV_RESULT,        RBK_EV_SEND,    RBK_EV_ACK,     RBK_EV_GIVE_UP,
    RBK_EV_REFUSE,          RBK_EV_RETRY,         RBK_EV_REDRIVE, RBK_EV_RELEASE, RBK_EV_LEASE_LOST,
    RBK_EV_LEASE_LOST_ONCE, RBK_EV_CANCEL,        RBK_EV_EXPIRE,  RBK_EV_DONE,    RBK_EV_ANSWERED,
    RBK_EV_COLLECT,         RBK_EV_ACK_CANCELLED,
};
/*   CLAIM               REDRIVE
 *   | RESULT            | RELEASE
 *   | | SEND            | | LEASE_LOST
 *   | | | ACK           | | | LEASE_LOST_ONCE
 *   | | | | GIVE_UP     | | | | CANCEL
 *   | | | | | REFUSE    | | | | | EXPIRE
 *   | | | | | | RETRY   | | | | | | DONE
 *   | | | | | | |       | | | | | | | ANSWERED, COLLECT, ACK_CANCELLED */
static const char *const picture[] = {
    "2 . . . . . .       . . . . 3 3 . . . .", /* 1 QUEUED */
    ". 3 . . . . .       . . 1 3 3 3 5 . . .", /* 2 RUNNING */
    ". . 4 . 6 6 .       . . . . 7 . . 5 9 .", /* 3 DUE */
    ". . . 5 6 6 3       . . 3 3 4 . . . . 7", /* 4 SENDING */
    ". . . . . . .       3 . . . . . . . . .", /* 5 DELIVERED */
    ". . . . . . .       3 . . . . . . . . .", /* 6 DEAD */
    ". . . . . . .       . . . . . . . . . .", /* 7 CANCELLED */
    ". . . . . . .       . 1 . . 3 3 . . . .", /* 8 HELD */
    ". . . . . . .       . . . . . . . . . .", /* 9 COLLECTED */
};

enum { COLUMNS = sizeof column / sizeof column[0] };

static char cell(int state, size_t col)
{
    const char *p = picture[state - 1];
    for (;; p++)
        if (*p != ' ' && col-- == 0)
            return *p;
}

static void test_every_cell(void **state)
{
    (void)state;
    assert_int_equal(COLUMNS, RBK_EV_N);
    bool seen[RBK_EV_N] = {false};
    for (size_t c = 0; c < COLUMNS; c++) {
        assert_false(seen[column[c]]);
        seen[column[c]] = true;
        for (int s = 1; s < RBK_JOB_STATE_N; s++) {
            rbk_job_state to = (rbk_job_state)77;
            int r = rbk_job_next((rbk_job_state)s, column[c], &to);
            char want = cell(s, c);
            if (want == '.') {
                assert_int_equal(r, RBK_E_STATE);
                assert_int_equal(to, 77); /* not written */
            } else {
                assert_int_equal(r, 0);
                assert_int_equal(to, want - '0');
            }
        }
    }
}

static void test_no_states_no_events(void **state)
{
    (void)state;
    static const int odd[] = {-1, 0, 10, 11, 1000, INT32_MAX, INT32_MIN};
    rbk_job_state to;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        for (int e = 0; e < RBK_EV_N; e++)
            assert_int_equal(rbk_job_next((rbk_job_state)odd[i], (rbk_job_event)e, &to),
                             RBK_E_STATE);
        assert_string_equal(rbk_job_state_name((rbk_job_state)odd[i]), "?");
        assert_false(rbk_job_is_terminal((rbk_job_state)odd[i]));
    }
    for (int s = 1; s < RBK_JOB_STATE_N; s++) {
        assert_int_equal(rbk_job_next((rbk_job_state)s, RBK_EV_N, &to), RBK_E_STATE);
        assert_int_equal(rbk_job_next((rbk_job_state)s, (rbk_job_event)-1, &to), RBK_E_STATE);
    }
    assert_string_equal(rbk_job_event_name(RBK_EV_N), "?");
    assert_string_equal(rbk_job_event_name((rbk_job_event)-1), "?");
}

/* Stored numbers are frozen. */
static void test_numbers(void **state)
{
    (void)state;
    static const char *const names[] = {"QUEUED", "RUNNING",   "DUE",  "SENDING",  "DELIVERED",
                                        "DEAD",   "CANCELLED", "HELD", "COLLECTED"};
    for (int s = 1; s < RBK_JOB_STATE_N; s++) {
        assert_string_equal(rbk_job_state_name((rbk_job_state)s), names[s - 1]);
        assert_int_equal(rbk_job_is_terminal((rbk_job_state)s),
                         s == 5 || s == 6 || s == 7 || s == 9);
    }
}

/* From each state that is no end, an end can be reached. */
static void test_every_job_can_end(void **state)
{
    (void)state;
    bool ends[RBK_JOB_STATE_N] = {false};
    for (int round = 0; round < RBK_JOB_STATE_N; round++)
        for (int s = 1; s < RBK_JOB_STATE_N; s++)
            for (int e = 0; e < RBK_EV_N; e++) {
                rbk_job_state to;
                if (rbk_job_next((rbk_job_state)s, (rbk_job_event)e, &to) == 0)
                    ends[s] |= rbk_job_is_terminal(to) || ends[to];
            }
    for (int s = 1; s < RBK_JOB_STATE_N; s++)
        assert_true(ends[s] || rbk_job_is_terminal((rbk_job_state)s));
}

/* --- docs/jobs.md ------------------------------------------------------------- */

static char *read_page(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/../../docs/jobs.md", getenv("RBK_TEST_DATA"));
    FILE *f = fopen(path, "r");
    if (f == NULL)
        fail_msg("cannot read %s", path);
    static char page[65536];
    size_t n = fread(page, 1, sizeof page - 1, f);
    fclose(f);
    page[n] = 0;
    return page;
}

static int state_by_name(rbk_str name)
{
    for (int s = 1; s < RBK_JOB_STATE_N; s++)
        if (rbk_str_eqz(name, rbk_job_state_name((rbk_job_state)s)))
            return s;
    return 0;
}

static int event_by_name(rbk_str name)
{
    for (int e = 0; e < RBK_EV_N; e++)
        if (rbk_str_eqz(name, rbk_job_event_name((rbk_job_event)e)))
            return e;
    return -1;
}

/* The text up to `until`, trimmed; `*p` goes behind it. */
static rbk_str cut(const char **p, char until)
{
    const char *from = *p, *at = strchr(from, until);
    assert_non_null(at);
    *p = at + 1;
    return rbk_str_trim((rbk_str){from, (size_t)(at - from)});
}

typedef struct page {
    unsigned char move[RBK_JOB_STATE_N][RBK_EV_N];
    int number[RBK_JOB_STATE_N]; /* 1: shown with its number, 2: and as an end */
} page;

static void read_move(page *pg, rbk_str event, const char *p)
{
    int e = event_by_name(event);
    rbk_str from = cut(&p, '|');
    int to = state_by_name(cut(&p, '|'));
    if (e < 0 || to == 0)
        fail_msg("docs/jobs.md: row %.*s", RBK_FMT(event));
    while (from.n) {
        const char *comma = memchr(from.p, ',', from.n);
        size_t n = comma ? (size_t)(comma - from.p) : from.n;
        int s = state_by_name(rbk_str_trim((rbk_str){from.p, n}));
        assert_true(s > 0);
        assert_int_equal(pg->move[s][e], 0); /* one row for a cell */
        pg->move[s][e] = (unsigned char)to;
        from = comma ? (rbk_str){comma + 1, from.n - n - 1} : (rbk_str){from.p, 0};
    }
}

static void read_state(page *pg, int s, const char *p)
{
    uint64_t number = 0;
    assert_int_equal(rbk_str_u64(cut(&p, '|'), 99, &number), 0);
    assert_int_equal(number, s);
    pg->number[s] = rbk_str_eqz(cut(&p, '|'), "yes") ? 2 : 1;
}

static void test_page(void **state)
{
    (void)state;
    static page pg;
    for (char *line = strtok(read_page(), "\n"); line; line = strtok(NULL, "\n")) {
        if (line[0] != '|')
            continue;
        const char *p = line + 1;
        rbk_str first = cut(&p, '|');
        if (state_by_name(first))
            read_state(&pg, state_by_name(first), p);
        else if (first.n && first.p[0] >= 'A' && first.p[0] <= 'Z')
            read_move(&pg, first, p);
    }
    for (int s = 1; s < RBK_JOB_STATE_N; s++) {
        assert_int_equal(pg.number[s], rbk_job_is_terminal((rbk_job_state)s) ? 2 : 1);
        for (int e = 0; e < RBK_EV_N; e++) {
            rbk_job_state to = (rbk_job_state)0;
            rbk_job_next((rbk_job_state)s, (rbk_job_event)e, &to);
            if (pg.move[s][e] != (unsigned char)to)
                fail_msg("docs/jobs.md: %s in %s", rbk_job_event_name((rbk_job_event)e),
                         rbk_job_state_name((rbk_job_state)s));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell), cmocka_unit_test(test_no_states_no_events),
        cmocka_unit_test(test_numbers),    cmocka_unit_test(test_every_job_can_end),
        cmocka_unit_test(test_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
