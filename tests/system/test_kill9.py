# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random instants under load: what was acknowledged is delivered, and a
result that was stored is not computed again.

RBK_KILLS is the number of kills (20), RBK_SEED repeats a run's instants."""
import os
import random
import sqlite3
import threading
import time

from lib import promise
from lib.client import Client
from lib.server import job_id
from lib.wait import until

KILLS = int(os.environ.get("RBK_KILLS", "20"))
SEED = int(os.environ.get("RBK_SEED", str(time.time_ns() & 0xffffffff)))
CLIENTS = 8


class Callers:
    """Threads that submit as fast as they can, over every crash, each request once."""

    def __init__(self, receiver):
        self.url, self.port = receiver.url(), 0
        self.acked, self.sent, self.refused, self.faults = [], 0, 0, []
        self.up, self.over = threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(k,)) for k in range(CLIENTS)]

    def work(self, k):
        client, i = None, 0
        while not self.over.is_set():
            if not self.up.wait(0.05):
                client = None
                continue
            client = client if client and client.addr[1] == self.port else Client(self.port, timeout=5)
            i += 1
            rpc_id = f"c{k}-{i}"
            try:
                self.sent += 1
                reply = client.call("test.journal", {"n": i}, id=rpc_id, callback=self.url)
            except OSError:
                continue
            if reply.status == 503:
                self.refused += 1
            elif reply.status == 200 and len(reply.jobs) == 1:
                self.acked.append((reply.jobs[0], rpc_id))
            else:
                self.faults.append(repr(reply))

    def start(self):
        for t in self.threads:
            t.start()

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join()


def stored_results(server, seen, at):
    """Jobs whose result the store holds now get the instant `at`, once."""
    try:
        rows = server.rows("select seq, rnd from job where state = 3 "  # DUE
                           "union all select seq, rnd from wait where state = 3")
    except sqlite3.OperationalError as e:
        if "no such table" not in str(e):
            raise
        return
    for seq, rnd in rows:
        seen.setdefault(job_id(seq, rnd), at)


def expected(rpc_id):
    return b'{"id":"%s","result":{"n":%s}}' % (rpc_id.encode(), rpc_id.split("-")[1].encode())


def test_kill9_loses_nothing(make_server, receiver, tmp_path):
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    journal = tmp_path / "journal"
    # A job may meet many deaths here, and must not be given up for it.
    server = make_server({"method.max_runs": "1000", "delivery.schedule": ",".join(["2s"] * 30)},
                         start=False, env={"RBK_JOURNAL": str(journal)})
    callers, results = Callers(receiver), {}
    callers.start()
    try:
        for kill in range(KILLS):
            server.start()
            callers.port = server.port
            callers.up.set()
            time.sleep(rng.uniform(0.005, 0.5))  # the instant is the experiment, not a wait
            server.kill()
            at = time.time_ns()
            callers.up.clear()
            stored_results(server, results, at)
            server.check_sanitizers()
    finally:
        callers.stop()
    assert callers.faults == [], callers.faults[:5]
    acked = [job for job, _ in callers.acked]
    assert len(acked) > 10 * KILLS, f"only {len(acked)} acknowledgements: no load"
    assert len(set(acked)) == len(acked)

    server.start()
    until(lambda: len({p.webhook_id for p in list(receiver.posts)} & set(acked)) == len(acked), 60,
          "all acknowledged jobs are delivered", poll=0.5)
    until(lambda: server.pending() == 0, 60, "nothing is pending", poll=0.2)
    server.stop()

    posts = promise.deliveries(receiver.posts)
    lines = promise.read_journal(journal)
    bad = promise.violations(acked, posts, lines, results, expected)
    assert not bad, f"{len(bad)} violations, seed {SEED}:\n" + "\n".join(bad[:20])
    twice = len(posts) - len({p[0] for p in posts})
    rerun = len(lines) - len({line[0] for line in lines})
    print(f"{KILLS} kills, {callers.sent} sent, {len(acked)} acknowledged, {len(posts)} deliveries "
          f"({twice} duplicates), {len(lines)} runs ({rerun} again), {len(results)} results met in the store")
    assert server.dead() == set()
