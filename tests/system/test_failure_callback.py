# SPDX-License-Identifier: Apache-2.0
"""$rpc.failureCallback: an error goes there instead, whoever made it; a result never does."""
import json
import time

import pytest

from lib import promise
from lib.names import NameServer
from lib.receiver import HANG, OK, Answer
from lib.server import job_id
from lib.wait import until
from test_admin import Admin

FAST = {"delivery.schedule": ",".join(["200ms"] * 8 + ["2s"] * 20), "delivery.jitter": "0", "delivery.breaker": "0"}


@pytest.fixture
def failures(make_receiver):
    return make_receiver()


def body(post):
    return json.loads(post.body)


def test_errors_of_every_kind(make_server, receiver, failures):
    """Of the method, of a bad parameter, of the time, of an operator, of size; and results stay."""
    server = make_server({**FAST, "method.max_result": "64k"})
    admin, both = Admin(server), {"callback": receiver.url(), "failureCallback": failures.url("/f")}
    with server.client() as c:
        jobs = {id: c.call(method, params, id=id, **both, **rpc).jobs[0] for id, method, params, rpc in [
            ("fine", "test.echo", {"a": 1}, {}),
            ("bad param", "test.big", {"bytes": 1}, {}),
            ("too large", "test.big", {"bytes": 100000}, {}),
            ("time-out", "demo.sleep", {"seconds": 20}, {"timeout": 0.2}),
            ("deadline", "test.echo", {}, {"deadline": time.time() - 1}),
            ("cancelled while it waits", "test.echo", {}, {"delay": 3600}),
            ("cancelled while it runs", "demo.sleep", {"seconds": 20}, {})]}
        assert c.call("test.big", {"bytes": 1}, id="its callback gets it", callback=receiver.url()).jobs
        assert c.call("test.big", {"bytes": 1}, id="the same for both", callback=failures.url("/f"),
                      failureCallback=failures.url("/f")).jobs
    assert admin.call("rpc.jobs.get", job=jobs["cancelled while it waits"])["callback"] == receiver.url()
    for id in ("cancelled while it waits", "cancelled while it runs"):
        admin.call("rpc.jobs.cancel", job=jobs[id])
    failures.wait(7)
    receiver.wait(2)
    until(lambda: server.pending() == 0, 20, "nothing is pending")
    got = {body(p)["id"]: body(p)["error"]["code"] for p in failures.posts}
    assert got == {"bad param": -32602, "too large": -32008, "time-out": -32002, "deadline": -32002,
                   "cancelled while it waits": -32005, "cancelled while it runs": -32005, "the same for both": -32602}
    assert sorted(body(p)["id"] for p in receiver.posts) == ["fine", "its callback gets it"]
    assert {p.webhook_id for p in failures.posts} > {j for id, j in jobs.items() if id != "fine"}
    for p in failures.posts:
        assert p.headers["webhook-signature"] and p.target == "/f"
    shown = admin.call("rpc.jobs.get", job=jobs["time-out"])
    assert (shown["callback"], shown["failure_callback"]) == (failures.url("/f"),) * 2
    assert shown["state"] == "DELIVERED"
    shown = admin.call("rpc.jobs.get", job=jobs["fine"])
    assert (shown["callback"], shown["failure_callback"]) == (receiver.url(), failures.url("/f"))
    assert "failure_callback" in admin.run("jobs", "show", jobs["fine"]).stdout
    # sent again: where it went, or where the operator says
    admin.run("jobs", "retry", jobs["time-out"])
    failures.wait(8)
    admin.run("jobs", "retry", jobs["time-out"], "--to", receiver.url("/elsewhere"))
    assert body(receiver.wait(1, "/elsewhere")[0])["error"]["code"] == -32002


def test_its_receiver_counts_alone(make_server, receiver, failures):
    """It has a lane of its own: where results hang, errors go on, and are tried again."""
    receiver.answer = HANG
    failures.on("/f", Answer(503), Answer(503), OK)
    server = make_server(FAST)
    with server.client() as c:
        for i in range(20):
            c.call("test.echo", id=i, callback=receiver.url(), failureCallback=failures.url("/f"))
        c.call("test.big", {"bytes": 1}, id="failed", callback=receiver.url(), failureCallback=failures.url("/f"))
    posts = failures.wait(3)
    assert [p.headers["ringback-attempt"] for p in posts] == ["1", "2", "3"]
    assert len({p.body for p in posts}) == 1 and body(posts[0])["id"] == "failed"
    server.kill()


