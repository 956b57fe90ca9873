# SPDX-License-Identifier: Apache-2.0
"""$rpc.deadline: after it nothing is run, and the answer is -32002, wherever the job waits and
whoever dies meanwhile."""
import datetime
import json
import time

from lib import promise
from lib.wait import until

EXPIRED = {"code": -32002, "message": "Timed out"}


def rfc3339(t):
    return datetime.datetime.fromtimestamp(t, datetime.timezone.utc).isoformat(timespec="milliseconds")


def errors(receiver):
    """{rpc id: error or None} of what came."""
    return {body["id"]: body.get("error") for body in (json.loads(p.body) for p in list(receiver.posts))}


def waiting(server):
    """Jobs with a deadline that have no answer yet."""
    return server.rows("select (select count(*) from job where state = 1 and deadline > 0) + "
                       "(select count(*) from wait where state = 1 and deadline > 0)")[0][0]


def test_synchronous(client):
    assert client.call("test.echo", {"a": 1}, deadline=time.time() - 1).error == EXPIRED
    assert client.call("test.echo", {"a": 1}, deadline=rfc3339(time.time() - 1)).error == EXPIRED
    assert client.call("test.echo", {"a": 1}, deadline=rfc3339(time.time() + 60)).json["result"] == {"a": 1}
    then = time.monotonic()
    assert client.call("demo.sleep", {"seconds": 20}, deadline=time.time() + 0.4).error == EXPIRED
    assert 0.35 < time.monotonic() - then < 5


def test_refused(client):
    for bad in ("soon", "2026-01-01", -1, int(time.time() * 1000), True):
        reply = client.call("test.echo", deadline=bad)
        assert reply.error["code"] == -32602
        assert reply.error["data"] == {"$rpc.deadline": "must be an RFC 3339 time, or unix seconds"}


def test_jobs(server, client, receiver):
    """Long ago, delayed beyond it, running at it, and in time."""
    url, now = receiver.url(), time.time()
    asked = {"past": dict(method="test.echo", deadline=now - 3600),
             "delayed": dict(method="test.echo", deadline=now + 1, delay=3600),
             "running": dict(method="demo.sleep", params={"seconds": 30}, deadline=rfc3339(now + 1)),
             "in time": dict(method="test.echo", deadline=now + 600)}
    for id, call in asked.items():
        reply = client.call(id=id, callback=url, **call)
        assert len(reply.jobs) == 1, reply
    until(lambda: len(receiver.posts) == 4, 10, "all have their answer")
    assert time.time() - now < 5
    assert errors(receiver) == {"past": EXPIRED, "delayed": EXPIRED, "running": EXPIRED, "in time": None}
    until(lambda: server.pending() == 0, 10, "nothing is pending")


def test_backlog_behind_a_slow_method(make_server, make_receiver):
    """800 jobs wait for one thread, most of them in the store alone: at the deadline all are
    answered, though the thread is still held; those without one stay."""
    slow, receiver = make_receiver(), make_receiver()
    server = make_server({"method.threads": "2"})
    with server.client() as c:
        c.call("test.linger", {"ms": 20000}, id="holds the thread", callback=slow.url())
        deadline = time.time() + 4
        for at in range(0, 800, 200):
            reply = c.post([{"id": i, "method": "test.linger",
                             "params": {"$rpc.callback": receiver.url(),
                                        **({"$rpc.deadline": deadline} if i % 10 else {})}}
                            for i in range(at, at + 200)])
            assert len(reply.jobs) == 64, reply
        assert time.time() < deadline, "too slow a machine for this test"
        time.sleep(max(0, deadline - time.time()))
        until(lambda: waiting(server) == 0, 5, lambda: f"{waiting(server)} are not answered", poll=0.1)
        until(lambda: len(receiver.posts) == 720, 30, lambda: f"{len(receiver.posts)} of 720", poll=0.1)
    assert all(e == EXPIRED for e in errors(receiver).values()) and len(errors(receiver)) == 720
    until(lambda: server.pending() == 81, 10, "the others wait", poll=0.2)
    server.kill()


def test_kill9(make_server, receiver, tmp_path):
    """Deaths before the deadline, over it, and while the answers go out: each job is answered,
    and none was run."""
    journal = tmp_path / "journal"
    server = make_server({"method.threads": "1", "method.max_runs": "100",
                          "delivery.schedule": ",".join(["1s"] * 30)},
                         env={"RBK_JOURNAL": str(journal)})
    url, acked, silent = receiver.url(), {}, 0
    with server.client() as c:
        c.call("demo.sleep", {"seconds": 50}, id="holds the thread", callback=url)
        deadline = time.time() + 4
        for at in range(0, 200, 50):
            ids = range(at, at + 50)
            rpc = {"$rpc.callback": url, "$rpc.deadline": deadline}
            reply = c.post([{"id": i, "method": "test.journal", "params": {**rpc, **({"$rpc.delay": 3600} if i % 2 else {})}}
                            for i in ids])
            acked.update(zip(reply.jobs, ids))
        for _ in range(10):
            silent += c.notify("test.journal", callback=url, deadline=deadline).status == 204
    assert len(acked) == 200 and silent == 10
    server.kill()
    server.start()
    server.kill()
    time.sleep(max(0, deadline + 0.2 - time.time()))  # the moment passes while nobody is there
    for _ in range(3):
        server.start()
        time.sleep(0.05)  # the instant is the experiment, not a wait
        server.kill()
    server.start()
    until(lambda: len({p.webhook_id for p in list(receiver.posts)} & set(acked)) == 200, 30,
          "all are answered", poll=0.2)
    came = errors(receiver)
    assert all(came[i] == EXPIRED for i in acked.values())
    until(lambda: server.pending() == 1, 30, "nothing is left but what holds the thread", poll=0.2)
    assert promise.read_journal(journal) == [], "nothing was run after its deadline"
    server.kill()
