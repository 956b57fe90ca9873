# SPDX-License-Identifier: Apache-2.0
"""Durable acknowledgements: 256 connections post jobs that are to run tomorrow, and each
answer means that the job is on the disk. The same load on nginx, which keeps nothing, is
the yardstick; one fdatasync that of the waiting. Afterwards the store must hold every job
that was acknowledged."""
from harness.figures import Row
from harness.processes import Wrong

TITLE = "Durable acknowledgements"
CONNECTIONS, SECONDS = 256, 3
BODY = (b'{"id":1,"method":"demo.echo","params":{"orderId":"12345","customer":"c-118","amount":99.99,'
        b'"$rpc.callback":"https://127.0.0.1:9443/order/callback","$rpc.delay":86400}}')


def acknowledges(answer):
    return b'"status":true' in answer


def run(b):
    b.note(f"Jobs delayed by a day, {CONNECTIONS} connections, {SECONDS} s a round; SQLite, synchronous=FULL. "
           "An fdatasync is the median of appending 4 KiB to a file and syncing it, one after the other.")
    nginx = b.nginx()
    yard, ours, sync = [], [], []
    for _ in range(b.rounds):
        sync.append(b.fdatasync_us() / 1e3)
        yard.append(b.wrk(nginx.url, BODY, CONNECTIONS, SECONDS, [nginx.process]))
        ringback = b.ringback()
        got = b.wrk(ringback.url, BODY, CONNECTIONS, SECONDS, [ringback.process], acknowledges)
        ringback.end()
        stored = ringback.count()
        if not got.n < stored <= got.most + 1:  # the first was the look before
            raise Wrong(f"{got.n} jobs were acknowledged, the store has {stored}")
        ringback.drop()
        ours.append(got)
    nginx.end()
    return [
        Row("acknowledgements", [x.rate for x in ours], against="nginx", theirs=[x.rate for x in yard],
            goals=(0.45, 0.6), cpu=[x.cpu_us for x in ours], their_cpu=[x.cpu_us for x in yard],
            p50=[x.p50_ms for x in ours], p99=[x.p99_ms for x in ours], memory=[x.memory for x in ours]),
        Row("p99 of an acknowledgement", [x.p99_ms for x in ours], unit="ms", against="one fdatasync", theirs=sync,
            goals=(40,), less=True)]
