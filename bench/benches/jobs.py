# SPDX-License-Identifier: Apache-2.0
"""Jobs accepted, run and delivered over TLS, against wrk that posts over TLS to the same
receiver, and against two queues for Node with a front that acknowledges and a worker that
posts.

The receiver is nginx with a P-256 certificate. Jobs are posted for some seconds; the rate
is that of all of them, from the first request to the last delivery that the receiver
counted. Afterwards the store must be empty, and no job lost or doubled."""
import time

from harness import peers
from harness.context import Cpu
from harness.figures import Row
from harness.processes import Wrong, memory_mib

TITLE = "Jobs, from request to delivery"
CONNECTIONS, SECONDS = 64, 3
PAYLOAD = b'"orderId":"12345","customer":"c-118","amount":99.99,"note":"' + b"x" * 120 + b'"'
RESULT = b'{"id":1,"result":{' + PAYLOAD + b"}}"


def body(receiver, payload=PAYLOAD):
    return b'{"id":1,"method":"demo.echo","params":{%s,"$rpc.callback":"%s"}}' % (payload, receiver.tls_url.encode())


def acknowledges(answer):
    return b'"status":true' in answer


def deliveries(receiver, before, at_least, most, idle=None, limit=120):
    """Wait until nothing comes any more: how many came, and when the last one did. The end is
    where `idle` says so, else a second of silence."""
    count, seen = receiver.received() - before, time.monotonic()
    while count < at_least or (not idle() if idle else count < most and time.monotonic() - seen < 1):
        if time.monotonic() - seen > limit:
            raise Wrong(f"{at_least} jobs were acknowledged, {count} delivered")
        time.sleep(0.02)
        now = receiver.received() - before
        if now != count:
            count, seen = now, time.monotonic()
    return count, seen


def one(b, server, processes, receiver, text, idle=None, seconds=SECONDS, connections=CONNECTIONS):
    """One round: jobs a second, CPU of each, MiB, and what wrk saw."""
    before = receiver.received()
    cpu, start = Cpu(*processes), time.monotonic()
    got = b.wrk(server.url, text, connections, seconds, processes, acknowledges)
    count, last = deliveries(receiver, before, got.n + 1, got.most + 1, idle)
    if count > got.most + 1:  # the first was the look before
        raise Wrong(f"{server.url}: {got.n + 1} to {got.most + 1} jobs, {count} delivered")
    memory = max(got.memory, memory_mib([p.pid for p in processes]))
    return {"count": count, "rate": count / (last - start), "cpu": cpu.us(count), "memory": memory,
            "p50": got.p50_ms, "p99": got.p99_ms}


def ringback_round(b, receiver, text, sets=(), **kw):
    ringback = b.ringback(ca=receiver.ca, sets=sets)
    got = one(b, ringback, [ringback.process], receiver, text, lambda: ringback.unfinished() == 0, **kw)
    ringback.end()
    left = ringback.count()
    if left:
        raise Wrong(f"{got['count']} delivered, {left} left in the store")
    ringback.drop()
    return got


def peer_round(b, start, receiver, text):
    peer = start(b, receiver)
    if peer is None:
        return None
    got = one(b, peer, peer.processes, receiver, text)
    peer.end()
    return got


def column(rounds, key):
    return [r[key] for r in rounds]


def run(b):
    b.note(f"{CONNECTIONS} connections, {SECONDS} s a round and until all is delivered; the percentiles are of the "
           "acknowledgement. The CPU of Redis and PostgreSQL counts with that of their queue.")
    receivers = {"jobs": b.nginx()}
    if b.speaks("delivery.http2"):
        receivers["jobs to a receiver with HTTP/2"] = b.nginx(http2=True)
        b.note("wrk posts over HTTP/1.1, also where ringback delivers over HTTP/2.")
    receiver = receivers["jobs"]
    queues = {"BullMQ": (peers.start_bullmq, (6,)), "pg-boss": (peers.start_pgboss, (20,))} if b.peers else {}
    yard, ours, theirs = [], {name: [] for name in receivers}, {name: [] for name in queues}
    for _ in range(b.rounds):
        yard.append(b.wrk(receiver.tls_url, RESULT, CONNECTIONS, SECONDS).rate)
        for name, nginx in receivers.items():
            ours[name].append(ringback_round(b, nginx, body(nginx)))
        for name, (start, _) in list(queues.items()):
            got = peer_round(b, start, receiver, body(receiver))
            if got is None:
                del queues[name]
            else:
                theirs[name].append(got)
    for nginx in receivers.values():
        nginx.end()

    def row(name, **kw):
        own = ours[name]
        return Row(name, column(own, "rate"), cpu=column(own, "cpu"), p50=column(own, "p50"), p99=column(own, "p99"),
                   memory=column(own, "memory"), **kw)
    return [row(name, against="wrk over TLS", theirs=yard, goals=(0.35, 0.5)) for name in receivers] + [
        row("jobs", against=name, theirs=column(theirs[name], "rate"), goals=goals, their_cpu=column(theirs[name], "cpu"))
        for name, (_, goals) in queues.items()]
