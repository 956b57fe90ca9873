# SPDX-License-Identifier: Apache-2.0
"""Acknowledged means durable, as the kernel saw it: under strace each acknowledgement's
write follows an fdatasync that began after the job was written to the store.

The same check must fail on a store that is opened without syncs."""
import shutil
import threading

import pytest

from lib import trace

CALLS = 1000
CLIENTS = 8


def strace(out):
    return ["strace", "-f", "-y", "-ttt", "-s", "200000", "-e", "signal=none", "-e",
            "trace=fdatasync,fsync,pwrite64,pwritev,write,writev,sendto,sendmsg", "-o", str(out)]


def submit(server, jobs, k):
    with server.client() as c:
        for i in range(k, CALLS, CLIENTS):
            token = f"tok-{i:06d}-tok"
            reply = c.call("test.echo", {"t": token}, id=i, callback="https://127.0.0.1:9443/", delay=86400)
            jobs[token] = reply.jobs[0]


def run_traced(make_server, tmp_path, dsn_suffix):
    out = tmp_path / "trace.txt"
    # The leak checker cannot work under a tracer.
    server = make_server(start=False, wrap=strace(out), env={"ASAN_OPTIONS": "detect_leaks=0"})
    server.options["store.dsn"] += dsn_suffix
    server.start(limit=60)
    jobs = {}
    threads = [threading.Thread(target=submit, args=(server, jobs, k)) for k in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    server.stop()
    assert len(jobs) == CALLS
    with open(out, errors="replace") as f:
        events = trace.parse(f)
    return trace.check_acks(events, str(server.store), jobs)


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
def test_every_acknowledgement_follows_its_sync(make_server, tmp_path):
    bad = run_traced(make_server, tmp_path, "")
    assert not bad, f"{len(bad)} of {CALLS}: {bad[:5]}"


@needs_strace
def test_the_check_fails_without_syncs(make_server, tmp_path):
    bad = run_traced(make_server, tmp_path, "?synchronous=off")
    assert len(bad) == CALLS, "every acknowledgement is early when the store never syncs"
    assert all("without a sync" in b for b in bad), bad[:5]