def test_checked_at_the_door(make_server, receiver):
    """The same checks as for the callback, and the reason stands under its own name."""
    with NameServer() as names:
        names.zone["bad.hooks.test"] = [["10.0.0.1"]]
        names.zone["good.hooks.test"] = [["127.0.0.1"]]
        server = make_server({"callback.name_servers": names.address, "callback.resolve": "yes",
                              "callback.resolve_timeout": "10s"})
        good, bad = f"https://good.hooks.test:{receiver.port}/", "https://bad.hooks.test:8443/"
        with server.client() as c:
            for url, reason in (("http://a.example.com/", "invalid protocol: http is not encrypted, use https"),
                                ("https://10.0.0.1/", "address not allowed"), ("", "must be a non-empty string"),
                                (7, "must be a non-empty string"), ("https://localhost/", "host not allowed"),
                                (bad, "host has no allowed address")):
                reply = c.call("test.echo", callback=receiver.url(), failureCallback=url)
                assert reply.error["code"] == -32602
                assert reply.error["data"] == {"$rpc.failureCallback": reason}, url
            # a body whose names are asked together: each member hears of its own first fault
            batch = [{"id": i, "method": "test.echo", "params": {"$rpc.callback": a, "$rpc.failureCallback": b}}
                     for i, (a, b) in enumerate([(good, bad), (bad, good), (receiver.url(), bad), (bad, bad)])]
            names.zone["bad.hooks.test"] = [["10.0.0.2"]]
            data = [r["error"]["data"] for r in c.post(batch).json]
            no = "host has no allowed address"
            assert data == [{"$rpc.failureCallback": no}, {"$rpc.callback": no}, {"$rpc.failureCallback": no},
                            {"$rpc.callback": no}]
            assert c.call("test.echo", failureCallback=good).error["data"] == {
                "$rpc.failureCallback": "needs $rpc.callback"}
            assert server.rows("select count(*) from job")[0][0] == 0


def test_batch_of_names_not_known_before(make_server, receiver):
    with NameServer() as names:
        names.zone["bad.hooks.test"] = [["10.0.0.1"]]
        names.zone["good.hooks.test"] = [["127.0.0.1"]]
        server = make_server({"callback.name_servers": names.address, "callback.resolve": "yes",
                              "callback.resolve_timeout": "10s"})
        good, bad = f"https://good.hooks.test:{receiver.port}/", "https://bad.hooks.test:8443/"
        pairs = [(good, bad), (bad, good), (receiver.url(), bad), (bad, bad), (receiver.url(), receiver.url())]
        with server.client() as c:
            reply = c.post([{"id": i, "method": "test.echo", "params": {"$rpc.callback": a, "$rpc.failureCallback": b}}
                            for i, (a, b) in enumerate(pairs)])
        no = "host has no allowed address"
        assert [r.get("error", {}).get("data") for r in reply.json] == [
            {"$rpc.failureCallback": no}, {"$rpc.callback": no}, {"$rpc.failureCallback": no},
            {"$rpc.callback": no}, None]
        assert len(reply.jobs) == 1
        receiver.wait(1)


def test_kill9(make_server, receiver, failures, tmp_path):
    """Errors whose first delivery was cut off go to their receiver after the restart, and are not
    computed again; a poisonous job's -32004 too."""
    journal = tmp_path / "journal"
    server = make_server({**FAST, "method.max_runs": "2"}, env={"RBK_JOURNAL": str(journal)})
    failures.answer = receiver.answer = HANG
    urls = {"callback": receiver.url(), "failureCallback": failures.url()}
    acked = {}
    with server.client() as c:
        for i in range(300):
            method, params = ("test.big", {"bytes": 1}) if i % 2 else ("test.journal", {"n": i})
            acked[c.call(method, params, id=i, **urls).jobs[0]] = i
    until(lambda: len(failures.posts) and len(receiver.posts), 10, "attempts have begun")
    server.kill()
    due = {job_id(s, r): (cb, fcb) for s, r, cb, fcb in server.rows(
        "select seq, rnd, callback, failure_callback from job where state = 3 union all "
        "select seq, rnd, callback, failure_callback from wait where state = 3")}
    assert len(due) > 20 and all(cb == (failures if acked[j] % 2 else receiver).url() for j, (cb, _) in due.items())
    ran = len(promise.read_journal(journal))
    server.start()
    failures.answer = receiver.answer = OK
    failures.drop_connections()
    receiver.drop_connections()
    until(lambda: {p.webhook_id for r in (failures, receiver) for p in list(r.posts) if p.answer is OK} >= set(acked),
          40, "all are delivered", poll=0.2)
    until(lambda: server.pending() == 0, 20, "nothing is pending", poll=0.2)
    assert all(body(p)["id"] % 2 == 1 and "error" in body(p) for p in failures.posts)
    assert all(body(p)["id"] % 2 == 0 and "result" in body(p) for p in receiver.posts)
    assert len(promise.read_journal(journal)) <= ran + 150 - len([j for j in due if acked[j] % 2 == 0])
    # a death of its own making, twice
    with server.client() as c:
        try:
            c.call("test.crash", id="poison", **urls)
        except OSError:
            pass
    server.wait()
    server.spawn()
    server.wait()
    server.start()
    until(lambda: any(body(p)["id"] == "poison" for p in list(failures.posts)), 20, "the poisonous job is answered")
    assert [body(p)["error"]["code"] for p in failures.posts if body(p)["id"] == "poison"] == [-32004]
