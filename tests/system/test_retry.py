# SPDX-License-Identifier: Apache-2.0
"""Deliveries that fail: tried again along the schedule, the same each time, then dead."""
from datetime import timedelta

import pytest

from lib.receiver import CLOSE, HANG, RESET, Answer
from lib.wait import until

# The sum is the age at which a delivery is given up. Its last step is long, so that those before it are made
# in time on a slow machine too.
FAST = {"delivery.schedule": "200ms,400ms,2s", "delivery.jitter": "0"}
SHORT = {"delivery.timeout": "2s", "delivery.connect_timeout": "2s"}


def same_delivery(posts, job):
    """All attempts of one job: one id, one body, numbered 1, 2, 3 …"""
    assert {p.webhook_id for p in posts} == {job}
    assert len({p.body for p in posts}) == 1
    assert [p.headers["ringback-attempt"] for p in posts] == [str(i + 1) for i in range(len(posts))]


@pytest.mark.parametrize("fault", [Answer(500), Answer(404), Answer(301, {"Location": "https://127.0.0.1/"}), CLOSE,
                                   RESET, HANG, Answer(200, delay=6)],
                         ids=["500", "404", "301", "close", "reset", "hang", "too slow"])
def test_failure_then_success(make_server, receiver, fault):
    # A schedule that ends before max_age goes on with its last step.
    server = make_server({**FAST, "delivery.schedule": "200ms", "delivery.max_age": "1m",
                          **(SHORT if fault is HANG or fault.delay else {})})
    receiver.on("/cb", fault, fault, Answer(204))
    with server.client() as c:
        job = c.call("test.echo", {"x": 99.99}, callback=receiver.url("/cb")).jobs[0]
    posts = receiver.wait(3, "/cb")
    # A connection that was closed while idle is tried once more at once: the same attempt.
    if fault not in (CLOSE, RESET):
        same_delivery(posts, job)
        gaps = [(b.ns - a.ns) / 1e9 for a, b in zip(posts, posts[1:])]
        assert min(gaps) > 0.15, gaps
    assert {p.webhook_id for p in posts} == {job} and len({p.body for p in posts}) == 1
    until(lambda: server.pending() == 0, 10, "the job is done")
    server.stop()
    assert len(receiver.posts) == len(posts), "nothing came after the success"
    assert server.dead() == set()


def test_dead_at_the_end_of_the_schedule(make_server, receiver):
    server = make_server(FAST)
    receiver.answer = Answer(500)
    with server.client() as c:
        job = c.call("test.echo", {}, callback=receiver.url()).jobs[0]
        posts = receiver.wait(4)
        until(lambda: job in server.dead(), 10, "the job is dead")
        receiver.answer = Answer(200)
        other = c.call("test.echo", {}, callback=receiver.url("/fence")).jobs[0]
    receiver.wait(1, "/fence")
    server.stop()
    same_delivery(receiver.at("/callback"), job)
    assert len(posts) == 4, "the first attempt and one for each delay of the schedule"
    assert server.rows("select attempts, last_status from dead") == [(4, 500)]
    assert other not in server.dead()


def test_dead_at_max_age(make_server, receiver):
    server = make_server({**FAST, "delivery.schedule": ",".join(["400ms"] * 20), "delivery.max_age": "1s"})
    receiver.answer = Answer(500)
    with server.client() as c:
        job = c.call("test.echo", {}, callback=receiver.url()).jobs[0]
    until(lambda: job in server.dead(), 10, "the job is dead")
    server.stop()
    assert 2 <= len(receiver.posts) <= 4
    same_delivery(receiver.posts, job)


def test_410_is_dead_at_once(make_server, receiver):
    server = make_server(FAST)
    receiver.answer = Answer(410)
    with server.client() as c:
        job = c.call("test.echo", {}, callback=receiver.url()).jobs[0]
    until(lambda: job in server.dead(), 10, "the job is dead")
    server.stop()
    assert len(receiver.posts) == 1


def test_redirects_are_not_followed(make_server, receiver, make_receiver):
    server = make_server(FAST)
    other = make_receiver()
    for status in (301, 302, 303, 307, 308):
        receiver.on(f"/{status}", Answer(status, {"Location": other.url("/stolen")}))
        with server.client() as c:
            c.call("test.echo", {}, callback=receiver.url(f"/{status}"))
    for status in (301, 302, 303, 307, 308):
        receiver.wait(4, f"/{status}")
    until(lambda: len(server.dead()) == 5, 10, "all five are dead")
    assert other.posts == [] and other.connections == 0


def test_unknown_authority_and_wrong_name_are_refused(make_server, make_receiver, ca, tmp_path):
    other = type(ca)(tmp_path)
    strangers = [make_receiver(cert=other.issue("stranger")),
                 make_receiver(cert=ca.issue("wrong-name", names=("other.test", "127.0.0.9"))),
                 make_receiver(cert=ca.issue("expired", life=-timedelta(days=2)))]
    server = make_server({**FAST, "delivery.schedule": "100ms"})
    with server.client() as c:
        jobs = {c.call("test.echo", {}, callback=r.url()).jobs[0] for r in strangers}
    until(lambda: server.dead() == jobs, 20, "all are dead")
    assert [r.posts for r in strangers] == [[], [], []]


def test_receiver_down_then_up(make_server, receiver):
    server = make_server({**FAST, "delivery.schedule": "300ms", "delivery.max_age": "1m",
                          "delivery.breaker": "0"})
    receiver.stop()
    with server.client() as c:
        jobs = {c.call("test.echo", {"i": i}, id=i, callback=receiver.url()).jobs[0] for i in range(20)}
    until(lambda: len(server.rows("select 1 from wait where attempts > 0")) == 20, 20, "each was tried")
    receiver.start()
    posts = receiver.wait(20)
    assert {p.webhook_id for p in posts} == jobs and len(posts) == 20
    assert all(int(p.headers["ringback-attempt"]) >= 2 for p in posts)


def test_restart_in_between_keeps_the_count(make_server, receiver):
    server = make_server({**FAST, "delivery.schedule": "1s", "delivery.max_age": "1m"})
    receiver.answer = Answer(500)
    with server.client() as c:
        job = c.call("test.whoami", {}, callback=receiver.url()).jobs[0]
    receiver.wait(1)
    until(lambda: server.rows("select attempts from wait") == [(1,)], 10, "the failure is stored")
    server.kill()
    server.start()
    receiver.wait(2)
    server.restart()
    receiver.wait(3)
    receiver.answer = Answer(200)
    posts = receiver.wait(4)
    until(lambda: server.pending() == 0, 10, "the job is done")
    server.stop()
    same_delivery(posts, job)
    assert b'"run":1' in posts[-1].body, "delivering again is not running again"


def test_policy_of_the_day(make_server, receiver):
    """What was allowed when it was accepted, and is no more, is never sent."""
    server = make_server({**FAST, "delivery.schedule": "1s", "delivery.max_age": "1m"})
    receiver.answer = Answer(500)
    with server.client() as c:
        job = c.call("test.echo", {}, callback=receiver.url()).jobs[0]
        late = c.call("test.echo", {}, callback=receiver.url("/late"), delay=1).jobs[0]
    receiver.wait(1, "/callback")
    server.kill()
    n = len(receiver.posts)
    server.options["callback.allow"] = None
    server.start()
    with server.client() as c:
        reply = c.call("test.echo", {}, callback=receiver.url())
        assert reply.error["data"] == {"$rpc.callback": "address not allowed"}
    until(lambda: server.dead() == {job, late}, 15, "both are dead")
    assert len(receiver.posts) == n and receiver.at("/late") == []
    server.stop()
