# SPDX-License-Identifier: Apache-2.0
"""Receivers that hang do not slow the others: two servers, one of them with the trouble, their
rates in turn, and the median of the ratios; a receiver that fails is paused, probed and
caught up with; Retry-After is obeyed."""
import email.utils
import os
import statistics
import time

import pytest

from lib.receiver import HANG, Answer
from lib.wait import until
from test_lanes import bodies, rate, send

SLOW = Answer(200, delay=14)
LONG = bool(os.environ.get("RBK_LONG"))  # see soak_delivery
JOBS = 20_000 if LONG else 6_000
ROUNDS = 5 if LONG else 15  # fixed: to stop at the first good median would let a real loss pass


def gaps(posts):
    return [(b.ns - a.ns) / 1e9 for a, b in zip(posts, posts[1:])]


@pytest.mark.alone  # a ratio of rates
@pytest.mark.parametrize("hanging", [1, 16, 64] if LONG else [16])
def test_receivers_that_hang(make_server, make_receiver, hanging):
    good, bad = make_receiver(), [make_receiver() for _ in range(hanging)]
    healthy, troubled = make_server(), make_server()
    for i, r in enumerate(bad):
        r.answer = HANG if i % 2 == 0 else SLOW
        send(troubled, bodies(60, "get_data", {}, r.url(), 60), 1)
    until(lambda: all(len(r.posts) >= 16 for r in bad), 60, "each has all that it may get")
    for _ in range(2):  # files have grown, connections are open
        rate(healthy, good, JOBS)
        rate(troubled, good, JOBS)
    ratios = []
    for i in range(ROUNDS):
        order = [healthy, troubled] if i % 2 else [troubled, healthy]
        rates = {server: rate(server, good, JOBS) for server in order}
        without, beside = rates[healthy], rates[troubled]
        ratios.append(beside / without)
        print(f"round {i + 1}: {without:.0f} jobs/s without, {beside:.0f} beside {hanging}: {ratios[-1]:.2f}")
    assert max(r.most_open for r in bad) <= 16
    assert good.most_open <= 2 * 16  # of two servers
    assert statistics.median(ratios) >= 0.9, [f"{r:.2f}" for r in ratios]


def date_in(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize("status, value, least", [
    (503, lambda: "3", 3), (429, lambda: "3", 3), (504, lambda: date_in(4), None), (503, lambda: "0", 1),
    (500, lambda: "3", 0.1), (503, lambda: "-3", 0.1), (503, lambda: "3.5", 0.1), (503, lambda: date_in(-9), 0.1),
], ids=["503", "429", "date", "least", "500", "negative", "fraction", "past"])
def test_retry_after(make_server, receiver, status, value, least):
    server = make_server({"delivery.schedule": "100ms", "delivery.jitter": "0", "delivery.max_age": "1m",
                          "delivery.breaker": "0"})
    value = value()
    times = 1 if least is None or least >= 1 else 3  # a wait that is short is so once in three, on any machine
    receiver.on("/cb", *[Answer(status, {"Retry-After": value})] * times, Answer(204))
    with server.client() as c:
        c.call("test.echo", {}, callback=receiver.url("/cb"))
    posts = receiver.wait(times + 1, "/cb")
    if least is None:
        least = email.utils.parsedate_to_datetime(value).timestamp() - posts[0].ns / 1e9
    assert min(gaps(posts)) >= least - 0.01 and min(gaps(posts)) < (0.9 if times > 1 else least + 2), gaps(posts)


def test_retry_after_never_passes_max_age(make_server, receiver):
    server = make_server({"delivery.schedule": "100ms", "delivery.jitter": "0", "delivery.max_age": "2s"})
    receiver.answer = Answer(503, {"Retry-After": "3600"})
    with server.client() as c:
        job = c.call("test.echo", {}, callback=receiver.url()).jobs[0]
    until(lambda: server.dead() == {job}, 15, "the job is dead")
    assert 1.9 < gaps(receiver.posts)[0] < 4 and len(receiver.posts) == 2


def test_pause_probe_and_recovery(make_server, receiver):
    server = make_server({"delivery.schedule": "1h", "delivery.max_age": "1d", "delivery.breaker": "3",
                          "delivery.per_receiver": "4"})
    receiver.answer = Answer(503)
    send(server, bodies(400, "get_data", {}, receiver.url(), 100), 1)
    server.wait_log(r"receiver\.paused")
    def since_pause(post):
        return (post.ns - receiver.posts[2].ns) / 1e9
    # What was under way ends at once; then nothing comes before the probe.
    until(lambda: since_pause(receiver.posts[-1]) > 5, 45, "the probe comes")
    probe = receiver.posts[-1]
    before = len(receiver.posts) - 1
    assert 3 <= before <= 3 + 4
    assert 29 < since_pause(probe) < 33, since_pause(probe)
    receiver.answer = Answer(200)
    posts = receiver.wait(before + 2, limit=45)  # the next probe is answered
    assert 29 < (posts[before + 1].ns - probe.ns) / 1e9 < 33
    server.wait_log(r"receiver\.resumed")
    # All of them, those that would wait an hour for their retry too.
    until(lambda: server.pending() == 0, 20, lambda: f"all is delivered, {server.pending()} are left")
    assert len({p.webhook_id for p in receiver.posts}) == 400
    assert len(receiver.posts) == 400 + before + 1


def test_jobs_of_a_dead_receiver_die_in_time(make_server, make_receiver):
    receiver, good = make_receiver(), make_receiver()
    receiver.stop()
    server = make_server({"delivery.schedule": "500ms", "delivery.max_age": "5s", "delivery.breaker": "5"})
    began = time.monotonic()
    send(server, bodies(1000, "get_data", {}, receiver.url(), 100), 1)
    server.wait_log(r"receiver\.paused")
    with server.client() as c:
        c.call("test.echo", {}, callback=good.url())
    good.wait(1)
    until(lambda: len(server.dead()) == 1000, 30, lambda: f"all are dead, {len(server.dead())} are", poll=0.1)
    assert time.monotonic() - began >= 4.5
    [(attempts, untried)] = server.rows("select sum(attempts), sum(attempts = 0) from dead")
    assert attempts < 100 and untried > 900
    server.wait_log(r"event=job\.expired ")
