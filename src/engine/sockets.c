/* SPDX-License-Identifier: Apache-2.0 */
/* engine/sockets.c - see sockets.h: a connection between two loops. What goes from one to the other is a
 * task that the connection itself holds, or a text; each has a reference. Tasks to a courier
 * loop pass its gate, which is shut before the loop ends. */
#include "engine/sockets.h"

#include "engine/sessions.h"

#include <stdio.h>
#include <stdlib.h>

#define OF_TASK(task, member) ((rbk_socket *)(void *)((char *)(task)-offsetof(rbk_socket, member)))

void rbk_socket_ref(rbk_socket *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void rbk_socket_unref(rbk_socket *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        free(s);
}

/* --- To the courier loop ------------------------------------------------------------------- */

static void on_opens(rbk_task *task)
{
    rbk_socket *s = OF_TASK(task, opens);
    rbk_sessions_open(s->c, s);
    rbk_socket_unref(s);
}

static void on_closes(rbk_task *task)
{
    rbk_socket *s = OF_TASK(task, closes);
    rbk_sessions_gone(s->c, s);
    rbk_socket_unref(s);
}

static void on_drains(rbk_task *task)
{
    rbk_socket *s = OF_TASK(task, drains);
    rbk_sessions_drain(s->c, s);
    rbk_socket_unref(s);
}

static bool post(rbk_socket *s, rbk_task *task)
{
    rbk_socket_ref(s);
    if (rbk_courier_post(s->c, task))
        return true;
    rbk_socket_unref(s);
    return false;
}

int rbk_socket_open(rbk_engine *e, const rbk_socket_conf *conf, rbk_socket **ret)
{
    rbk_socket *s = calloc(1, sizeof *s);
    if (s == NULL)
        return RBK_E_NOMEM;
    atomic_init(&s->refs, 1);
    s->conf = *conf;
    snprintf(s->lane, sizeof s->lane, "send:%.*s", RBK_FMT(conf->session));
    s->conf.session = rbk_socket_session(s);
    s->c = rbk_couriers_of(e->couriers, rbk_str_z(s->lane));
    s->opens.fn = on_opens;
    s->closes.fn = on_closes;
    s->drains.fn = on_drains;
    post(s, &s->opens); /* shut: the server stops */
    *ret = s;
    return 0;
}

rbk_str rbk_socket_session(const rbk_socket *s)
{
    return rbk_str_z(s->lane + strlen("send:"));
}

bool rbk_socket_drain(rbk_socket *s)
{
    return post(s, &s->drains);
}

void rbk_socket_close(rbk_socket *s)
{
    if (s == NULL)
        return;
    s->closed = true;
    post(s, &s->closes);
    rbk_socket_unref(s);
}

/* --- Texts ----------------------------------------------------------------------------------- */

static void free_text(rbk_socket_text *text)
{
    rbk_socket_unref(text->to);
    rbk_buf_free(&text->text);
    free(text);
}

static void on_back(rbk_task *task)
{
    rbk_socket_text *text = (rbk_socket_text *)(void *)task;
    text->to->held--;
    rbk_sessions_written(text->to->c, text);
    free_text(text);
}

void rbk_socket_sent(rbk_socket_text *text)
{
    text->task.fn = on_back;
    rbk_buf_free(&text->text);
    if (!rbk_courier_post(text->to->c, &text->task))
        free_text(text);
}

static void on_text(rbk_task *task)
{
    rbk_socket_text *text = (rbk_socket_text *)(void *)task;
    rbk_socket *s = text->to;
    if (s->closed)
        rbk_socket_sent(text);
    else
        s->conf.text(s->conf.user, text);
}

bool rbk_socket_send(rbk_socket *s, int64_t seq, rbk_buf *text)
{
    rbk_socket_text *t = calloc(1, sizeof *t);
    if (t == NULL)
        return false;
    *t = (rbk_socket_text){.task = {.fn = on_text}, .to = s, .text = *text, .seq = seq};
    *text = RBK_BUF(text->max);
    rbk_socket_ref(s);
    s->held++;
    rbk_loop_post(s->conf.loop, &t->task);
    return true;
}

/* --- To the front ----------------------------------------------------------------------------- */

static void on_replaced(rbk_task *task)
{
    rbk_socket *s = OF_TASK(task, replaced);
    if (!s->closed)
        s->conf.replaced(s->conf.user);
    rbk_socket_unref(s);
}

static void on_quiet(rbk_task *task)
{
    rbk_socket *s = OF_TASK(task, quiet);
    if (!s->closed)
        s->conf.quiet(s->conf.user);
    rbk_socket_unref(s);
}

void rbk_socket_tell_replaced(rbk_socket *s)
{
    rbk_socket_ref(s);
    s->replaced.fn = on_replaced;
    rbk_loop_post(s->conf.loop, &s->replaced);
}

void rbk_socket_tell_quiet(rbk_socket *s)
{
    if (s->told)
        return;
    s->told = true;
    rbk_socket_ref(s);
    s->quiet.fn = on_quiet;
    rbk_loop_post(s->conf.loop, &s->quiet);
}
