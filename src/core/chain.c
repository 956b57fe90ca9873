/* SPDX-License-Identifier: Apache-2.0 */
/* core/chain.c - see chain.h. */
#include "core/chain.h"

#include "core/envelope.h"
#include "core/job_state.h"
#include "core/json.h"

#include <stdlib.h>

enum { SEQ_DIGITS = 16, ARENA_MAX = 64 << 20 };

/* --- The text ----------------------------------------------------------------------------- */

static void put_seq(char out[SEQ_DIGITS], uint64_t v)
{
    for (int i = SEQ_DIGITS; i-- > 0; v >>= 4)
        out[i] = "0123456789abcdef"[v & 15];
}

static uint64_t get_seq(const char *p)
{
    uint64_t v = 0;
    for (int i = 0; i < SEQ_DIGITS; i++)
        v = v << 4 | (uint64_t)(p[i] <= '9' ? p[i] - '0' : p[i] - 'a' + 10);
    return v;
}

void rbk_chain_add_feed(rbk_buf *b, const rbk_feed *feed)
{
    char digits[SEQ_DIGITS];
    put_seq(digits, (uint64_t)feed->to);
    rbk_buf_lit(b, "f ");
    rbk_buf_add(b, digits, sizeof digits);
    rbk_buf_c(b, ' ');
    rbk_buf_add_u64(b, feed->part);
    rbk_buf_c(b, '\n');
}

void rbk_chain_add_needs(rbk_buf *b, uint32_t parts, size_t max)
{
    rbk_buf_lit(b, "n ");
    rbk_buf_add_u64(b, parts);
    rbk_buf_c(b, ' ');
    rbk_buf_add_u64(b, max);
    rbk_buf_c(b, '\n');
}

/* The next line, without its end. */
static bool next_line(rbk_str *at, rbk_str *ret)
{
    const char *end = at->n ? memchr(at->p, '\n', at->n) : NULL;
    if (end == NULL)
        return false;
    *ret = (rbk_str){at->p, (size_t)(end - at->p)};
    *at = (rbk_str){end + 1, at->n - ret->n - 1};
    return true;
}

static bool is_line(rbk_str line, char kind)
{
    return line.n > 2 && line.p[0] == kind && line.p[1] == ' ';
}

/* The number at the head of `s`, up to a blank or the end, which goes too. */
static uint64_t take_number(rbk_str *s)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < s->n && s->p[i] != ' '; i++)
        v = v * 10 + (unsigned char)s->p[i] - '0';
    i += i < s->n;
    *s = (rbk_str){s->p + i, s->n - i};
    return v;
}

bool rbk_chain_next_feed(rbk_str *at, rbk_feed *ret)
{
    for (rbk_str line; next_line(at, &line);) {
        if (!is_line(line, 'f') || line.n < 2 + SEQ_DIGITS + 1)
            continue;
        rbk_str rest = {line.p + 2 + SEQ_DIGITS + 1, line.n - 2 - SEQ_DIGITS - 1};
        ret->to = (int64_t)get_seq(line.p + 2);
        ret->part = (uint32_t)take_number(&rest);
        return true;
    }
    return false;
}

uint32_t rbk_chain_needs(rbk_str chain, size_t *ret_max)
{
    for (rbk_str line; next_line(&chain, &line);)
        if (is_line(line, 'n')) {
            rbk_str rest = {line.p + 2, line.n - 2};
            uint32_t parts = (uint32_t)take_number(&rest);
            *ret_max = (size_t)take_number(&rest);
            return parts;
        }
    return 0;
}

bool rbk_chain_is_composed(rbk_str chain)
{
    for (rbk_str line; next_line(&chain, &line);)
        if (is_line(line, 'c'))
            return true;
    return false;
}

rbk_str rbk_chain_fault(rbk_str chain)
{
    for (rbk_str line; next_line(&chain, &line);)
        if (is_line(line, 'e'))
            return (rbk_str){line.p + 2, line.n - 2};
    return RBK_STR_NONE;
}

void rbk_chain_resolve(rbk_str chain, const int64_t *seq_of, size_t n)
{
    for (rbk_str line; next_line(&chain, &line);)
        if (is_line(line, 'f') && line.n > 2 + SEQ_DIGITS) {
            uint64_t to = get_seq(line.p + 2);
            char *digits = (char *)(uintptr_t)(line.p + 2); /* the job's own */
            put_seq(digits, to < n ? (uint64_t)seq_of[to] : 0);
        }
}

/* --- Composing ------------------------------------------------------------------------------- */

