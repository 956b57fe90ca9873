/* SPDX-License-Identifier: Apache-2.0 */
/* bench/latency.c - how long one job takes on an idle server, from the first byte of the
 * request to the last of its callback, beside what cannot be done without: two commits
 * one after the other, and one POST over a kept TLS connection.
 *
 *     latency PORT JOBS CERT KEY FILE
 *
 * PORT is ringback's; CERT and KEY are those of the receiver, which this program is for
 * both; FILE is the SQLite database of the commits, made here. Jobs and their yardstick take
 * turns, with a pause before each that lets the server finish the job before. Prints one
 * JSON object, times in microseconds.
 *
 * Threads: the main thread asks; one accepts; one for each connection of the receiver. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_MS = 5, ROOM = 8192, WAIT_SECONDS = 30 };

static SSL_CTX *receiver_ctx;
static sem_t came;
static struct { /* written before sem_post, read after sem_wait */
    double at;
    char body[ROOM];
    unsigned long count;
} last;
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* --- HTTP, as much of it as is needed ------------------------------------------------------ */

/* The size of the whole message, or 0 while its head is not there. */
static size_t message_size(const char *text, size_t *ret_head)
{
    const char *end = strstr(text, "\r\n\r\n");
    if (end == NULL)
        return 0;
    *ret_head = (size_t)(end + 4 - text);
    const char *field = strcasestr(text, "\r\ncontent-length:");
    return *ret_head + (field && field < end ? strtoul(field + 17, NULL, 10) : 0);
}

static int tls_read(void *conn, char *p, int n)
{
    return SSL_read(conn, p, n);
}

static int plain_read(void *conn, char *p, int n)
{
    return (int)read(*(int *)conn, p, (size_t)n);
}

/* One message into `text`; its body, or NULL at the end of the connection. */
static char *read_message(int (*more)(void *, char *, int), void *conn, char *text)
{
    size_t n = 0, head = 0, size = 0;
    text[0] = 0;
    while (size == 0 || n < size) {
        int r = more(conn, text + n, (int)(ROOM - 1 - n));
        if (r <= 0)
            return NULL;
        n += (size_t)r;
        text[n] = 0;
        size = message_size(text, &head);
        if (size >= ROOM)
            die("a message of %zu bytes", size);
    }
    return text + head;
}

/* --- The receiver ---------------------------------------------------------------------------- */

static void *serve(void *arg)
{
    static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
    int fd = (int)(intptr_t)arg;
    char text[ROOM];
    SSL *tls = SSL_new(receiver_ctx);
    SSL_set_fd(tls, fd);
    if (SSL_accept(tls) == 1) {
        for (char *body; (body = read_message(tls_read, tls, text)) != NULL;) {
            pthread_mutex_lock(&last_lock);
            last.at = now_us();
            last.count++;
            memcpy(last.body, body, strlen(body) + 1);
            pthread_mutex_unlock(&last_lock);
            sem_post(&came);
            if (SSL_write(tls, answer, sizeof answer - 1) <= 0)
                break;
        }
    }
    SSL_free(tls);
    close(fd);
    return NULL;
}

static void *accept_all(void *arg)
{
    int fd, listener = (int)(intptr_t)arg, on = 1;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        pthread_t thread;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) != 0)
            die("no thread");
        pthread_detach(thread);
    }
    return NULL;
}

static int start_receiver(const char *cert, const char *key)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    pthread_t thread;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    receiver_ctx = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_file(receiver_ctx, cert, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(receiver_ctx, key, SSL_FILETYPE_PEM) != 1)
        die("cannot use %s, %s", cert, key);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 64) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) < 0 ||
        pthread_create(&thread, NULL, accept_all, (void *)(intptr_t)fd) != 0)
        die("no receiver: %s", strerror(errno));
    return ntohs(at.sin_port);
}

/* When the callback that has `mark` in its body came. */
static double wait_for(const char *mark)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    if (sem_timedwait(&came, &until) < 0)
        die("no callback within %d s", WAIT_SECONDS);
    pthread_mutex_lock(&last_lock);
    double at = last.at;
    if (strstr(last.body, mark) == NULL)
        die("expected a body with %s, got %s", mark, last.body);
    pthread_mutex_unlock(&last_lock);
    return at;
}

