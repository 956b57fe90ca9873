# SPDX-License-Identifier: Apache-2.0
"""Sessions of websockets that change hands while much waits for them (see test_ws_callbacks.py)."""
from lib.tokens import reload
from lib.wait import until
from lib.ws_client import TEXT, frame
from lib.ws_session import Session


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
