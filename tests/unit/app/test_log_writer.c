/* SPDX-License-Identifier: Apache-2.0 */
/* The writer of log lines: order, a reader that stands still, and the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/log_writer.h"
#include "base/clock.h"

enum { READ_MAX = 4 << 20 };

static int ends[2];

static void open_pipe(void)
{
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 65536) == 65536);
}

static void say(const char *line)
{
    rbk_log_writer_line(NULL, RBK_LOG_INFO, line);
}

/* What comes until a line that holds `mark` is there, or (NULL) until nobody writes. The
 * caller frees. */
static char *read_until(const char *mark)
{
    char *text = malloc(READ_MAX + 1);
    size_t n = 0;
    bool done = false;
    assert_non_null(text);
    while (!done && n < READ_MAX) {
        ssize_t got = read(ends[0], text + n, READ_MAX - n);
        if (got <= 0)
            break;
        size_t before = n > 4096 ? n - 4096 : 0;
        n += (size_t)got;
        text[n] = 0;
        const char *found = mark ? strstr(text + before, mark) : NULL;
        done = found && strchr(found, '\n');
    }
    text[n] = 0;
    return text;
}

/* What still comes fits into the pipe. */
static char *stop_and_read(void)
{
    rbk_log_writer_stop();
    close(ends[1]);
    char *text = read_until(NULL);
    close(ends[0]);
    return text;
}

static void test_lines_in_order(void **state)
{
    (void)state;
    open_pipe();
    say("before the start");
    assert_int_equal(rbk_log_writer_start(ends[1], false), 0);
    say("one");
    say("two");
    say("");
    char *text = stop_and_read();
    say("after the stop");
    assert_string_equal(text, "one\ntwo\n\n");
    free(text);
}

static void test_long_line_is_cut(void **state)
{
    (void)state;
    char line[10000];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = 0;
    open_pipe();
    assert_int_equal(rbk_log_writer_start(ends[1], false), 0);
    say(line);
    say("next");
    char *text = stop_and_read();
    assert_int_equal(strspn(text, "x"), 4095);
    assert_string_equal(text + 4095, "\nnext\n");
    free(text);
}

/* Three times what the ring holds, and nobody reads: no line is torn, those that came are
 * the first ones in order, and the rest is counted. */
static void check_drop(bool json)
{
    enum { LINES = 32000, WIDTH = 100 };
    open_pipe();
    assert_int_equal(rbk_log_writer_start(ends[1], json), 0);
    for (int i = 0; i < LINES; i++) {
        char line[WIDTH + 1];
        snprintf(line, sizeof line, "line %-94d.", i);
        say(line);
    }
    char *text = read_until("log.dropped"), *at = text;
    long came = 0, number;
    for (; sscanf(at, "line %ld", &number) == 1; at += WIDTH + 1, came++) {
        assert_int_equal(number, came);
        assert_true(at[WIDTH] == '\n');
    }
    assert_true(came > (1 << 20) / (WIDTH + 1) - 2 && came < LINES / 2);
    char told[60];
    snprintf(told, sizeof told, json ? "\"event\":\"log.dropped\",\"lines\":%ld}\n"
                                     : "level=warn event=log.dropped lines=%ld\n", LINES - came);
    char *found = strstr(at, told);
    assert_non_null(found);
    assert_string_equal(found, told); /* it is the last one */
    free(text);
    text = stop_and_read();
    assert_string_equal(text, "");
    free(text);
}

static void test_drops_are_counted(void **state)
{
    (void)state;
    check_drop(false);
    check_drop(true);
}

/* After a gap the log goes on. */
static void test_goes_on_after_a_gap(void **state)
{
    (void)state;
    char line[2001];
    memset(line, 'y', 2000);
    line[2000] = 0;
    open_pipe();
    assert_int_equal(rbk_log_writer_start(ends[1], false), 0);
    for (int i = 0; i < 1000; i++)
        say(line);
    char *gap = read_until("log.dropped");
    assert_non_null(strstr(gap, "log.dropped lines="));
    free(gap);
    say("here again");
    char *text = stop_and_read();
    assert_string_equal(text, "here again\n");
    free(text);
}

/* Last of all: its thread is left behind, held by a pipe that nobody reads. */
static void test_stop_does_not_wait_for_the_reader(void **state)
{
    (void)state;
    char line[2001];
    memset(line, 'z', 2000);
    line[2000] = 0;
    open_pipe();
    assert_int_equal(rbk_log_writer_start(ends[1], false), 0);
    for (int i = 0; i < 100; i++)
        say(line);
    rbk_mono_ms begin = rbk_mono_now();
    rbk_log_writer_stop();
    rbk_mono_ms took = rbk_mono_now() - begin;
    assert_true(took >= 190 && took < 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_in_order),
        cmocka_unit_test(test_long_line_is_cut),
        cmocka_unit_test(test_drops_are_counted),
        cmocka_unit_test(test_goes_on_after_a_gap),
        cmocka_unit_test(test_stop_does_not_wait_for_the_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
