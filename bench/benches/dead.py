# SPDX-License-Identifier: Apache-2.0
"""A healthy receiver's deliveries beside receivers that hang: they take the connection,
speak TLS, read the request, and never answer. Each has 200 jobs waiting, and as many under
way as ringback allows, before the load begins. In turn with 0, 1, 16 and 64 of them."""
import contextlib
import socket
import time

from harness import fill
from harness.context import Cpu
from harness.figures import Row
from harness.nginx import free_port
from harness.processes import Wrong, wait_for

from .jobs import CONNECTIONS, acknowledges, body, column, deliveries

TITLE = "Beside receivers that hang"
SECONDS, JOBS, MOST, PER_RECEIVER = 3, 200, 64, 16
HUNG = (0, 1, 16, 64)
SERVER = """server {
        %s
        location / { proxy_pass http://127.0.0.1:%d; proxy_connect_timeout 600s; proxy_read_timeout 600s; }
    }"""


@contextlib.contextmanager
def hanging(b):
    """nginx on 64 addresses, in front of a socket that nobody accepts from."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(4096)
        port = free_port("127.0.1.1")
        listens = " ".join(f"listen 127.0.1.{i + 1}:{port} ssl backlog=4096;" for i in range(MOST))
        nginx = b.nginx(more=SERVER % (listens, hole.getsockname()[1]))
        nginx.hosts = [f"127.0.1.{i + 1}:{port}" for i in range(MOST)]
        try:
            yield nginx
        finally:
            nginx.end()


def one(b, receiver, hung, n):
    ringback = b.ringback(ca=receiver.ca)
    waiting = 0
    if n:
        before = hung.received()
        jobs = fill.batch([fill.member(f"https://{host}/callback") for host in hung.hosts[:n]])
        waiting = fill.fill(ringback.url, jobs, max(fill.BATCH, n * JOBS))
        wait_for(lambda: hung.received() - before >= min(n * PER_RECEIVER, 800), 15,
                 lambda: f"{n * PER_RECEIVER} requests hang: {hung.received() - before}", pause=0.02)
    before = receiver.received()
    cpu, start = Cpu(ringback.process), time.monotonic()
    got = b.wrk(ringback.url, body(receiver), CONNECTIONS, SECONDS, [ringback.process], acknowledges)
    count, last = deliveries(receiver, before, got.n + 1, got.most + 1,
                             lambda: ringback.unfinished() <= waiting)
    used = cpu.us(count)
    ringback.kill()  # in order it would wait for those that hang
    left = ringback.count()
    ringback.drop()
    if left != waiting or count > got.most + 1:
        raise Wrong(f"{got.n} acknowledged, {count} delivered, {waiting} for receivers that hang, {left} left")
    return {"rate": count / (last - start), "cpu": used, "p50": got.p50_ms, "p99": got.p99_ms, "memory": got.memory}


def run(b):
    b.note(f"{CONNECTIONS} connections post jobs for one healthy receiver, {SECONDS} s a round and until all of them are "
           f"delivered; each receiver that hangs holds {PER_RECEIVER} deliveries meanwhile, the default of `per_receiver`.")
    receiver = b.nginx()
    rounds = {n: [] for n in (HUNG[:2] if b.quick else HUNG)}
    with hanging(b) as hung:
        for _ in range(b.rounds):
            for n in rounds:
                rounds[n].append(one(b, receiver, hung, n))
    receiver.end()
    without = column(rounds[0], "rate"), column(rounds[0], "cpu")
    return [Row(f"jobs beside {n} that hang{'' if n > 1 else 's'}", column(rounds[n], "rate"),
                against="none", theirs=without[0], goals=(0.9,), cpu=column(rounds[n], "cpu"), their_cpu=without[1],
                p50=column(rounds[n], "p50"), p99=column(rounds[n], "p99"), memory=column(rounds[n], "memory"))
            for n in rounds if n]
