/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_http.c - bytes of a client into the two readers of requests.
 *
 * The first byte picks how the rest is cut. Beyond the sanitizers: whole, in pieces and byte by
 * byte it is the same requests, the same refusal, the same bytes left over; no reader takes what it
 * was not given; and the requests that were accepted are the same when two more stand behind them. */
#include <stdint.h>

#include "../support/http_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require_same(verdict a, verdict b)
{
    if (a.requests != b.requests || a.status != b.status || a.hash != b.hash || a.body != b.body ||
        a.in_request != b.in_request || a.closed != b.closed)
        abort();
}

static const char two[] = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1"
                          "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "1\r\n2\r\n0\r\n\r\n";

/* Whole requests came, and the connection stays: what is pipelined is read as it is meant. */
static void check_in_step(rbk_str in, verdict v)
{
    rbk_buf b = RBK_BUF(2 << 20);
    rbk_buf_str(&b, in);
    rbk_buf_z(&b, two);
    if (rbk_buf_err(&b) == 0) {
        verdict more = read_whole(rbk_buf_view(&b));
        if (more.status != 0 || more.in_request || more.requests != v.requests + 2)
            abort();
    }
    rbk_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    rbk_str in = {(const char *)data + 1, n - 1};
    verdict whole = read_whole(in);
    if (whole.status != 0 && (whole.status < 400 || whole.status > 505))
        abort();
    require_same(whole, read_all(in, data[0] % in.n, 1 + data[0] % 31));
    require_same(whole, read_all(in, 1, 1));
    if (whole.status == 0 && !whole.in_request && !whole.closed)
        check_in_step(in, whole);
    return 0;
}
