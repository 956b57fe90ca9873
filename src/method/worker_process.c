/* SPDX-License-Identifier: Apache-2.0 */
/* method/worker_process.c - one place of a worker: its process, what goes in and what comes out.
 *
 *     DOWN -> UP -> KILLED (or ENDING, or neither) -> CLOSING -> DOWN
 *
 * A process is over when it has ended, not when it closes its output: what it wrote before its
 * end is read first, so that a worker may answer and go. A replacement is started only then.
 * Requests are written one after the other, and of a request it is known whether a byte of it has
 * left. Loop thread. */
#include "method/worker_impl.h"

#include "core/json.h"
#include "method/worker_line.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    NOTES_A_SECOND = 100,
    LAST_WORDS = 1 << 20, /* bytes read of a process that has ended */
    PATIENCE_MS = 200,    /* between the end of its output and its own end */
    DEATH_MS = 5000,      /* between SIGKILL and the end */
    LINE_KEPT = 64 * 1024
};

/* --- Standard error --- */

static void write_note(rbk_worker *k)
{
    rbk_workers *w = k->all;
    rbk_mono_ms now = rbk_loop_now(w->loop);
    if (now - k->second >= 1000) {
        k->second = now;
        k->notes = 0;
    }
    if (k->notes++ < NOTES_A_SECOND) {
        rbk_event(w->log, RBK_INFO, "worker.stderr", RBK_FZ("worker", w->name), RBK_F("pid", k->pid),
                  RBK_FS("text", ((rbk_str){k->note, k->note_n})), RBK_F("cut", k->note_cut),
                  RBK_F("dropped", k->notes_dropped));
        k->notes_dropped = 0;
    } else {
        k->notes_dropped++;
    }
    k->note_n = k->note_cut = 0;
}

static void take_notes(rbk_worker *k, const char *p, size_t n)
{
    while (n > 0) {
        const char *end = memchr(p, '\n', n);
        size_t len = end ? (size_t)(end - p) : n, room = RBK_WORKER_NOTE - k->note_n;
        size_t fits = len < room ? len : room;
        memcpy(k->note + k->note_n, p, fits);
        k->note_n += fits;
        k->note_cut += len - fits;
        if (end == NULL)
            return;
        write_note(k);
        p = end + 1;
        n -= len + 1;
    }
}

/* --- Standard output --- */

static rbk_run *find_asked(const rbk_worker *k, uint64_t id)
{
    for (rbk_link *l = k->asked.next; l != &k->asked; l = l->next) {
        rbk_run *run = RBK_OF_LINK(l, rbk_run, link);
        if (run->id == id)
            return run;
    }
    return NULL;
}

static int answer_error(rbk_call *call, const rbk_worker_line *line)
{
    rbk_arena a = RBK_ARENA(line->message.n * 2 + line->data.n + 16384);
    rbk_str message = rbk_arena_dup(&a, rbk_json_unescape(&a, line->message));
    rbk_str data = line->data.p ? rbk_arena_dup(&a, line->data) : RBK_STR_NONE;
    int r = RBK_E_NOMEM;
    if (message.p && (data.p || line->data.p == NULL))
        r = rbk_call_error(call, line->code, message.p, data.p);
    rbk_arena_free(&a);
    return r;
}

/* Returns what is wrong with it, or NULL. A run that has its answer, or was taken away, tells
 * nobody. */
static const char *take_progress(rbk_worker *k, const rbk_worker_line *line)
{
    rbk_arena a = RBK_ARENA(line->message.n * 2 + 4096);
    rbk_run *run = line->fault ? NULL : find_asked(k, line->id);
    int r = 0;
    if (run) {
        rbk_str message = rbk_arena_dup(&a, rbk_json_unescape(&a, line->message));
        bool whole = message.p && memchr(message.p, 0, message.n) == NULL;
        r = whole || line->message.p == NULL
                ? rbk_call_progress(run->call, line->value, line->total, message.p)
                : RBK_E_INVAL;
    }
    rbk_arena_free(&a);
    if (r == RBK_E_TOO_LARGE)
        return "its message is over 1,000 bytes";
    return r == RBK_E_INVAL ? "its message has a NUL in it" : line->fault;
}

