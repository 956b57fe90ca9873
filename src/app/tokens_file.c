/* SPDX-License-Identifier: Apache-2.0 */
/* app/tokens_file.c - see tokens_file.h. The lock is on the file itself: who gets it on one that
 * has been replaced meanwhile asks again. */
#include "app/tokens_file.h"

#include "base/error.h"
#include "base/ini.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(rbk_error *err, const char *path)
{
    return rbk_fail(err, RBK_E_SYS, "%s: %s", path, strerror(errno));
}

static int lock(rbk_tokens_file *f, const char *path, bool make, rbk_error *err)
{
    struct stat mine, now;
    for (;;) {
        f->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | (make ? O_CREAT : 0), 0600);
        if (f->fd < 0)
            return fail(err, path);
        if (flock(f->fd, LOCK_EX) < 0 || fstat(f->fd, &mine) < 0)
            return fail(err, path);
        if (stat(path, &now) == 0 && now.st_ino == mine.st_ino && now.st_dev == mine.st_dev)
            return 0;
        close(f->fd);
    }
}

int rbk_tokens_file_open(rbk_tokens_file *f, const char *path, bool make, rbk_error *err)
{
    *f = (rbk_tokens_file){.fd = -1};
    int r = lock(f, path, make, err);
    if (r == 0 && (f->path = realpath(path, NULL)) == NULL)
        r = fail(err, path);
    if (r == 0)
        r = rbk_secret_read_max(f->path, RBK_CALLERS_FILE_MAX, &f->text, err);
    return r < 0 ? r : rbk_callers_read(f->path, rbk_buf_view(&f->text), &f->callers, err);
}

void rbk_tokens_file_close(rbk_tokens_file *f)
{
    rbk_callers_unref(f->callers);
    rbk_secret_free(&f->text);
    free(f->path);
    if (f->fd >= 0)
        close(f->fd);
}

/* Three pieces become the file, when they are a good one. */
static int put(rbk_tokens_file *f, rbk_str before, rbk_str lines, rbk_str after, rbk_error *err)
{
    rbk_callers *callers = NULL;
    rbk_buf b = RBK_BUF(RBK_CALLERS_FILE_MAX);
    rbk_buf_reserve(&b, before.n + lines.n + after.n + 1);
    rbk_buf_str(&b, before);
    if (b.n && b.p[b.n - 1] != '\n')
        rbk_buf_c(&b, '\n');
    rbk_buf_str(&b, lines);
    rbk_buf_str(&b, after);
    int r = rbk_buf_err(&b);
    if (r < 0)
        rbk_fail(err, r, "%s: %s", f->path, r == RBK_E_NOMEM ? "out of memory" : "becomes too long");
    else if ((r = rbk_callers_read(f->path, rbk_buf_view(&b), &callers, err)) == 0)
        r = rbk_secret_replace(f->path, rbk_buf_view(&b), err);
    rbk_callers_unref(callers);
    rbk_secret_free(&b);
    return r;
}

int rbk_tokens_file_append(rbk_tokens_file *f, rbk_str lines, rbk_error *err)
{
    return put(f, rbk_buf_view(&f->text), lines, RBK_STR_NONE, err);
}

/* Where the section of a name is. */
typedef struct place {
    rbk_ini ini; /* first */
    const char *name;
    bool inside;
    size_t begin, head_end, end; /* end: of its last key */
} place;

static int on_section(void *user, rbk_str section, rbk_str name, rbk_error *err)
{
    place *p = user;
    (void)section;
    (void)err;
    p->inside = rbk_str_eqz(name, p->name);
    if (p->inside) {
        p->begin = p->ini.begin;
        p->head_end = p->end = p->ini.end;
    }
    return 0;
}

static int on_pair(void *user, rbk_str key, rbk_str value, rbk_error *err)
{
    place *p = user;
    (void)key;
    (void)value;
    (void)err;
    if (p->inside)
        p->end = p->ini.end;
    return 0;
}

static int find(const rbk_tokens_file *f, const char *name, place *p, rbk_error *err)
{
    *p = (place){.ini = {.path = f->path, .like = "", .section = on_section, .pair = on_pair},
                 .name = name};
    p->ini.user = p;
    int r = rbk_ini_read(&p->ini, rbk_buf_view(&f->text), err);
    if (r == 0 && p->end == 0)
        r = rbk_fail(err, RBK_E_NOTFOUND, "%s: has no token \"%s\"", f->path, name);
    return r;
}

int rbk_tokens_file_insert(rbk_tokens_file *f, const char *name, rbk_str lines, rbk_error *err)
{
    place p;
    rbk_str text = rbk_buf_view(&f->text);
    int r = find(f, name, &p, err);
    return r < 0 ? r : put(f, (rbk_str){text.p, p.head_end}, lines,
                           (rbk_str){text.p + p.head_end, text.n - p.head_end}, err);
}

int rbk_tokens_file_remove(rbk_tokens_file *f, const char *name, rbk_error *err)
{
    place p;
    rbk_str text = rbk_buf_view(&f->text);
    int r = find(f, name, &p, err);
    return r < 0 ? r : put(f, (rbk_str){text.p, p.begin}, RBK_STR_NONE,
                           (rbk_str){text.p + p.end, text.n - p.end}, err);
}