void rbk_composed_free(rbk_composed *c)
{
    rbk_buf_free(&c->text);
    rbk_buf_free(&c->chain);
}

static void keep_feeds(rbk_str chain, rbk_buf *to)
{
    rbk_feed feed;
    while (rbk_chain_next_feed(&chain, &feed))
        rbk_chain_add_feed(to, &feed);
}

static int finish(rbk_composed *c, int err)
{
    if (err == 0)
        err = c->text.err ? c->text.err : c->chain.err;
    if (err < 0)
        rbk_composed_free(c);
    return err;
}

static int fail_with(const rbk_job *held, const rbk_buf *data, rbk_composed *c)
{
    rbk_buf_free(&c->text);
    keep_feeds(held->chain, &c->chain);
    rbk_buf_lit(&c->chain, "e ");
    rbk_buf_str(&c->chain, data->n ? rbk_buf_view(data) : RBK_STR("null"));
    rbk_buf_c(&c->chain, '\n');
    return finish(c, 0);
}

static int compose_params(const rbk_job *held, rbk_part_fn part, void *user, rbk_composed *c)
{
    rbk_buf fault = RBK_BUF(65536);
    int err = rbk_refs_replace(held->params, part, user, &c->text, &fault);
    if (err == RBK_E_PARAMS) {
        err = fail_with(held, &fault, c);
    } else {
        keep_feeds(held->chain, &c->chain);
        rbk_buf_lit(&c->chain, "c 1\n");
        err = finish(c, err);
    }
    rbk_buf_free(&fault);
    return err;
}

/* In the place of a response that finds no room: its id, and that it was too large. */
static void add_too_large(rbk_buf *b, rbk_str response)
{
    const char *p = response.p;
    rbk_to to = {RBK_STR_NONE, false};
    for (rbk_str raw; rbk_json_member(&p, &raw);) {
        rbk_str value = rbk_json_value(&p);
        if (rbk_str_eq(raw, RBK_STR("id")))
            to.id = value;
        to.versioned |= rbk_str_eq(raw, RBK_STR("jsonrpc"));
    }
    rbk_write_fault(b, to, RBK_E_RESULT_SIZE, RBK_STR_NONE);
}

static void add_entry(rbk_buf *b, rbk_str response, size_t max)
{
    if (b->n > 1)
        rbk_buf_c(b, ',');
    if (b->n + response.n < max)
        rbk_buf_str(b, response);
    else
        add_too_large(b, response);
}

static int compose_batch(const rbk_job *held, rbk_part_fn part, void *user, size_t max,
                         rbk_composed *c)
{
    const char *p = held->params.p;
    rbk_buf_c(&c->text, '[');
    for (uint32_t i = 0; rbk_json_element(&p); i++) {
        rbk_str entry = rbk_json_value(&p);
        if (rbk_str_eq(entry, RBK_STR("false")))
            continue;
        int err = entry.p[0] == 'n' ? part(user, i, &entry) : 0;
        if (err < 0)
            return finish(c, err);
        add_entry(&c->text, entry, max);
    }
    rbk_buf_c(&c->text, ']');
    return finish(c, 0);
}

int rbk_chain_compose(const rbk_job *held, rbk_part_fn part, void *user, rbk_composed *ret)
{
    size_t max = 0;
    bool batch = (held->flags & RBK_JOB_BATCH) != 0;
    rbk_chain_needs(held->chain, &max);
    *ret = (rbk_composed){.state = batch ? RBK_JOB_DUE : RBK_JOB_QUEUED,
                          .text = RBK_BUF(batch ? SIZE_MAX / 2 : max),
                          .chain = RBK_BUF(SIZE_MAX / 2)};
    return batch ? compose_batch(held, part, user, max, ret) : compose_params(held, part, user, ret);
}

int rbk_chain_fail(const rbk_job *held, uint32_t part, rbk_composed *ret)
{
    rbk_arena a = RBK_ARENA(ARENA_MAX);
    rbk_buf fault = RBK_BUF(65536);
    rbk_refs refs;
    int err = rbk_refs_find(&a, held->params, &refs);
    for (size_t i = 0; err == 0 && i < refs.n; i++)
        if (refs.ref[i].part == part) {
            rbk_ref_fault(&fault, &refs.ref[i], RBK_REF_FAILED);
            break;
        }
    *ret = (rbk_composed){.state = RBK_JOB_QUEUED, .text = RBK_BUF(1), .chain = RBK_BUF(SIZE_MAX / 2)};
    if (err == 0)
        err = fail_with(held, &fault, ret);
    rbk_buf_free(&fault);
    rbk_arena_free(&a);
    return err;
}