/* One line of the log for each process. */
static void note_progress_fault(rbk_worker *k, const char *why)
{
    if (!k->progress_told)
        rbk_event(k->all->log, RBK_WARN, "worker.progress_refused", RBK_FZ("worker", k->all->name),
                  RBK_F("pid", k->pid), RBK_FZ("why", why));
    k->progress_told = true;
}

/* Returns what is wrong with the line, or NULL. `line` has a NUL behind it. */
static const char *take_line(rbk_worker *k, rbk_str text)
{
    rbk_worker_line line;
    const char *why = rbk_worker_read(text, &line);
    if (why)
        return why;
    if (line.progress) {
        if ((why = take_progress(k, &line)) != NULL)
            note_progress_fault(k, why);
        return NULL;
    }
    rbk_run *run = find_asked(k, line.id);
    if (run == NULL)
        return "it has the id of no request that waits for an answer";
    rbk_run_take_back(k, run);
    k->deaths = 0;
    if (line.result.p)
        rbk_call_result(run->call, line.result.p, line.result.n);
    else
        answer_error(run->call, &line);
    rbk_run_end(run); /* where it could not be answered for lack of memory: -32603 */
    return NULL;
}

static const char *line_fault(const rbk_worker *k)
{
    if (k->line.err == 0)
        return NULL;
    return k->line.err == RBK_E_TOO_LARGE ? "it is too long" : "there is no memory to read it";
}

static const char *end_line(rbk_worker *k, char *p, size_t n)
{
    p[n] = 0;
    if (k->line.n == 0)
        return n > k->all->max_line ? "it is too long" : take_line(k, (rbk_str){p, n});
    rbk_buf_add(&k->line, p, n + 1);
    const char *why = line_fault(k);
    if (why == NULL)
        why = take_line(k, (rbk_str){k->line.p, k->line.n - 1});
    if (k->line.cap > LINE_KEPT)
        rbk_buf_free(&k->line);
    rbk_buf_clear(&k->line);
    return why;
}

/* False when the process was killed for it. `p` is written to. */
static bool take_output(rbk_worker *k, char *p, size_t n)
{
    const char *why = NULL;
    while (n > 0 && why == NULL) {
        char *end = memchr(p, '\n', n);
        if (end == NULL) {
            rbk_buf_add(&k->line, p, n);
            why = line_fault(k);
            break;
        }
        why = end_line(k, p, (size_t)(end - p));
        n -= (size_t)(end + 1 - p);
        p = end + 1;
    }
    if (why) {
        char text[96];
        snprintf(text, sizeof text, "a line on its standard output: %s", why);
        rbk_worker_kill(k, text);
    }
    return why == NULL;
}

/* --- Standard input --- */

static void write_next(rbk_worker *k);

/* It may have ended, and we shall hear of it; else it has closed its input, which is as bad. */
static void await_end(rbk_worker *k)
{
    if (k->state != RBK_WORKER_UP)
        return;
    k->state = RBK_WORKER_ENDING;
    k->next_at = rbk_loop_now(k->all->loop) + PATIENCE_MS;
    rbk_workers_wake(k->all);
}

/* How much of it was written before a fault nobody can say: something, then. */
static void on_written(uv_write_t *rq, int status)
{
    rbk_worker *k = rq->data;
    k->busy = false;
    if (k->writing)
        k->writing->sent = true;
    k->writing = NULL;
    if (status == 0)
        write_next(k);
    else
        await_end(k);
}

static int build_request(rbk_worker *k, rbk_run *run)
{
    const rbk_call *call = run->call;
    rbk_buf_clear(&k->request);
    run->id = ++k->all->last_id;
    const rbk_worker_request rq = {.id = run->id,
                                   .method = rbk_call_method(call),
                                   .params = rbk_call_params(call),
                                   .job = rbk_call_job(call),
                                   .run = rbk_call_run(call) + run->broken,
                                   .deadline = rbk_call_deadline(call)};
    rbk_worker_write(&k->request, &rq);
    return k->request.err;
}

