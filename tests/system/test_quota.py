# SPDX-License-Identifier: Apache-2.0
"""max_pending and max_pending_bytes of a caller: how much of it may be unfinished at one time."""
import random
import re
import threading
import time

import pytest

from lib.receiver import Answer
from lib.tokens import As, reload
from lib.wait import until
from lib.ws_client import WsClient
from test_admin import Admin, ask

OVER = {"code": -32009, "message": "Server is busy", "data": "too many pending jobs of this caller"}

COUNTED = "select name, jobs, bytes from caller order by name"
SCANNED = """select caller, count(*), sum(n) from (select caller, size + rsize as n, 1 from job union all
             select caller, size + rsize, 1 from wait) where caller <> '' group by caller order by caller"""


def limit(callers, name, **limits):
    callers.sections[name].update(limits)
    callers.write()


def pending(server):
    """As rpc.stats has it."""
    return {c["caller"]: (c["pending"], c["pending_bytes"]) for c in Admin(server).call("rpc.stats")["callers"]}


def later(client, receiver, **more):
    return client.call("test.echo", {"x": 1}, callback=receiver.url(), delay=600, **more)


def cancel_all(server):
    assert Admin(server).call("rpc.jobs.cancel", all=True)["changed"]


@pytest.fixture
def three(serve, callers, as_caller):
    """A server whose alice may have three."""
    limit(callers, "alice", max_pending=3)
    return serve()


def test_over_it_a_job_is_refused_and_nobody_else_notices(three, as_caller, receiver):
    alice, bob = as_caller(three, "alice"), as_caller(three, "bob")
    assert all(later(alice, receiver).jobs for _ in range(3))
    for _ in range(2):
        r = later(alice, receiver)
        assert (r.status, r.json["error"]) == (503, OVER) and r.headers["retry-after"]
    assert alice.call("test.echo", {"x": 1}).json["result"] == {"x": 1}, "a call without a callback is no job"
    assert all(later(bob, receiver).jobs for _ in range(9))
    assert pending(three)["alice"][0] == 3 and pending(three)["bob"][0] == 9
    text = ask(Admin(three).port, "/metrics")[1]
    assert "ringback_jobs_over_quota_total 2\n" in text
    assert 'ringback_refused_total{reason="token_pending"} 2\n' in text
    assert re.search(r"level=warn event=caller\.full caller=alice limit=max_pending ", three.log())


def test_in_a_batch_the_member_alone(three, as_caller, receiver):
    alice = as_caller(three, "alice")
    r = alice.post([{"id": i, "method": "test.echo",
                                "params": {"$rpc.callback": receiver.url(), "$rpc.delay": 600}} for i in range(5)])
    assert r.status == 200 and len(r.jobs) == 3
    assert [m.get("error") for m in r.json] == [None] * 3 + [OVER] * 2


def test_over_a_websocket(three, callers, receiver):
    token = {"Authorization": f"Bearer {callers.tokens['alice']}"}
    with WsClient(three.port, headers=token) as c:
        for i in range(4):
            c.call("test.echo", callback=receiver.url(), delay=600, id=i)
            m = c.message()
            assert ("result" in m) == (i < 3) and (i < 3 or m["error"] == OVER)


def test_what_ends_makes_room(serve, callers, as_caller, receiver):
    limit(callers, "alice", max_pending=1)
    receiver.on("/gone", Answer(410))
    server = serve()
    alice = as_caller(server, "alice")
    for path in ("/fine", "/gone", "/fine"):
        assert until(lambda: alice.call("test.echo", {}, callback=receiver.url(path)).jobs, 20, "there is room again")
    until(lambda: pending(server) == {}, 20, "all have ended")
    assert later(alice, receiver).jobs and later(alice, receiver).status == 503
    cancel_all(server)
    assert until(lambda: later(alice, receiver, idempotencyKey="k").jobs, 20, "it is cancelled")
    assert later(alice, receiver, idempotencyKey="k").status == 503, "whose key it is is known in the commit alone"


def test_bytes(serve, callers, as_caller, receiver):
    limit(callers, "alice", max_pending_bytes="20K")
    server = serve()
    alice = as_caller(server, "alice")
    answers = [alice.call("test.echo", {"x": "y" * 9000}, callback=receiver.url(), delay=600) for _ in range(4)]
    assert [a.status for a in answers] == [200, 200, 200, 503]
    assert answers[3].json["error"]["data"] == "too many pending bytes of this caller"
    assert 27000 < pending(server)["alice"][1] < 30000


def test_a_reload_takes_effect_at_once(three, callers, as_caller, receiver):
    alice = as_caller(three, "alice")
    assert all(later(alice, receiver).jobs for _ in range(3))
    limit(callers, "alice", max_pending=4)
    reload(three)
    assert later(alice, receiver).jobs and later(alice, receiver).status == 503
    limit(callers, "alice", max_pending=2)
    reload(three)
    assert later(alice, receiver).status == 503 and pending(three)["alice"][0] == 4
    del callers.sections["alice"]["max_pending"]
    callers.write()
    reload(three)
    assert all(later(alice, receiver).jobs for _ in range(9))


class Load(threading.Thread):
    """A caller that asks for as much as it gets."""

    def __init__(self, server, token, url):
        super().__init__()
        self.server, self.token, self.url = server, token, url
        self.over, self.up, self.refused = threading.Event(), threading.Event(), 0

    def run(self):
        while not self.over.is_set():
            if not self.up.wait(0.05):
                continue
            try:
                with As(self.server.port, self.token, timeout=5) as c:
                    while not self.over.is_set():
                        r = c.call("test.echo", {"x": "y" * random.choice((10, 3000))}, callback=self.url,
                                   delay=random.choice((0, 0, 600)))
                        self.refused += r.status == 503
            except OSError:
                pass


def test_exact_over_kills(serve, callers, as_caller, receiver):
    most = {"alice": 40, "bob": 60}
    for name, n in most.items():
        limit(callers, name, max_pending=n)
    server = serve()
    server.kill()
    loads = [Load(server, callers.tokens[name], receiver.url()) for name in most for _ in range(2)]
    for load in loads:
        load.start()
    try:
        for _ in range(10):
            server.start()
            for load in loads:
                load.up.set()
            time.sleep(random.uniform(0.1, 0.8))  # the instant is the experiment, not a wait
            for load in loads:
                load.up.clear()
            server.kill()
            counted = server.rows(COUNTED)
            assert counted == server.rows(SCANNED)
            assert all(jobs <= most[name] for name, jobs, _ in counted), counted
    finally:
        for load in loads:
            load.over.set()
            load.up.set()
        for load in loads:
            load.join()
    server.start()
    for name, n in most.items():
        c = as_caller(server, name)
        until(lambda: later(c, receiver).status == 503, 60, "it is full")
    until(lambda: {n: (j, b) for n, j, b in server.rows(SCANNED)} == pending(server), 20,
          lambda: f"rpc.stats shows what is there: {pending(server)}")
    assert {name: jobs for name, (jobs, _) in pending(server).items()} == most
    cancel_all(server)
    until(lambda: pending(server) == {}, 30, "nothing is left")
    assert server.rows(COUNTED) == []