static int connect_to(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) < 0)
        die("port %d: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* --- A job ------------------------------------------------------------------------------------- */

static double time_job(int fd, int receiver, int i)
{
    char body[1024], text[ROOM], mark[32];
    int size = snprintf(body, sizeof body,
                        "{\"id\":%d,\"method\":\"demo.echo\",\"params\":{\"orderId\":\"12345\",\"customer\":"
                        "\"c-118\",\"amount\":99.99,\"$rpc.callback\":\"https://127.0.0.1:%d/callback\"}}",
                        i, receiver);
    int n = snprintf(text, sizeof text,
                     "POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     "Content-Length: %d\r\n\r\n%s",
                     size, body);
    snprintf(mark, sizeof mark, "\"id\":%d,", i);
    double start = now_us();
    if (write(fd, text, (size_t)n) != n)
        die("cannot send: %s", strerror(errno));
    const char *answer = read_message(plain_read, &fd, text);
    if (answer == NULL || strstr(answer, "\"status\":true") == NULL)
        die("not acknowledged: %s", answer ? answer : "the connection was closed");
    return wait_for(mark) - start;
}

/* --- The yardstick ------------------------------------------------------------------------------ */

static void run_sql(sqlite3 *db, const char *sql)
{
    char *fault = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &fault) != SQLITE_OK)
        die("%s: %s", sql, fault ? fault : sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        die("%s: %s", sql, sqlite3_errmsg(db));
    return s;
}

static void commit(sqlite3 *db, sqlite3_stmt *s, int id, int bytes)
{
    sqlite3_bind_int(s, 1, id);
    if (bytes)
        sqlite3_bind_zeroblob(s, 2, bytes);
    if (sqlite3_step(s) != SQLITE_DONE)
        die("commit: %s", sqlite3_errmsg(db));
    sqlite3_reset(s);
}

typedef struct yard {
    sqlite3 *db;
    sqlite3_stmt *put, *result, *done;
    SSL *tls;
} yard;

static void open_yard(yard *y, const char *file, const char *cert, int port)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (sqlite3_open(file, &y->db) != SQLITE_OK)
        die("%s: %s", file, sqlite3_errmsg(y->db));
    run_sql(y->db, "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;"
                   "CREATE TABLE job(id INTEGER PRIMARY KEY, request BLOB, response BLOB)");
    y->put = prepare(y->db, "INSERT INTO job(id,request) VALUES(?1,?2)");
    y->result = prepare(y->db, "UPDATE job SET response=?2 WHERE id=?1");
    y->done = prepare(y->db, "DELETE FROM job WHERE id=?1");
    if (SSL_CTX_load_verify_locations(ctx, cert, NULL) != 1)
        die("cannot read %s", cert);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    y->tls = SSL_new(ctx);
    SSL_set_fd(y->tls, connect_to(port));
    if (SSL_connect(y->tls) != 1)
        die("no TLS: %s", ERR_error_string(ERR_get_error(), NULL));
    SSL_CTX_free(ctx);
}

static double time_yard(yard *y, int i)
{
    char text[ROOM], body[256], mark[32];
    snprintf(mark, sizeof mark, "\"yard\":%d,", i);
    int size = snprintf(body, sizeof body, "{%s\"orderId\":\"12345\",\"customer\":\"c-118\",\"amount\":99.99}", mark);
    int n = snprintf(text, sizeof text,
                     "POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     "Content-Length: %d\r\n\r\n%s",
                     size, body);
    double start = now_us();
    commit(y->db, y->put, i + 1, 400);
    commit(y->db, y->result, i + 1, 300);
    if (SSL_write(y->tls, text, n) != n)
        die("cannot post");
    double took = wait_for(mark) - start;
    if (read_message(tls_read, y->tls, text) == NULL)
        die("no answer to the post");
    commit(y->db, y->done, i + 1, 0); /* as a server would, later */
    return took;
}

/* --- Figures ------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

int main(int argc, char **argv)
{
    enum { WARM = 10 };
    if (argc != 6)
        die("usage: latency PORT JOBS CERT KEY FILE");
    int n = atoi(argv[2]);
    double *jobs = calloc((size_t)n, sizeof *jobs), *yards = calloc((size_t)n, sizeof *yards);
    yard y = {0};
    if (n < 1 || jobs == NULL || yards == NULL)
        die("bad JOBS");
    signal(SIGPIPE, SIG_IGN);
    sem_init(&came, 0, 0);
    int receiver = start_receiver(argv[3], argv[4]), fd = connect_to(atoi(argv[1]));
    open_yard(&y, argv[5], argv[3], receiver);
    for (int i = -WARM; i < n; i++) { /* the first make connections */
        pause_ms(PAUSE_MS);
        double job = time_job(fd, receiver, i + WARM);
        pause_ms(PAUSE_MS);
        double of_yard = time_yard(&y, i + WARM);
        if (i >= 0) {
            jobs[i] = job;
            yards[i] = of_yard;
        }
    }
    if (last.count != 2ul * (unsigned)(n + WARM))
        die("%lu messages came for %d jobs", last.count, n + WARM);
    qsort(jobs, (size_t)n, sizeof *jobs, compare);
    qsort(yards, (size_t)n, sizeof *yards, compare);
    printf("{\"job_p50\":%.1f,\"job_p99\":%.1f,\"yard_p50\":%.1f,\"yard_p99\":%.1f}\n", jobs[n / 2],
           jobs[n * 99 / 100], yards[n / 2], yards[n * 99 / 100]);
    return 0;
}