/* True when the next one may be written. */
static bool write_request(rbk_worker *k, rbk_run *run)
{
    rbk_link_append(&k->asked, &run->link);
    if (build_request(k, run) < 0) { /* memory is out: not for ever, it is hoped */
        rbk_run_take_back(k, run);
        rbk_run_rest(run, RBK_WORKER_BACK_OFF_MS);
        rbk_buf_free(&k->request);
        return true;
    }
    k->writing = run;
    uv_buf_t b = uv_buf_init(k->request.p, (unsigned)k->request.n);
    int r = uv_try_write((uv_stream_t *)&k->in, &b, 1);
    size_t n = r > 0 ? (size_t)r : 0;
    run->sent = n > 0;
    if (n == k->request.n) {
        k->writing = NULL;
        return true;
    }
    if (r >= 0 || r == UV_EAGAIN) {
        b = uv_buf_init(k->request.p + n, (unsigned)(k->request.n - n));
        k->write.data = k;
        r = uv_write(&k->write, (uv_stream_t *)&k->in, &b, 1, on_written);
    }
    k->busy = r == 0;
    if (r < 0)
        await_end(k);
    return false;
}

static void write_next(rbk_worker *k)
{
    while (!k->busy && k->state == RBK_WORKER_UP && !rbk_link_empty(&k->unsent))
        if (!write_request(k, RBK_OF_LINK(k->unsent.next, rbk_run, link)))
            break;
    if (!k->busy && k->request.cap > LINE_KEPT)
        rbk_buf_free(&k->request);
}

void rbk_worker_give(rbk_worker *k, rbk_run *run)
{
    rbk_link_append(&k->unsent, &run->link);
    k->n++;
    k->alone = run->retries > 0;
    write_next(k);
}

/* --- The end --- */

static void on_closed(uv_handle_t *h)
{
    rbk_worker *k = h->data;
    if (--k->open > 0 || k->state != RBK_WORKER_CLOSING)
        return;
    if (k->pidfd >= 0)
        close(k->pidfd);
    k->pidfd = -1;
    k->state = RBK_WORKER_DOWN;
    rbk_buf_free(&k->line);
    rbk_buf_free(&k->request);
    if (k->restart_at <= rbk_loop_now(k->all->loop))
        rbk_worker_tick(k, rbk_loop_now(k->all->loop));
    rbk_workers_look_at_stop(k->all);
}

static void close_handle(void *h)
{
    if (!uv_is_closing(h))
        uv_close(h, on_closed);
}

static void note_death(rbk_worker *k)
{
    int64_t wait = RBK_WORKER_BACK_OFF_MS;
    for (unsigned i = 0; i < k->deaths && wait < RBK_WORKER_BACK_OFF_MAX_MS; i++)
        wait *= 2;
    if (wait > RBK_WORKER_BACK_OFF_MAX_MS)
        wait = RBK_WORKER_BACK_OFF_MAX_MS;
    k->deaths++;
    k->restart_at = rbk_loop_now(k->all->loop) + wait;
}

static void log_exit(const rbk_worker *k, int status, const char *why)
{
    rbk_event(k->all->log, k->wanted ? RBK_INFO : RBK_WARN, "worker.exited",
              RBK_FZ("worker", k->all->name), RBK_F("pid", k->pid),
              RBK_F("status", status != -1 && WIFEXITED(status) ? WEXITSTATUS(status) : -1),
              RBK_F("signal", status != -1 && WIFSIGNALED(status) ? WTERMSIG(status) : 0),
              RBK_FZ("why", why));
}

