/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_response.c - see http_response.h. Wraps llhttp for one request's answer.
 *
 * llhttp knows the grammar; here is what it leaves open: only HTTP/1.0 and 1.1, only
 * statuses 100 to 599, no 101 where nobody asked for another protocol, bounds, and when a
 * connection is clean enough to be used again. That last is the strictest: an answer
 * that two readers could frame in two ways closes the connection. */
#include "net/http_response.h"

static rbk_response *of(llhttp_t *p)
{
    return p->data;
}

static int refuse(llhttp_t *p, const char *why)
{
    of(p)->fault = why;
    llhttp_set_error_reason(p, why);
    return -1;
}

static int on_begin(llhttp_t *p)
{
    rbk_response *r = of(p);
    r->early = r->request_open;
    r->n_retry_after = r->n_encoding = 0;
    r->retry_after_n = r->encoding_n = 0;
    r->field_n = 0;
    if (r->upgrade)
        *r->upgrade = (rbk_response_upgrade){0};
    if (r->extra)
        *r->extra = (rbk_response_extra){0};
    return 0;
}

static int on_field(llhttp_t *p, const char *at, size_t n)
{
    rbk_response *r = of(p);
    for (size_t i = 0; i < n; i++) {
        if (r->field_n < sizeof r->field)
            r->field[r->field_n] = rbk_lower(at[i]);
        if (r->field_n <= sizeof r->field) /* one past the end: too long to be of interest */
            r->field_n++;
    }
    return 0;
}

static void keep(rbk_response *r, char *value, size_t *n)
{
    r->value = value;
    r->value_n = n;
    r->value_max = RBK_RESPONSE_FIELD_MAX;
    *n = 0;
}

static void keep_extra(rbk_response *r, rbk_response_extra *x, rbk_str name)
{
    if (rbk_str_eqz(name, "location")) {
        x->n_location++;
        keep(r, x->location, &x->location_n);
        r->value_max = sizeof x->location;
    } else if (rbk_str_eqz(name, "keep-alive")) {
        x->n_keep_alive++;
        keep(r, x->keep_alive, &x->keep_alive_n);
    }
}

static void keep_upgrade(rbk_response *r, rbk_response_upgrade *u, rbk_str name)
{
    if (rbk_str_eqz(name, "upgrade")) {
        u->n_upgrade++;
        keep(r, u->upgrade, &u->upgrade_n);
    } else if (rbk_str_eqz(name, "connection")) {
        u->n_connection++;
        keep(r, u->connection, &u->connection_n);
    } else if (rbk_str_eqz(name, "sec-websocket-accept")) {
        u->n_accept++;
        keep(r, u->accept, &u->accept_n);
    } else if (rbk_str_eqz(name, "sec-websocket-extensions") ||
               rbk_str_eqz(name, "sec-websocket-protocol")) {
        u->n_unasked++;
    }
}

static int on_field_end(llhttp_t *p)
{
    rbk_response *r = of(p);
    rbk_str name = {r->field, r->field_n};
    r->field_n = 0;
    r->value = NULL;
    if (r->head_done || name.n > sizeof r->field) /* a trailer says nothing about the head */
        return 0;
    if (rbk_str_eqz(name, "retry-after")) {
        r->n_retry_after++;
        r->value = r->retry_after;
        r->value_n = &r->retry_after_n;
        r->value_max = RBK_RESPONSE_FIELD_MAX;
    } else if (rbk_str_eqz(name, "transfer-encoding")) {
        r->n_encoding++;
        r->value = r->encoding;
        r->value_n = &r->encoding_n;
        r->value_max = RBK_RESPONSE_FIELD_MAX;
    } else if (r->upgrade) {
        keep_upgrade(r, r->upgrade, name);
    } else if (r->extra) {
        keep_extra(r, r->extra, name);
    }
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    rbk_response *r = of(p);
    if (r->value == NULL)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (*r->value_n < r->value_max)
            r->value[*r->value_n] = at[i];
        if (*r->value_n <= r->value_max)
            (*r->value_n)++;
    }
    return 0;
}

static int on_head(llhttp_t *p)
{
    rbk_response *r = of(p);
    int status = llhttp_get_status_code(p);
    if (llhttp_get_http_major(p) != 1 || llhttp_get_http_minor(p) > 1)
        return refuse(p, "not HTTP/1.0 or HTTP/1.1");
    if (status < 100 || status > 599)
        return refuse(p, "status out of range");
    if (status == 101 && (r->upgrade == NULL || llhttp_get_http_minor(p) == 0))
        return refuse(p, "unwanted 101 Switching Protocols");
    if (status == 101) {
        r->status = status;
        r->head_done = true;
        return 2; /* what follows is no HTTP */
    }
    if (status < 200) {
        if (++r->n_interim > RBK_RESPONSE_INTERIM_MAX)
            return refuse(p, "too many interim answers");
        return 1; /* no body, whatever the headers say */
    }
    r->status = status;
    r->head_done = true;
    return status == 204 || status == 304 ? 1 : 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    if (of(p)->body)
        rbk_buf_add(of(p)->body, at, n);
    return 0;
}

/* Transfer-Encoding is absent, or exactly "chunked". */
static bool well_framed(const rbk_response *r)
{
    if (r->n_encoding != 1 || r->encoding_n > RBK_RESPONSE_FIELD_MAX)
        return r->n_encoding == 0;
    return rbk_str_ieqz(rbk_str_trim((rbk_str){r->encoding, r->encoding_n}), "chunked");
}

