# SPDX-License-Identifier: Apache-2.0
"""Requests of 1 KiB to 1 MiB: synchronous ones with a small answer, against nginx, which
reads them and parses nothing; and jobs whose response, delivered over TLS, is as large,
against wrk posting as much over TLS to the same receiver."""
from harness.figures import Row

from .jobs import column, ringback_round

TITLE = "Large requests"
SECONDS = 2
SIZES = {1 << 10: 64, 16 << 10: 64, 128 << 10: 16, 1 << 20: 16}  # and the connections


def padded(head, tail, size):
    return head + b"x" * (size - len(head) - len(tail)) + tail


def call(size):
    return padded(b'{"jsonrpc":"2.0","id":1,"method":"OrderService.processOrder","params":{"orderId":"12345","note":"',
                  b'"}}', size)


def job(size, receiver):
    return padded(b'{"id":1,"method":"demo.echo","params":{"$rpc.callback":"%s","note":"' % receiver.tls_url.encode(),
                  b'"}}', size)


def name(size):
    return f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"


def run(b):
    b.note(f"{SECONDS} s a round; connections: " + ", ".join(f"{c} for {name(n)}" for n, c in SIZES.items())
           + ". The size is that of the whole body of the request.")
    nginx = b.nginx()
    demo = f'method."OrderService.*".module={b.program.parents[2] / "examples/demo.so"}'
    sizes = {n: c for n, c in SIZES.items() if not b.quick or n in (1 << 10, 128 << 10)}
    sides = {size: {"yard": [], "calls": [], "tls": [], "jobs": []} for size in sizes}
    for _ in range(b.rounds):
        server = b.ringback(sets=[demo])
        for size, connections in sizes.items():
            at = sides[size]
            at["yard"].append(b.wrk(nginx.url, call(size), connections, SECONDS, [nginx.process]))
            at["calls"].append(b.wrk(server.url, call(size), connections, SECONDS, [server.process],
                                     lambda answer: b'"status":"completed"' in answer))
        server.end()
        server.drop()
        for size, connections in sizes.items():
            at, body = sides[size], job(size, nginx)
            at["tls"].append(b.wrk(nginx.tls_url, body, connections, SECONDS))
            at["jobs"].append(ringback_round(b, nginx, body, seconds=SECONDS, connections=connections))
    nginx.end()
    rows = [Row(f"calls of {name(size)}", [x.rate for x in at["calls"]], against="nginx",
                theirs=[x.rate for x in at["yard"]], cpu=[x.cpu_us for x in at["calls"]],
                their_cpu=[x.cpu_us for x in at["yard"]], p50=[x.p50_ms for x in at["calls"]],
                p99=[x.p99_ms for x in at["calls"]], memory=[x.memory for x in at["calls"]])
            for size, at in sides.items()]
    return rows + [Row(f"jobs of {name(size)}", column(at["jobs"], "rate"), against="wrk over TLS",
                       theirs=[x.rate for x in at["tls"]], cpu=column(at["jobs"], "cpu"), p50=column(at["jobs"], "p50"),
                       p99=column(at["jobs"], "p99"), memory=column(at["jobs"], "memory"))
                   for size, at in sides.items()]
