# SPDX-License-Identifier: Apache-2.0
"""Sessions of websockets that change hands while much waits for them (see test_ws_callbacks.py)."""
import pathlib
import re
import time

from lib.tokens import reload
from lib.wait import until
from lib.ws_client import TEXT, frame
from lib.ws_session import Session
from test_ws_callbacks import metric


def submit_many(c, first, n):
    """Acknowledged requests; their responses are not acknowledged."""
    c.raw(b"".join(frame(TEXT, b'{"id":%d,"method":"test.echo","params":{"$rpc.callback":"ws:"}}' % i)
                   for i in range(first, first + n)))
    while not all(i in c.answers for i in range(first, first + n)):
        c.read()


def take(c, n):
    got = []
    while len(got) < n:
        m = c.response()
        c.ack(m)
        got.append(m["id"])
    return got


def test_a_take_over_when_memory_has_as_many_as_a_session_may_have(make_server):
    """More than a lane has in memory (256): those that are there must go, or nothing ever does."""
    s = make_server()
    n = 400
    with Session(s.port, timeout=20) as old:
        submit_many(old, 0, n)
        with Session(s.port, resume=old.resume, timeout=20) as new:
            assert old.closed() == 4000
            got = take(new, n)
            assert sorted(got) == list(range(n))
            until(lambda: s.pending() == 0, 30, "all are done")


def test_a_token_that_is_another_callers_now(serve, callers):
    """The session is that of the caller who opened it: who has the token now gets nothing of it, asked or not."""
    s = serve()
    with Session(s.port, token=callers.tokens["alice"]) as a:
        job = a.submit("test.late", {"ms": 3000})
        callers.sections["alice"], callers.sections["bob"] = callers.sections["bob"], callers.sections["alice"]
        callers.write()
        reload(s)
        assert a.closed() == 1008
        resume = a.resume
    with Session(s.port, resume=resume, token=callers.tokens["bob"]) as a:  # who is alice now
        assert a.take()["ringback"]["job"] == job


def courier_turns(server):
    """How often the threads that send have slept, since they began."""
    n = 0
    for status in pathlib.Path(f"/proc/{server.pid}/task").glob("*/status"):
        text = status.read_text()
        if "rbk-courier" in text:
            n += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])
    return n


def test_a_session_that_memory_has_no_room_for_asks_for_none(make_server):
    """Until it acknowledges something: no thread asks the store ten times a second meanwhile."""
    s = make_server({"delivery.per_receiver": "1000"})
    n = 400
    with Session(s.port, timeout=20) as c:
        submit_many(c, 0, n)
        token = c.resume
    until(lambda: metric(s, "jobs_in_memory") == 0, 20, "all wait in the store")
    with Session(s.port, resume=token, timeout=20) as c:
        until(lambda: metric(s, "websocket_unacknowledged") >= 200, 20, "memory's share of them is out")
        before = courier_turns(s)
        time.sleep(2)  # what is measured
        assert courier_turns(s) - before < 15
        assert sorted(take(c, n)) == list(range(n))
        until(lambda: s.pending() == 0, 30, "all are done")
