# SPDX-License-Identifier: Apache-2.0
"""Order keys: jobs of one key run, and are first sent, in the order of their commits, over kill -9
and retries, by the methods' and the receiver's own journals; others go by."""
import os
import random
import time

from lib import promise
from lib.callers import Callers
from lib.receiver import OK, Answer
from lib.wait import until
from test_admin import Admin

KILLS = int(os.environ.get("RBK_KILLS", "20")) // 2
SEED = int(os.environ.get("RBK_SEED", str(time.time_ns() & 0xffffffff)))
KEYS = 6


def test_in_order_over_kill9(make_server, receiver, tmp_path):
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    journal = tmp_path / "journal"
    server = make_server({"method.max_runs": "1000", "delivery.schedule": ",".join(["200ms"] * 32), "delivery.breaker": "0",
                          "delivery.max_age": "1h"},
                         start=False, env={"RBK_JOURNAL": str(journal)})
    trouble = random.Random(SEED)
    receiver.choose = lambda head: Answer(503) if trouble.random() < 0.15 else OK
    callers = Callers(server, receiver.url(), KEYS, lambda k, i: {"key": f"key-{k}"}, again=False)
    callers.over_kills(KILLS, rng, 0.6)
    receiver.choose = lambda head: OK
    server.start()
    until(lambda: server.pending() == 0, 120, "nothing is pending", poll=0.5)
    assert server.rows("select count(*) from turn") == [(0,)]
    server.stop()

    acked = {job for _, _, job in callers.acked}
    assert len(acked) > 5 * KILLS, "no load"
    posts = promise.deliveries(receiver.posts)
    key_of = {job: rpc_id.split("-")[0] for job, rpc_id, _, _ in posts}
    assert acked <= set(key_of), "all that was acknowledged is delivered"
    ran, sent = {}, {}
    for job, _, _ in promise.read_journal(journal):
        ran.setdefault(key_of[job], []).append(job)
    for job, _, _, _ in posts:
        sent.setdefault(key_of[job], []).append(job)
    for what, of in (("ran", ran), ("was sent", sent)):
        for key, jobs in of.items():
            at = next((i for i in range(1, len(jobs)) if jobs[i] < jobs[i - 1]), None)
            assert at is None, f"seed {SEED}, key {key}: {jobs[at]} {what} behind {jobs[at - 1]}"
    again = sum(len(jobs) - len(set(jobs)) for jobs in sent.values())
    print(f"{KILLS} kills, {len(acked)} acknowledged, {len(posts)} posts, {again} of them again")


def test_a_blocked_key_holds_up_itself_alone(make_server, receiver):
    server = make_server({"delivery.schedule": ",".join(["500ms"] * 32), "delivery.breaker": "0"})
    receiver.on("/down", Answer(503))
    with server.client() as c:
        first = c.call("test.echo", {"n": 1}, callback=receiver.url("/down"), key="a").jobs[0]
        behind = [c.call("test.echo", {"n": 2 + i}, callback=receiver.url("/a"), key="a").jobs[0] for i in range(20)]
        others = [c.call("test.echo", {"n": i}, callback=receiver.url("/b"), key=f"b{i}").jobs[0] for i in range(20)]
        receiver.wait(20, "/b")
        receiver.wait(3, "/down")
        assert receiver.at("/a") == [], "all have run, none is sent"
        admin = Admin(server)
        until(lambda: {admin.state(j) for j in behind} == {"DUE"}, 20, "all have their results")
        receiver.on("/down", OK)
        assert [p.webhook_id for p in receiver.wait(20, "/a")] == behind
        assert {p.webhook_id for p in receiver.at("/b")} == set(others)
        assert {p.webhook_id for p in receiver.at("/down")} == {first}


def test_operators_in_the_middle(make_server, receiver):
    server = make_server({"delivery.schedule": ",".join(["500ms"] * 32), "delivery.breaker": "0"})
    admin = Admin(server)
    with server.client() as c:
        jobs = [c.call("test.late", {"ms": 1500 if i == 0 else 0, "n": i}, id=i, callback=receiver.url(), key="a").jobs[0]
                for i in range(5)]
        assert admin.state(jobs[2]) == "HELD" and admin.jobs(state="held") == set(jobs[1:])
        assert admin.call("rpc.jobs.cancel", job=jobs[2])["changed"] == 1
        assert admin.state(jobs[2]) == "DUE" and admin.state(jobs[1]) == "HELD"
        assert "error" in admin.raw("rpc.jobs.retry", {"job": jobs[2]}), "it waits for its turn"
        assert receiver.posts == []
        posts = receiver.wait(5)
        assert [p.webhook_id for p in posts] == jobs, "the cancelled one in its turn"
        assert b"-32005" in posts[2].body and b"error" not in posts[3].body


def test_wait_for_one_that_is_behind(make_server, receiver):
    """Its result is no answer while the one before it is on its way; it is sent in its turn."""
    server = make_server({"delivery.schedule": ",".join(["500ms"] * 32), "delivery.breaker": "0"})
    receiver.on("/down", Answer(503))
    with server.client() as c:
        first = c.call("test.echo", {}, callback=receiver.url("/down"), key="a").jobs[0]
        receiver.wait(1, "/down")
        at = time.monotonic()
        second = c.call("test.echo", {"n": 2}, callback=receiver.url("/a"), key="a", wait=2)
        assert time.monotonic() - at >= 2 and second.json["result"]["callback"]["status"] is True, second
        assert receiver.at("/a") == []
        receiver.on("/down", OK)
        assert receiver.wait(1, "/a")[0].webhook_id == second.jobs[0]
        third = c.call("test.echo", {"n": 3}, callback=receiver.url("/a"), key="a", wait=25)
        assert third.json["result"] == {"n": 3}, "nobody is before it"
        fourth = c.call("test.echo", {"n": 4}, callback=receiver.url("/a"), key="a").jobs[0]
        assert [p.webhook_id for p in receiver.wait(2, "/a")] == [second.jobs[0], fourth]
    assert {p.webhook_id for p in receiver.at("/down")} == {first}


def test_deadline_of_one_that_is_held(make_server, receiver):
    server = make_server()
    admin = Admin(server)
    with server.client() as c:
        first = c.call("test.late", {"ms": 2500}, callback=receiver.url(), key="a").jobs[0]
        second = c.call("test.echo", {}, callback=receiver.url(), key="a", deadline=time.time() + 0.5).jobs[0]
        third = c.call("test.echo", {}, callback=receiver.url(), key="a").jobs[0]
    until(lambda: admin.state(second) == "DUE", 20, "its time is up")
    posts = receiver.wait(3)
    assert [p.webhook_id for p in posts] == [first, second, third]
    assert b"-32002" in posts[1].body