/* What is still in its pipes. A child of it that got away may go on writing: not for ever. */
static void read_last_words(rbk_worker *k, uv_pipe_t *pipe, bool output)
{
    uv_os_fd_t fd;
    size_t left = LAST_WORDS + (output ? k->all->max_line : 0);
    if (uv_is_closing((uv_handle_t *)pipe) || uv_fileno((uv_handle_t *)pipe, &fd) < 0)
        return;
    for (;;) {
        ssize_t n = read(fd, k->all->read_buf, RBK_WORKER_READ - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || (size_t)n > left)
            return;
        left -= (size_t)n;
        if (!output)
            take_notes(k, k->all->read_buf, (size_t)n);
        else if (!take_output(k, k->all->read_buf, (size_t)n))
            return;
    }
}

static void on_process_end(rbk_worker *k, int status)
{
    char why[96] = "we ended it";
    if (k->state == RBK_WORKER_UP || k->state == RBK_WORKER_ENDING) {
        k->state = RBK_WORKER_ENDING; /* nothing new, whatever it answered */
        read_last_words(k, &k->out, true);
    }
    read_last_words(k, &k->err, false);
    if (k->note_n || k->notes_dropped)
        write_note(k);
    if (k->state == RBK_WORKER_KILLED) {
        snprintf(why, sizeof why, "it was killed for %s",
                 k->wanted ? "what nobody waits for any more" : "its fault");
    } else if (!k->wanted) {
        snprintf(why, sizeof why, "its process ended%s",
                 k->line.n ? " in the middle of a line" : "");
        note_death(k);
    }
    log_exit(k, status, why);
    bool lost = k->n > 0;
    k->state = RBK_WORKER_CLOSING;
    if (lost)
        rbk_workers_lose(k, why, true);
    close_handle(&k->in);
    close_handle(&k->out);
    close_handle(&k->err);
    if (k->pidfd >= 0)
        close_handle(&k->end);
    rbk_workers_wake(k->all);
}

static void look_for_end(rbk_worker *k)
{
    int status;
    if (!rbk_spawn_ended(k->pid, &status))
        return;
    k->reaped = true;
    on_process_end(k, status);
}

static void on_end(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    look_for_end(h->data);
}

/* --- Reading --- */

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *ret)
{
    const rbk_worker *k = h->data;
    (void)size;
    *ret = uv_buf_init(k->all->read_buf, RBK_WORKER_READ - 1); /* room for a NUL */
}

static void on_output(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    rbk_worker *k = s->data;
    if (n > 0 && k->state != RBK_WORKER_KILLED) {
        if (take_output(k, buf->base, (size_t)n))
            rbk_workers_deal(k->all);
    } else if (n < 0) {
        uv_read_stop(s);
        await_end(k);
    }
}

static void on_error_output(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    if (n > 0)
        take_notes(s->data, buf->base, (size_t)n);
    else if (n < 0)
        uv_read_stop(s);
}

/* --- The start --- */

static int open_pipe(rbk_worker *k, uv_pipe_t *pipe, int fd)
{
    uv_pipe_init(rbk_loop_uv(k->all->loop), pipe, 0);
    pipe->data = k;
    k->open++;
    int r = uv_pipe_open(pipe, fd);
    if (r < 0)
        close(fd);
    return r;
}

static int open_handles(rbk_worker *k, const rbk_spawned *s)
{
    int r[5];
    r[0] = open_pipe(k, &k->in, s->in);
    r[1] = open_pipe(k, &k->out, s->out);
    r[2] = open_pipe(k, &k->err, s->err);
    r[3] = r[1] < 0 ? 0 : uv_read_start((uv_stream_t *)&k->out, on_alloc, on_output);
    r[4] = r[2] < 0 ? 0 : uv_read_start((uv_stream_t *)&k->err, on_alloc, on_error_output);
    k->pidfd = s->pidfd;
    if (k->pidfd >= 0 && uv_poll_init(rbk_loop_uv(k->all->loop), &k->end, k->pidfd) == 0) {
        k->end.data = k;
        k->open++;
        uv_poll_start(&k->end, UV_READABLE, on_end);
    } else if (k->pidfd >= 0) { /* the tick looks for it */
        close(k->pidfd);
        k->pidfd = -1;
    }
    for (int i = 0; i < 5; i++)
        if (r[i] < 0)
            return r[i];
    return 0;
}

