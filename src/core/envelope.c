/* SPDX-License-Identifier: Apache-2.0 */
/* core/envelope.c - the only place where a response object is written, so that
 * acknowledgements, synchronous answers and callbacks cannot differ in shape. */
#include "core/envelope.h"

static void open_envelope(rbk_buf *b, rbk_to to)
{
    rbk_buf_c(b, '{');
    if (to.versioned)
        rbk_buf_lit(b, "\"jsonrpc\":\"2.0\",");
    rbk_buf_lit(b, "\"id\":");
    rbk_buf_str(b, to.id.p ? to.id : RBK_STR("null"));
}

void rbk_write_result(rbk_buf *b, rbk_to to, rbk_str result)
{
    rbk_buf_reserve(b, to.id.n + result.n + 48); /* one allocation for all of it */
    open_envelope(b, to);
    rbk_buf_lit(b, ",\"result\":");
    rbk_buf_str(b, result);
    rbk_buf_c(b, '}');
}

static void add_i64(rbk_buf *b, int64_t v)
{
    if (v < 0)
        rbk_buf_c(b, '-');
    rbk_buf_add_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void rbk_write_error(rbk_buf *b, rbk_to to, int64_t code, rbk_str message, rbk_str data)
{
    open_envelope(b, to);
    rbk_buf_lit(b, ",\"error\":{\"code\":");
    add_i64(b, code);
    rbk_buf_lit(b, ",\"message\":");
    rbk_buf_json_str(b, message);
    if (data.p) {
        rbk_buf_lit(b, ",\"data\":");
        rbk_buf_str(b, data);
    }
    rbk_buf_lit(b, "}}");
}

/* The message that the contract gives to a code. Errors of our own making (no memory,
 * disk full) share a code with one of these; what they are is not the caller's. */
static const char *message_of(int code)
{
    for (int err = RBK_E_PARSE; err >= RBK_E_BATCH; err--)
        if (rbk_err_rpc_code(err) == code)
            return rbk_strerror(err);
    return rbk_strerror(RBK_E_INTERNAL);
}

void rbk_write_fault(rbk_buf *b, rbk_to to, int err, rbk_str data)
{
    int code = rbk_err_rpc_code(err);
    rbk_write_error(b, to, code, rbk_str_z(message_of(code)), data);
}

void rbk_write_ack(rbk_buf *b, rbk_to to, rbk_str url, rbk_str job)
{
    rbk_buf_reserve(b, to.id.n + url.n + job.n + 112);
    open_envelope(b, to);
    rbk_buf_lit(b, ",\"result\":{\"callback\":{\"url\":");
    rbk_buf_json_str(b, url);
    rbk_buf_lit(b, ",\"status\":true,\"data\":[");
    if (job.p) {
        rbk_buf_lit(b, "{\"job\":");
        rbk_buf_json_str(b, job);
        rbk_buf_c(b, '}');
    }
    rbk_buf_lit(b, "]}}}");
}

void rbk_write_progress(rbk_buf *b, double value, double total, rbk_str message)
{
    rbk_buf_lit(b, "\"value\":");
    rbk_buf_add_double(b, value);
    if (total > 0) {
        rbk_buf_lit(b, ",\"total\":");
        rbk_buf_add_double(b, total);
    }
    if (message.n) {
        rbk_buf_lit(b, ",\"message\":");
        rbk_buf_str(b, message);
    }
}