static int on_end(llhttp_t *p)
{
    rbk_response *r = of(p);
    if (!r->head_done)
        return 0; /* an interim one: the next follows */
    r->done = true;
    r->clean = well_framed(r) && llhttp_get_http_minor(p) == 1 && llhttp_should_keep_alive(p);
    return HPE_PAUSED; /* what follows was not asked for */
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_begin,
    .on_header_field = on_field,
    .on_header_field_complete = on_field_end,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_end,
};

void rbk_response_init(rbk_response *r)
{
    /* The text fields are written before they are read; all else starts at zero. */
    llhttp_init(&r->parser, HTTP_RESPONSE, &settings);
    r->parser.data = r;
    r->status = 0;
    r->head_done = r->done = r->clean = r->request_open = r->early = false;
    r->fault = NULL;
    r->body = NULL;
    r->extra = NULL;
    r->upgrade = NULL;
    r->head_n = r->body_n = 0;
    r->n_interim = r->n_retry_after = r->n_encoding = 0;
    r->field_n = r->retry_after_n = r->encoding_n = 0;
    r->value = NULL;
    r->value_n = NULL;
    r->value_max = 0;
}

/* Up to `n` bytes; `ret_used` is how many of them belong to this answer. */
static int parse(rbk_response *r, const char *p, size_t n, size_t *ret_used)
{
    llhttp_errno_t e = llhttp_execute(&r->parser, p, n);
    *ret_used = n;
    if (e == HPE_OK)
        return 0;
    if ((e == HPE_PAUSED || e == HPE_PAUSED_UPGRADE) && r->done) {
        *ret_used = (size_t)(llhttp_get_error_pos(&r->parser) - p);
        return 0;
    }
    if (r->fault == NULL)
        r->fault = llhttp_get_error_reason(&r->parser);
    return RBK_E_PROTOCOL;
}

static int feed_head(rbk_response *r, const char *p, size_t n, size_t *ret_used)
{
    if (r->head_n == 0 && p[0] != 'H') { /* llhttp would skip blank lines */
        r->fault = "not HTTP";
        return RBK_E_PROTOCOL;
    }
    size_t room = RBK_RESPONSE_HEAD_MAX - r->head_n;
    int e = parse(r, p, n < room ? n : room, ret_used);
    r->head_n += *ret_used;
    if (e == 0 && !r->head_done && r->head_n == RBK_RESPONSE_HEAD_MAX) {
        r->fault = "head too large";
        e = RBK_E_PROTOCOL;
    }
    return e;
}

static bool is_too_large(const rbk_response *r)
{
    if (r->body)
        return rbk_buf_err(r->body) < 0 || r->body_n > RBK_RESPONSE_BODY_MAX + 2 * r->body->max;
    return r->body_n > RBK_RESPONSE_BODY_MAX;
}

int rbk_response_feed(rbk_response *r, const char *p, size_t n)
{
    size_t used = 0;
    while (n > 0 && !r->done) {
        int e = r->head_done ? parse(r, p, n, &used) : feed_head(r, p, n, &used);
        if (e < 0)
            return e;
        if (r->head_done)
            r->body_n += used; /* of the piece with the head's end, all: a bound, no count */
        if (is_too_large(r) && !r->done) {
            r->done = true;
            r->fault = "body too large";
        }
        p += used;
        n -= used;
    }
    if (r->upgrade && r->done && r->status == 101)
        r->upgrade->rest = (rbk_str){p, n};
    else if (n > 0 && r->fault == NULL)
        r->fault = "more than an answer"; /* nobody knows whose it is */
    r->clean = r->clean && r->fault == NULL;
    return 0;
}

bool rbk_response_end(rbk_response *r)
{
    if (r->head_done && !r->done)
        llhttp_finish(&r->parser);
    r->clean = false;
    return r->done;
}

bool rbk_response_begun(const rbk_response *r)
{
    return r->head_n > 0 || r->fault != NULL;
}

rbk_str rbk_response_retry_after(const rbk_response *r)
{
    if (r->n_retry_after != 1 || r->retry_after_n > RBK_RESPONSE_FIELD_MAX)
        return RBK_STR_NONE;
    return rbk_str_trim((rbk_str){r->retry_after, r->retry_after_n});
}

rbk_str rbk_response_location(const rbk_response *r)
{
    const rbk_response_extra *x = r->extra;
    if (x == NULL || x->n_location != 1 || x->location_n > sizeof x->location)
        return RBK_STR_NONE;
    return rbk_str_trim((rbk_str){x->location, x->location_n});
}

/* A list of name=value; only `timeout` is known to anybody. */
int64_t rbk_response_keep_alive_ms(const rbk_response *r)
{
    const rbk_response_extra *x = r->extra;
    static const char name[] = "timeout=";
    if (x == NULL || x->n_keep_alive != 1 || x->keep_alive_n > sizeof x->keep_alive)
        return -1;
    const char *p = memmem(x->keep_alive, x->keep_alive_n, name, sizeof name - 1);
    if (p == NULL)
        return -1;
    const char *end = x->keep_alive + x->keep_alive_n;
    rbk_str digits = {p + sizeof name - 1, 0};
    while (digits.p + digits.n < end && digits.p[digits.n] >= '0' && digits.p[digits.n] <= '9')
        digits.n++;
    uint64_t seconds;
    return rbk_str_u64(digits, 100000, &seconds) < 0 ? -1 : (int64_t)seconds * 1000;
}
