/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/method/worker_play.c - a worker that behaves, and misbehaves, as it is told: by the
 * method that it is asked for, or, from the start, by its argument. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *line; /* the request */
static size_t line_cap;

/* The text behind "name": up to `end`, which is cut off in a copy. */
static const char *member(const char *name, char end)
{
    static char text[4][1024];
    static unsigned at;
    char key[32], *out = text[at++ % 4];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *from = strstr(line, key);
    if (from == NULL)
        return "";
    from += strlen(key);
    size_t n = strcspn(from, (const char[]){end, '\n', 0});
    snprintf(out, 1024, "%.*s", (int)n, from);
    return out;
}

static const char *id(void)
{
    return member("id", ',');
}

static void answer(const char *result)
{
    printf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n", id(), result);
    fflush(stdout);
}

static void sleep_for_ever(void)
{
    for (;;)
        pause();
}

/* `n` bytes of one letter. */
static void fill(FILE *to, size_t n)
{
    static char block[65536];
    memset(block, 'x', sizeof block);
    while (n > 0) {
        size_t some = n < sizeof block ? n : sizeof block;
        if (fwrite(block, 1, some, to) != some)
            exit(1);
        n -= some;
    }
}

static void answer_files(void)
{
    char command[64], text[512] = "";
    size_t n = 0;
    for (int fd = 0; fd < 256; fd++) {
        snprintf(command, sizeof command, "/proc/self/fd/%d", fd);
        char to[256];
        ssize_t len = readlink(command, to, sizeof to - 1);
        if (len < 0)
            continue;
        to[len] = 0;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%d", n ? "," : "", fd);
    }
    char result[600];
    snprintf(result, sizeof result, "[%s]", text);
    answer(result);
}

static void answer_signals(void)
{
    sigset_t now;
    int blocked = 0, ignored = 0;
    sigprocmask(SIG_SETMASK, NULL, &now);
    for (int s = 1; s < 32; s++) {
        struct sigaction a;
        blocked += sigismember(&now, s) == 1;
        ignored += sigaction(s, NULL, &a) == 0 && a.sa_handler == SIG_IGN;
    }
    char text[64];
    snprintf(text, sizeof text, "[%d,%d,%d]", blocked, ignored, getpid() == getpgrp());
    answer(text);
}

static void fork_child(void)
{
    pid_t pid = fork();
    if (pid == 0)
        sleep_for_ever();
    char text[32];
    snprintf(text, sizeof text, "%d", (int)pid);
    answer(text);
}

/* Dies where there is no such file, and makes it; else it answers. */
static void die_once(const char *file)
{
    if (access(file, F_OK) == 0) {
        answer(member("run", ','));
        return;
    }
    FILE *f = fopen(file, "w");
    if (f)
        fclose(f);
    raise(SIGKILL);
}

static int is(const char *method, const char *name)
{
    return strcmp(method, name) == 0;
}

static void obey(void)
{
    char method[128];
    snprintf(method, sizeof method, "%s", member("method", ','));
    if (method[0] == '"')
        memmove(method, method + 1, strlen(method));
    method[strcspn(method, "\"")] = 0;
    if (is(method, "echo")) {
        line[strcspn(line, "\n")] = 0;
        answer(line);
    } else if (is(method, "params")) {
        char *from = strstr(line, "\"params\":"), *end = strstr(line, ",\"ringback\":");
        *end = 0;
        printf("{\"id\":%s,\"result\":%s}\n", id(), from ? from + 9 : "null");
        fflush(stdout);
    } else if (is(method, "pid")) {
        char text[32];
        snprintf(text, sizeof text, "%d", (int)getpid());
        answer(text);
    } else if (is(method, "env")) {
        const char *v = getenv("RINGBACK_ADMIN_TOKEN"), *w = getenv("PLAY_KEPT");
        char text[200];
        snprintf(text, sizeof text, "\"%s %s\"", v ? v : "none", w ? w : "none");
        answer(text);
    } else if (is(method, "error")) {
        printf("{\"id\":%s,\"error\":{\"code\":-7,\"message\":\"no \\u00e4pfel\",\"data\":[1.0]}}\n", id());
        fflush(stdout);
    } else if (is(method, "garbage")) {
        printf("hello?\n");
        fflush(stdout);
    } else if (is(method, "half")) {
        printf("{\"id\":%s,\"resu", id());
        fflush(stdout);
        exit(3);
    } else if (is(method, "huge")) {
        printf("{\"id\":%s,\"result\":\"", id());
        fill(stdout, 100u << 20);
        printf("\"}\n");
        fflush(stdout);
    } else if (is(method, "big")) {
        printf("{\"id\":%s,\"result\":\"", id());
        fill(stdout, (1u << 20) + 100);
        printf("\"}\n");
        fflush(stdout);
    } else if (is(method, "wrong_id")) {
        printf("{\"id\":%s9,\"result\":1}\n", id());
        fflush(stdout);
    } else if (is(method, "both")) {
        printf("{\"id\":%s,\"result\":1,\"error\":{\"code\":1,\"message\":\"\"}}\n", id());
        fflush(stdout);
    } else if (is(method, "twice")) {
        answer("1");
        answer("2");
    } else if (is(method, "progress")) {
        printf("{\"method\":\"rpc.progress\",\"params\":{\"id\":%s,\"value\":1,\"total\":2}}\n", id());
        answer("\"done\"");
    } else if (is(method, "exit")) {
        exit(5);
    } else if (is(method, "answer_and_exit")) {
        answer("\"last\"");
        exit(0);
    } else if (is(method, "crash")) {
        raise(SIGKILL);
    } else if (is(method, "hang")) {
        fprintf(stderr, "hanging\n");
        sleep_for_ever();
    } else if (is(method, "close")) {
        fclose(stdout);
        close(1);
        sleep_for_ever();
    } else if (is(method, "fork")) {
        fork_child();
    } else if (is(method, "noise")) {
        for (int i = 0; i < 160; i++) {
            fill(stderr, 65535);
            fputc('\n', stderr);
        }
        answer("\"said\"");
    } else if (is(method, "say")) {
        fprintf(stderr, "one\ntwo \"quoted\"\nhalf");
        answer("1");
    } else if (is(method, "files")) {
        answer_files();
    } else if (is(method, "signals")) {
        answer_signals();
    } else if (is(method, "slow")) {
        usleep(50000);
        answer("\"slow\"");
    } else if (is(method, "die_once")) { /* params: ["<file>"] */
        char file[512];
        snprintf(file, sizeof file, "%s", member("params", ']') + 2);
        file[strcspn(file, "\"")] = 0;
        die_once(file);
    } else {
        answer("null");
    }
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    if (is(mode, "exit"))
        return 9;
    if (is(mode, "deaf")) /* never reads */
        sleep_for_ever();
    if (is(mode, "stubborn"))
        signal(SIGTERM, SIG_IGN);
    while (getline(&line, &line_cap, stdin) > 0)
        obey();
    if (is(mode, "stubborn") || is(mode, "lingering")) /* the one needs SIGKILL, the other SIGTERM */
        sleep_for_ever();
    return 0;
}
