# SPDX-License-Identifier: Apache-2.0
"""Batches of 10, 100 and 1,000 calls, synchronous and with callbacks (delayed by a day, as
in `acks`), against the same calls one a request. Rates are of members. Every job that was
acknowledged must be in the store."""
from harness.figures import Row
from harness.processes import Wrong

from .acks import BODY as JOB
from .sync import BODY as CALL

TITLE = "Batches"
SECONDS = 2
SIZES = {1: 64, 10: 64, 100: 16, 1000: 4}  # and the connections


def many(body, n):
    return body if n == 1 else b"[" + b",".join([body] * n) + b"]"


def load(b, server, body, n, word):
    got = b.wrk(server.url, many(body, n), SIZES[n], SECONDS, [server.process], lambda answer: answer.count(word) == n)
    got.rate, got.cpu_us = got.rate * n, got.cpu_us / n
    return got


def jobs(b, n):
    """On a store of its own, which is looked at."""
    server = b.ringback()
    got = load(b, server, JOB, n, b'"status":true')
    server.end()
    stored = server.count()
    if not got.n < stored / n <= got.most + 1:  # the first was the look before
        raise Wrong(f"{(got.n + 1) * n} jobs were acknowledged, the store has {stored}")
    server.drop()
    return got


def run(b):
    b.note(f"{SECONDS} s a round; connections: " + ", ".join(f"{c} for {n}" for n, c in SIZES.items())
           + ". Rates and CPU are those of members, percentiles those of whole batches.")
    sizes = list(SIZES)[:2] if b.quick else list(SIZES)
    calls, stored = ({n: [] for n in sizes} for _ in range(2))
    for _ in range(b.rounds):
        server = b.ringback()
        for n in sizes:
            calls[n].append(load(b, server, CALL, n, b'"result"'))
        server.end()
        server.drop()
        for n in sizes:
            stored[n].append(jobs(b, n))
    return [Row(f"{what} in batches of {n}", [x.rate for x in loads[n]], against="one a request",
                theirs=[x.rate for x in loads[1]], cpu=[x.cpu_us for x in loads[n]],
                their_cpu=[x.cpu_us for x in loads[1]], p50=[x.p50_ms for x in loads[n]],
                p99=[x.p99_ms for x in loads[n]], memory=[x.memory for x in loads[n]])
            for what, loads in (("calls", calls), ("acknowledged jobs", stored)) for n in sizes if n > 1]
