# SPDX-License-Identifier: Apache-2.0
"""Setting the wall clock moves no schedule, and loses nothing, while the server runs and over a
restart. The server's clock is set by a library of ours that is preloaded; the receiver's is the real
one."""
import collections
import datetime
import os
import struct
import time

import pytest

from lib.certs import CA
from lib.receiver import Answer
from lib.server import Server, build
from lib.wait import until
from test_fairness import gaps
from test_lanes import bodies, send

YEAR = 365 * 86400
WAIT = 4


@pytest.fixture
def clock(tmp_path):
    """The wall clock of a server: `env` for it, and a way to set it, in seconds from the real one."""
    file = tmp_path / "wall-clock"
    file.write_bytes(bytes(8))
    options = os.environ.get("ASAN_OPTIONS", "detect_leaks=1")

    class Clock:
        env = {"LD_PRELOAD": str(build() / "tests/system/wall_clock.so"), "RBK_WALL_CLOCK": str(file),
               "ASAN_OPTIONS": f"{options}:verify_asan_link_order=0"}

        @staticmethod
        def set(seconds):
            with open(file, "r+b", buffering=0) as f:
                f.write(struct.pack("=q", seconds * 1_000_000_000))
    return Clock


def seconds_off(post):
    return int(post.headers["webhook-timestamp"]) - post.ns / 1e9


def test_clock_set_back(make_server, receiver, clock):
    """More jobs than memory holds of a lane; then the clock goes back by hours, twice."""
    clock.set(6 * 3600)
    server = make_server({"delivery.per_receiver": "1", "delivery.schedule": "2s"}, env=clock.env)
    receiver.answer = Answer(200, delay=0.005)
    send(server, bodies(1000, "get_data", {}, receiver.url(), 100), 1)
    clock.set(2 * 3600)
    posts = receiver.wait(len(receiver.posts) + 100)
    until(lambda: abs(seconds_off(receiver.posts[-1]) - 7200) < 60, 10, "the clock is set back")
    server.kill()
    clock.set(0)
    server.start()
    assert len(posts) < 600, "there is a backlog at the restart"
    until(lambda: server.pending() == 0, 30, lambda: f"all is delivered, {server.pending()} are left", poll=0.1)
    assert len({p.webhook_id for p in receiver.posts}) == 1000
    assert abs(seconds_off(receiver.posts[-1])) < 60, "the server's clock was set"


def test_clock_set_forward(make_server, receiver, clock):
    server = make_server({"delivery.schedule": "1s,1s", "delivery.jitter": "0", "delivery.max_age": "30m"},
                         env=clock.env)
    receiver.on("/cb", Answer(500), Answer(500), Answer(200))
    with server.client() as c:
        c.call("test.echo", {}, callback=receiver.url("/cb"))
    receiver.wait(1, "/cb")
    clock.set(3 * 3600)
    posts = receiver.wait(3, "/cb")
    until(lambda: server.pending() == 0, 10, "the job is done")
    assert server.dead() == set()
    assert seconds_off(posts[2]) > 10000, "the server's clock was set"
    assert min(gaps(posts)) > 0.9


@pytest.fixture(scope="module")
def old_ca(tmp_path_factory):
    """Its certificates are valid whatever the clock says."""
    start = datetime.datetime(1960, 1, 1) - datetime.datetime.utcnow()
    return CA(tmp_path_factory.mktemp("old-ca"), life=datetime.timedelta(seconds=15 * YEAR), start=start), start


@pytest.fixture
def waiting(make_receiver, old_ca, tmp_path, clock):
    """make() -> a server and its receiver, and the jobs that wait there: for a retry, after one attempt
    that failed, and for their time."""
    ca, start = old_ca
    made = []

    def make():
        receiver = make_receiver(cert=ca.issue("old", life=datetime.timedelta(seconds=15 * YEAR), start=start))
        server = Server(tmp_path / "server", ca.pem, {
            "delivery.schedule": f"{WAIT}s,{WAIT}s,1h", "delivery.jitter": "0", "delivery.max_age": "2h",
            "delivery.breaker": "0"}, env=clock.env)
        made.append(server)
        server.start()
        receiver.answer = Answer(500)
        send(server, bodies(300, "get_data", {}, receiver.url("/again"), 100), 1)
        receiver.wait(300, "/again")
        send(server, bodies(100, "test.echo", {"$rpc.delay": WAIT}, receiver.url("/delayed"), 100), 1)
        until(lambda: server.rows("select count(*) from wait") == [(400,)], 10, "all of them wait")
        receiver.answer = Answer(200)
        return server, receiver
    yield make
    for server in made:
        server.close()


JUMPS = {"a day on": 86400, "a day back": -86400, "ten years on": 10 * YEAR, "to 1970": None}


@pytest.fixture(params=JUMPS.values(), ids=JUMPS)
def jump(request):
    """Seconds, so that the clock is some minutes past its beginning at the least."""
    return request.param if request.param is not None else 600 - int(time.time())


def all_arrive(server, receiver, jump, least):
    """Each once more, not before `least` s after its attempt, and no later than without the jump."""
    until(lambda: server.pending() == 0, 3 * WAIT + 10, lambda: f"all is delivered, {server.pending()} are left")
    assert server.dead() == set()
    again = collections.defaultdict(list)
    for p in receiver.at("/again"):
        again[p.webhook_id].append(p)
    assert len(again) == 300
    for posts in again.values():
        assert [p.headers["ringback-attempt"] for p in posts] == ["1", "2"]
        assert gaps(posts)[0] > least, gaps(posts)
        assert abs(seconds_off(posts[0])) < 60
        assert abs(seconds_off(posts[1]) - jump) < 60, "the server's clock was set"
    delayed = receiver.at("/delayed")
    assert len({p.webhook_id for p in delayed}) == len(delayed) == 100
    with server.client() as c:  # and life goes on
        receiver.on("/new", Answer(500), Answer(200))
        c.call("test.echo", {}, callback=receiver.url("/new"))
    assert 0.9 * WAIT < gaps(receiver.wait(2, "/new"))[0] < WAIT + 3


def test_the_clock_jumps(waiting, clock, jump):
    server, receiver = waiting()
    clock.set(jump)
    all_arrive(server, receiver, jump, 0.9 * WAIT)


def test_the_clock_jumps_over_a_restart(waiting, clock, jump):
    """Set on, what waits is late, and sent at once; set back, it waits no longer than it had to."""
    server, receiver = waiting()
    server.kill()
    clock.set(jump)
    server.start()
    all_arrive(server, receiver, jump, 0 if jump > 0 else 0.9 * WAIT)
