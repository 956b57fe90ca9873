# SPDX-License-Identifier: Apache-2.0
"""Many jobs and a receiver in every kind of trouble: all arrive, and twice only what nobody can
know about; a backlog that is due at once respects every limit; a dead receiver's jobs end in
time.

RBK_LONG=1 runs the full numbers (see soak_delivery), RBK_SEED repeats a run's dice."""
import collections
import json
import os
import random
import re
import threading
import time

import pytest

from lib.receiver import Answer
from lib.server import ringback
from lib.wait import until
from test_lanes import bodies, send

LONG = bool(os.environ.get("RBK_LONG"))
SEED = int(os.environ.get("RBK_SEED", str(time.time_ns() & 0xffffffff)))
MEMORY = 64 << 10  # KiB

pytestmark = pytest.mark.alone  # memory under load, and how late jobs die


def memory(server):
    """KiB that are the server's own; 0 where a sanitizer makes the figure meaningless."""
    if re.search(rb"__(asan|tsan)_init", ringback().read_bytes()):
        return 0
    with open(f"/proc/{server.pid}/status") as f:
        return int(re.search(r"RssAnon:\s+(\d+) kB", f.read()).group(1))


def test_chaos(make_server, make_receiver):
    jobs = 20_000 if LONG else 2_000
    receiver, dice = make_receiver(), random.Random(SEED)
    print(f"seed {SEED}")
    kinds = {
        "500": Answer(500), "hang": Answer(then="hang"), "before": Answer(then="reset"),
        "after": Answer(then="reset"), "ok": Answer(200)}
    names = {id(answer): name for name, answer in kinds.items()}

    def choose(head):
        return kinds[dice.choices(list(kinds), (30, 10, 10, 10, 40))[0]]
    receiver.choose = choose
    server = make_server({"delivery.schedule": ",".join(["300ms"] * 32), "delivery.max_age": "10m",
                          "delivery.timeout": "1s", "delivery.per_receiver": "64", "delivery.breaker": "50"})
    send(server, bodies(jobs, "test.echo", {"n": 1}, receiver.url(), 100), 2)
    until(lambda: server.pending() == 0, 240, lambda: f"all is delivered, {server.pending()} are left", poll=0.5)
    assert server.dead() == set()
    seen = collections.defaultdict(list)
    for p in list(receiver.posts):
        seen[p.webhook_id].append(p)
    assert len(seen) == jobs
    counted = collections.Counter(names[id(p.answer)] for p in list(receiver.posts))
    print(dict(counted))
    assert min(counted[k] for k in kinds) > jobs / 10, "each kind of trouble came"
    for job, posts in seen.items():
        met = [names[id(p.answer)] for p in posts]
        assert met.count("ok") == 1 and met[-1] == "ok", f"{job}: {met}"
        assert len({p.body for p in posts}) == 1, job
        numbers = [int(p.headers["ringback-attempt"]) for p in posts]
        for a, b, what in zip(numbers, numbers[1:], met):
            # A kept connection that is reset without an answer is no attempt: it is sent anew.
            assert b > a or (b == a and what in ("before", "after")), f"{job}: {numbers} {met}"
    twice = sum(1 for posts in seen.values() for p in posts if names[id(p.answer)] in ("hang", "after"))
    print(f"{len(receiver.posts)} posts, {twice} of them ambiguous and sent again")


