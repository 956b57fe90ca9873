# SPDX-License-Identifier: Apache-2.0
"""One job at a time on an idle server, from the first byte of the request to the last of
the callback, against two serial commits and one POST over a kept TLS connection; both by
bench/latency.c, in turn."""
import json
import subprocess

from harness.figures import Row
from harness.processes import Wrong

TITLE = "One job on an idle server"
JOBS = 300


def run(b):
    jobs = 20 if b.quick else JOBS
    b.note(f"{jobs} jobs a round, with 5 ms of rest before each. The yardstick is an insert and an update in an SQLite "
           "database of its own (WAL, synchronous=FULL), each a commit, then the POST.")
    cert = b.certificate()
    program = b.compile("latency.c", "-lssl", "-lcrypto", "-lsqlite3", "-pthread")
    rounds = []
    for _ in range(b.rounds):
        ringback = b.ringback(ca=f"{cert}.crt")
        file = b.folder / f"yardstick-{b.next()}.db"
        p = b.processes.spawn([program, ringback.port, jobs, f"{cert}.crt", f"{cert}.key", file], "latency.log",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = p.communicate()
        b.processes.end(p)
        if p.returncode:
            raise Wrong(err.strip())
        ringback.end()
        if ringback.count():
            raise Wrong(f"{ringback.count()} jobs are left in the store")
        ringback.drop()
        rounds.append(json.loads(out))

    def row(percentile, goals):
        return Row(f"request to callback, {percentile}", [r[f"job_{percentile}"] / 1e3 for r in rounds], unit="ms",
                   against="two commits and a POST", theirs=[r[f"yard_{percentile}"] / 1e3 for r in rounds],
                   goals=goals, less=True)
    return [row("p50", (1.5,)), row("p99", ())]