static void log_broken(const rbk_worker *k, const char *why)
{
    rbk_event(k->all->log, RBK_WARN, "worker.broken", RBK_FZ("worker", k->all->name),
              RBK_F("pid", k->pid), RBK_FZ("why", why), RBK_F("calls", k->n));
}

int rbk_worker_start(rbk_worker *k)
{
    const rbk_workers *w = k->all;
    const rbk_spawn_conf conf = {w->path, w->argv, w->env, w->memory, w->cpu_s, w->files};
    rbk_spawned s;
    int r = rbk_spawn(&conf, &s);
    if (r < 0) {
        char why[128];
        snprintf(why, sizeof why, "it cannot be started: %s", strerror(-r));
        k->pid = 0;
        log_broken(k, why);
        note_death(k);
        return r;
    }
    k->pid = s.pid;
    k->state = RBK_WORKER_UP;
    k->wanted = k->termed = k->reaped = false;
    k->note_n = k->note_cut = 0;
    k->progress_told = false;
    rbk_event(w->log, RBK_INFO, "worker.started", RBK_FZ("worker", w->name), RBK_F("pid", k->pid));
    r = open_handles(k, &s);
    if (r < 0)
        rbk_worker_kill(k, "it cannot be talked to: there is no memory");
    return r;
}

/* --- Ending it --- */

/* To it and its children. Once it is reaped the number may be another's. */
static void send_signal(const rbk_worker *k, int signum)
{
    if (!k->reaped)
        kill(-k->pid, signum);
}

void rbk_worker_kill(rbk_worker *k, const char *why)
{
    if (k->state != RBK_WORKER_UP && k->state != RBK_WORKER_ENDING)
        return;
    if (why) {
        log_broken(k, why);
        note_death(k);
    }
    k->state = RBK_WORKER_KILLED;
    k->wanted = why == NULL;
    k->next_at = rbk_loop_now(k->all->loop) + DEATH_MS;
    send_signal(k, SIGKILL);
    rbk_workers_wake(k->all);
    rbk_workers_lose(k, why ? why : "the process was killed for another call", why != NULL);
}

void rbk_worker_finish(rbk_worker *k, bool now)
{
    const rbk_workers *w = k->all;
    if (k->state != RBK_WORKER_UP)
        return;
    k->state = RBK_WORKER_ENDING;
    k->wanted = true;
    k->termed = now;
    k->next_at = rbk_loop_now(w->loop) + (now ? w->term_ms : w->eof_ms);
    close_handle(&k->in);
    if (now)
        send_signal(k, SIGTERM);
}

/* ENDING, and its time is up. */
static void press(rbk_worker *k, rbk_mono_ms now)
{
    if (!k->wanted) {
        rbk_worker_kill(k, "it closed its standard input or output");
    } else if (!k->termed) {
        k->termed = true;
        k->next_at = now + k->all->term_ms;
        send_signal(k, SIGTERM);
    } else {
        rbk_worker_kill(k, NULL);
    }
}

void rbk_worker_tick(rbk_worker *k, rbk_mono_ms now)
{
    rbk_workers *w = k->all;
    bool over = w->stopping && (atomic_load(&w->in_hand) == 0 || now >= w->grace_end);
    if (k->state == RBK_WORKER_DOWN && now >= k->restart_at && !over) {
        if (rbk_worker_start(k) == 0)
            rbk_workers_deal(w);
        return;
    }
    if (k->state == RBK_WORKER_ENDING && now >= k->next_at)
        press(k, now);
    else if (k->state == RBK_WORKER_KILLED && now >= k->next_at)
        on_process_end(k, -1); /* the kernel holds it: it is left behind */
    else if (k->pidfd < 0 && k->state != RBK_WORKER_DOWN && k->state != RBK_WORKER_CLOSING)
        look_for_end(k);
}
