# SPDX-License-Identifier: Apache-2.0
"""Calls forwarded to an upstream, which is nginx with a fixed answer, against nginx as a
proxy before the same; and jobs that the upstream runs, against jobs that a module runs."""
from harness.figures import Row
from harness.nginx import free_port

from .jobs import body, column, ringback_round
from .sync import BODY, PARAMS, CONNECTIONS

TITLE = "In front of an upstream"
SECONDS = 3
ANSWER = '{"jsonrpc":"2.0","id":1,"result":' + PARAMS.decode() + "}"
PROXY = """upstream origin { server 127.0.0.1:%d; keepalive 256; }
    server {
        listen 127.0.0.1:%d backlog=4096;
        location / {
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }"""


def run(b):
    b.note(f"{CONNECTIONS} connections, {SECONDS} s a round.")
    origin, receiver, port = b.nginx(answer=ANSWER), b.nginx(), free_port()
    proxy = b.nginx(more=PROXY % (origin.plain, port))
    upstream = f'method."demo.echo".upstream={origin.url}'
    yard, ours, module, jobs = [], [], [], []
    for _ in range(b.rounds):
        yard.append(b.wrk(f"http://127.0.0.1:{port}/api", BODY, CONNECTIONS, SECONDS, [proxy.process],
                          lambda answer: b'"result":{' in answer))
        server = b.ringback(sets=[upstream])
        ours.append(b.wrk(server.url, BODY, CONNECTIONS, SECONDS, [server.process], lambda answer: b'"result":{' in answer))
        server.end()
        server.drop()
        module.append(ringback_round(b, receiver, body(receiver)))
        jobs.append(ringback_round(b, receiver, body(receiver), sets=[upstream]))
    for nginx in (proxy, origin, receiver):
        nginx.end()
    return [Row("forwarded calls", [x.rate for x in ours], against="nginx as a proxy", theirs=[x.rate for x in yard],
                cpu=[x.cpu_us for x in ours], their_cpu=[x.cpu_us for x in yard], p50=[x.p50_ms for x in ours],
                p99=[x.p99_ms for x in ours], memory=[x.memory for x in ours]),
            Row("jobs run by an upstream", column(jobs, "rate"), against="by a module", theirs=column(module, "rate"),
                cpu=column(jobs, "cpu"), their_cpu=column(module, "cpu"), p50=column(jobs, "p50"),
                p99=column(jobs, "p99"), memory=column(jobs, "memory"))]
