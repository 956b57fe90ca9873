# SPDX-License-Identifier: Apache-2.0
"""A server that has very many jobs waiting, beside one that has none: acknowledgements,
memory, start, size of the file.

The jobs come through the front, in batches. Three kinds wait: delayed by a day; behind a
method that is held by the first of them; due to a thousand receivers that refuse every
connection, each having been run and tried. Then, in turn, an empty server and one started
on the backlog take the load of `acks`. At the end the store must hold every job."""
import os
import shutil
import time

from harness import fill
from harness.figures import Row, number
from harness.nginx import free_port
from harness.processes import Wrong, cpu_seconds, memory_mib, wait_for

from .acks import BODY, acknowledges

TITLE = "With a backlog"
CONNECTIONS, SECONDS, RECEIVERS = 256, 3, 1000
BYTES_A_JOB = 2000  # of disk, at most, while it is filled
LARGE = 10000000


def delayed():
    return [fill.member("https://127.0.0.1:9443/order/callback", more=',"$rpc.delay":86400')]


def held():
    return [fill.member("https://127.0.0.1:9443/order/callback", method="demo.sleep", params='"seconds":3600')]


def dead():
    port = free_port("127.77.0.1")
    return [fill.member(f"https://127.77.{i // 250}.{i % 250 + 1}:{port}/callback") for i in range(RECEIVERS)]


KINDS = {"delayed": ("delayed", delayed), "held": ("behind a held method", held),
         "dead": ("due to 1,000 dead receivers", dead)}


def options(b):
    """What the backlog needs beside the defaults: room, a method that is held, a stop that does not wait for it."""
    return [f"store.max_pending={max(10000000, b.size * 2)}", "store.max_pending_bytes=100G", "server.drain=0",
            'method."demo.sleep".concurrency=1', 'method."demo.sleep".timeout=1h']


def still_queued(server):
    """Jobs whose method has not run."""
    return server.count("SELECT queued FROM stat")


def make(b, server, kind):
    """The backlog, and how fast it came."""
    start = time.monotonic()
    n = fill.fill(server.url, fill.batch(KINDS[kind][1]()), b.size)
    rate = n / (time.monotonic() - start)
    if kind == "dead":
        wait_for(lambda: still_queued(server) == 0, 900, "every job has run", pause=0.2)
    return n, rate


def load(b, server):
    return b.wrk(server.url, BODY, CONNECTIONS, SECONDS, [server.process], acknowledges)


def settle(server):
    """Seconds until it uses less than a tenth of a core: after a start what is due is tried."""
    pids, begin = [server.process.pid], time.monotonic()

    def calm():
        before = cpu_seconds(pids)
        time.sleep(0.5)
        return cpu_seconds(pids) - before < 0.05
    wait_for(calm, 300, "the server comes to rest after its start")
    return time.monotonic() - begin - 0.5


def one(b, kind):
    what = f"{number(b.size)} {KINDS[kind][0]}"
    server = b.ringback(sets=options(b))
    n, rate = make(b, server, kind)
    memory = [memory_mib([server.process.pid])]
    server.end()
    size = sum(f.stat().st_size for f in server.files()) / (1 << 20)
    empty, full, first, starts, rests, most = [], [], [], [], [], n
    for _ in range(b.rounds):
        other = b.ringback(sets=options(b))
        empty.append(load(b, other))
        other.end()
        other.drop()
        server = b.ringback(sets=options(b), store=server.store)
        starts.append(server.start_seconds)
        first.append(load(b, server))
        rests.append(settle(server))
        full.append(load(b, server))
        server.end()
        for got in (first[-1], full[-1]):
            memory.append(got.memory)
            n, most = n + got.n + 1, most + got.most + 1
    left = server.count()
    if not n <= left <= most:
        raise Wrong(f"{n} jobs were acknowledged, the store has {left}")
    server.drop()
    large = b.size >= LARGE
    return [
        Row(f"acknowledgements, {what}", [x.rate for x in full], against="none waiting", theirs=[x.rate for x in empty],
            goals=(0.7 if large else 0.8,), cpu=[x.cpu_us for x in full], their_cpu=[x.cpu_us for x in empty],
            p50=[x.p50_ms for x in full], p99=[x.p99_ms for x in full]),
        Row("the same, just started", [x.rate for x in first], against="none waiting", theirs=[x.rate for x in empty],
            cpu=[x.cpu_us for x in first], their_cpu=[x.cpu_us for x in empty], p50=[x.p50_ms for x in first],
            p99=[x.p99_ms for x in first]),
        Row("at rest after that", rests, unit="s"),
        Row(f"memory, {what}", [max(memory)], unit="MiB", goals=(96 if large else 64,), less=True),
        Row(f"start, {what}", starts, unit="s", goals=() if large else (5,), less=True),
        Row(f"file, {what}", [size], unit="MiB"),
        Row(f"fill, {what}", [rate])]


def run(b):
    kinds = b.kinds or (["delayed"] if b.size >= LARGE else ["delayed", "dead"] if b.quick else list(KINDS))
    free = shutil.disk_usage(b.folder).free
    if b.size * BYTES_A_JOB > free:
        raise Wrong(f"{number(b.size)} jobs may need {b.size * BYTES_A_JOB >> 20} MiB of disk, {free >> 20} are free")
    b.note("A server that was just started tries at once what is due; `just started` is a load in its first seconds. Then "
           "it is left alone until it uses less than a tenth of a core, and loaded again.")
    b.note(f"Filled over {fill.CONNECTIONS} connections in batches of {fill.BATCH}, each job some 200 bytes; then "
           f"{CONNECTIONS} connections post delayed jobs for {SECONDS} s a round. Memory is the most that was seen: after "
           "the fill, and after each load. The start is from the process to the first answer, with the file in "
           "the page cache. Set beside the defaults: room for so many jobs, `server.drain=0`, one place for the held method.")
    os.sync()
    return [row for kind in kinds for row in one(b, kind)]