def test_backlog_due_at_once(make_server, make_receiver):
    """Delayed jobs and retries, all of them due while the server was down."""
    jobs, retries, wait = (100_000, 5_000, 20) if LONG else (8_000, 1_000, 6)
    receivers = [make_receiver() for _ in range(4)]
    server = make_server({"delivery.schedule": f"{wait}s,5s", "delivery.jitter": "0", "delivery.in_flight": "48",
                          "delivery.per_receiver": "12", "delivery.breaker": "0"})
    for r in receivers:
        r.answer = Answer(500)
        send(server, bodies(retries // 4, "test.echo", {"n": 1}, r.url("/again"), 100), 1)
    until(lambda: sum(len(r.posts) for r in receivers) == retries, 30, "each of the retries had its first attempt")
    until(lambda: server.rows("select count(*) from wait where attempts = 1") == [(retries,)], 10, "which are stored")
    for r in receivers:
        delayed = bodies(jobs // 4, "test.echo", {"n": 2, "$rpc.delay": wait}, r.url("/delayed"), 500)
        send(server, delayed, 2)
    assert server.pending() == jobs + retries
    server.kill()
    time.sleep(wait)  # all become due meanwhile: that is the case
    for r in receivers:
        r.most_open = 0
        r.answer = Answer(200, delay=0.004)
    server.start()
    peak = 0
    end = time.monotonic() + 240
    while server.pending():
        peak = max(peak, memory(server))
        assert time.monotonic() < end, f"{server.pending()} are left"
        time.sleep(0.2)  # between looks at the memory
    assert peak < MEMORY, f"{peak} KiB"
    assert max(r.most_open for r in receivers) <= 12
    assert server.dead() == set()
    for r in receivers:
        again, delayed = r.at("/again"), r.at("/delayed")
        assert len({p.webhook_id for p in delayed}) == len(delayed) == jobs // 4
        assert collections.Counter(p.headers["ringback-attempt"] for p in again) == {
            "1": retries // 4, "2": retries // 4}
    print(f"peak {peak} KiB, most open {[r.most_open for r in receivers]}")


def test_dead_receiver(make_server, make_receiver):
    """All of its jobs are dead at max_age, tried or not; others are delivered meanwhile."""
    jobs, age = (100_000, 30) if LONG else (5_000, 6)
    gone, good = make_receiver(), make_receiver()
    gone.stop()
    server = make_server({"delivery.schedule": "500ms", "delivery.max_age": f"{age}s"})
    began = time.monotonic()
    send(server, bodies(jobs, "test.echo", {}, gone.url(), 500), 2)
    sent = time.monotonic()
    server.wait_log(r"receiver\.paused")
    send(server, bodies(500, "test.whoami", {}, good.url(), 100), 1)  # not behind the echoes
    good.wait(500, limit=10)
    assert time.monotonic() - began < age, "the others were delivered while it was dead"

    def dead():
        return server.rows("select count(*) from dead")[0][0]
    peak = 0
    end = time.monotonic() + 4 * age + 30
    while dead() < jobs:
        peak = max(peak, memory(server))
        assert time.monotonic() < end, f"{dead()} of {jobs} are dead"
        time.sleep(0.2)  # between looks at the memory
    took = time.monotonic()
    assert took - began >= age * 0.9
    [(early, late)] = server.rows("select min(ended - first_attempt), max(ended - first_attempt) from dead")
    early, late = early / 1000 - age, late / 1000 - age
    assert early >= 0 and late < 5, f"dead {early:.1f} s to {late:.1f} s after max_age"
    assert peak < MEMORY, f"{peak} KiB"
    [(attempts, untried)] = server.rows("select sum(attempts), sum(attempts = 0) from dead")
    assert untried > jobs * 0.9, (attempts, untried)
    assert server.pending() == 0
    print(f"peak {peak} KiB, {attempts} attempts, {untried} never tried; sent after {sent - began:.1f} s, "
          f"all dead after {took - began:.1f} s, {early:.1f} s to {late:.1f} s after max_age")


def test_large_bodies_leave_no_memory(make_server):
    """What a burst of them took is given back, also after the allocator has seen many."""
    server = make_server({"server.max_body": "64M", "method.max_result": "64M", "delivery.in_flight": 16,
                          "server.max_connections": 100})
    body = json.dumps({"id": 1, "method": "test.echo", "params": {"x": "y" * (12 << 20)}}).encode()

    def ask():
        with server.client(timeout=120) as c:
            assert c.post(body).status == 200
    for _ in range(2):
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    until(lambda: memory(server) < MEMORY, 20, lambda: f"{memory(server)} KiB are left")
