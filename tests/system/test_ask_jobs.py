# SPDX-License-Identifier: Apache-2.0
"""What a caller may ask of its jobs: rpc.job.get, rpc.job.wait, rpc.job.cancel."""
import itertools
import json
import re
import socket
import threading
import time

import pytest

from lib.receiver import Answer
from lib.wait import until

FAST = {"delivery.schedule": "50ms", "delivery.jitter": "0", "delivery.breaker": "0"}
SLOW = {"delivery.schedule": "1h", "delivery.jitter": "0", "delivery.breaker": "0"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOBODY = "0198c0de-0000-7000-8000-000000000000"


def submit(client, receiver, method="test.echo", params=None, **rpc):
    return client.call(method, params or {"n": 1}, callback=receiver.url("/cb"), **rpc).jobs[0]


def get(client, job):
    return client.call("rpc.job.get", {"id": job}).json["result"]


def later(fn, *args):
    """Runs beside; the thread's `answer` is what fn returned."""
    def run():
        t.answer = fn(*args)
        t.took = time.monotonic() - begin
    begin = time.monotonic()
    t = threading.Thread(target=run)
    t.start()
    return t


def wait_apart(server, job, **params):
    def run():
        with server.client() as c:
            return c.call("rpc.job.wait", {"id": job, **params}).json
    return later(run)


# --- rpc.job.get ----------------------------------------------------------------------------------
def test_a_delivered_job_shows_its_response(server, receiver):
    with server.client() as c:
        job = submit(c, receiver, params={"n": 12345678901234567890})
        until(lambda: get(c, job)["state"] == "DELIVERED", 20, "it is delivered")
        reply = c.call("rpc.job.get", {"id": job}, id="q")
    assert reply.status == 200 and b"12345678901234567890" in reply.body
    seen = reply.json
    assert list(seen) == ["id", "result"] and seen["id"] == "q"
    seen = seen["result"]
    assert TIME.fullmatch(seen.pop("created"))
    assert seen == {"id": job, "state": "DELIVERED", "method": "test.echo", "runs": 0, "attempts": 1, "status": "2xx",
                    "callback": receiver.url("/cb"), "response": {"id": 1, "result": {"n": 12345678901234567890}}}


def test_a_failed_delivery_tells_its_class_and_no_more(make_server, receiver):
    receiver.on("/cb", Answer(503))
    server = make_server(SLOW)
    with server.client() as c:
        job = submit(c, receiver)
        until(lambda: get(c, job)["attempts"] == 1, 20, "an attempt has failed")
        seen = get(c, job)
        assert seen["state"] == "DUE" and seen["status"] == "5xx" and seen["error"] == "delivery failed"
        assert TIME.fullmatch(seen["due"]) and seen["due"] > seen["created"]
        assert seen["response"] == {"id": 1, "result": {"n": 1}}
        with socket.socket() as s:  # bound, and nobody listens
            s.bind(("127.0.0.1", 0))
            url = f"https://127.0.0.1:{s.getsockname()[1]}/cb"
            job = c.call("test.echo", {}, callback=url).jobs[0]
            until(lambda: get(c, job)["attempts"] == 1, 20, "an attempt has failed")
            seen = get(c, job)
    assert seen["error"] == "delivery failed" and "status" not in seen
    assert "CONNECT" not in json.dumps(seen) and "refused" not in json.dumps(seen)


def test_unknown_and_malformed_ids(client):
    assert client.call("rpc.job.get", {"id": NOBODY}).json == {
        "id": 1, "error": {"code": -32003, "message": "Job not found"}}
    for method in ("rpc.job.get", "rpc.job.wait", "rpc.job.cancel"):
        for params, data in (({"id": "1"}, {"id": "is no job id"}), ({"id": 7}, {"id": "must be a string"}),
                             ({}, {"id": "is required"}), ({"id": NOBODY, "x": 1}, {"x": "unknown parameter"})):
            assert client.call(method, params).error == {
                "code": -32602, "message": "Invalid params", "data": data}, (method, params)
        reply = client.post({"id": 1, "method": method, "params": [NOBODY]})
        assert reply.error["data"] == {"params": "must be an object"}


def test_they_are_no_jobs(client, receiver):
    for method in ("rpc.job.get", "rpc.job.wait", "rpc.job.cancel"):
        reply = client.call(method, {"id": NOBODY}, callback=receiver.url())
        assert reply.error["code"] == -32602 and "$rpc.callback" in reply.error["data"]
    assert client.call("rpc.job.nothing", {}).error["code"] == -32601


def test_in_a_batch_and_as_notifications(server, receiver):
    with server.client() as c:
        job = submit(c, receiver)
        until(lambda: get(c, job)["state"] == "DELIVERED", 20, "it is delivered")
        reply = c.post([{"id": 1, "method": "rpc.job.get", "params": {"id": job}},
                        {"id": 2, "method": "test.echo", "params": {"x": 1}},
                        {"jsonrpc": "2.0", "id": 3, "method": "rpc.job.get", "params": {"id": NOBODY}},
                        {"method": "rpc.job.get", "params": {"id": job}}])
        one, two, three = reply.json
        assert one["result"]["id"] == job and two["result"] == {"x": 1}
        assert three["jsonrpc"] == "2.0" and three["error"]["code"] == -32003
        assert c.post({"method": "rpc.job.get", "params": {"id": job}}).status == 204
        assert c.post({"method": "rpc.job.wait", "params": {"id": NOBODY}}).status == 204


# --- rpc.job.wait ---------------------------------------------------------------------------------
def test_wait_answers_when_the_response_is_there(server, receiver):
    with server.client() as c:
        job = submit(c, receiver, "test.late", {"ms": 1200})
        waiting = [wait_apart(server, job) for _ in range(2)]
        assert get(c, job)["state"] == "QUEUED"
    for t in waiting:
        t.join(20)
        assert 0.5 < t.took < 10
        assert t.answer["result"]["response"] == {"id": 1, "result": {"ms": 1200}}
        assert t.answer["result"]["state"] in ("DUE", "SENDING", "DELIVERED")


def test_wait_for_what_is_there_answers_at_once(server, receiver):
    with server.client() as c:
        job = submit(c, receiver)
        until(lambda: get(c, job)["state"] == "DELIVERED", 20, "it is delivered")
        begin = time.monotonic()
        assert c.call("rpc.job.wait", {"id": job}).json["result"]["state"] == "DELIVERED"
        assert c.call("rpc.job.wait", {"id": NOBODY}).error["code"] == -32003
    assert time.monotonic() - begin < 10


def test_wait_ends_at_its_timeout_with_the_state_as_it_is(server, receiver):
    with server.client() as c:
        job = submit(c, receiver, delay=600)
        begin = time.monotonic()
        seen = c.call("rpc.job.wait", {"id": job, "timeout": 0.6}).json["result"]
        assert 0.5 < time.monotonic() - begin < 10
        assert seen["state"] == "QUEUED" and "response" not in seen and TIME.fullmatch(seen["due"])
        assert c.call("rpc.job.wait", {"id": job, "timeout": 0}).json["result"]["state"] == "QUEUED"
        for bad in (-1, 30.1, "5", None, True, 1e400):
            body = json.dumps({"id": 1, "method": "rpc.job.wait", "params": {"id": job, "timeout": bad}})
            reply = c.post(body.replace("Infinity", "1e400").encode())
            assert reply.error["data"] == {"timeout": "must be a number of seconds from 0 to 30"}, bad


def test_many_wait_and_cost_the_others_nothing(server, receiver):
    """Hundreds wait in one body, and are woken by one result."""
    with server.client() as c, server.client() as other:
        job = submit(c, receiver, "test.late", {"ms": 1500})
        c.send(post_of(c, [{"id": i, "method": "rpc.job.wait", "params": {"id": job}} for i in range(800)]))
        assert other.call("test.echo", {"x": 1}).json["result"] == {"x": 1}
        assert get(other, job)["state"] == "QUEUED"
        answers = c.receive().json
    assert [a["id"] for a in answers] == list(range(800))
    assert all(a["result"]["response"]["result"] == {"ms": 1500} for a in answers)


def post_of(client, body):
    data = json.dumps(body).encode()
    return (f"POST {client.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


def test_who_goes_away_frees_the_place(make_server, receiver):
    server = make_server({"server.max_batch": "20000", "server.max_body": "8M"})
    with server.client() as c:
        job = submit(c, receiver, delay=600)
        wait = {"id": 1, "method": "rpc.job.wait", "params": {"id": job}}
        get = {"id": 1, "method": "rpc.job.get", "params": {"id": job}}
        size = itertools.count(10, 10)

        def some_are_refused():
            """Those who ask take places too, and may have been there first: each time a few more ask."""
            return any("error" in a and a["error"]["code"] == -32009 for a in c.post([get] * next(size)).json)
        with server.client() as gone:
            gone.send(post_of(gone, [wait] * 10000))
            until(some_are_refused, 20, "all places are taken")
        until(lambda: "result" in c.call("rpc.job.get", {"id": job}).json, 20, "the places are free again")


def test_a_stop_answers_those_who_wait(make_server, receiver):
    server = make_server()
    with server.client() as c:
        job = submit(c, receiver, delay=600)
        waiting = [wait_apart(server, job) for _ in range(20)]
        wait_until_parked(server)
        begin = time.monotonic()
        server.stop()
    for t in waiting:
        t.join(20)
        assert t.answer["result"]["state"] == "QUEUED"
    assert time.monotonic() - begin < 10


def wait_until_parked(server):
    """Long polls leave no trace: a request that came after them has been answered."""
    with server.client() as c:
        for _ in range(20):
            c.call("rpc.job.get", {"id": NOBODY})


def test_wait_sees_the_end_of_jobs_without_response(server, receiver):
    """A cancelled notification has no response, and ends."""
    with server.client() as c:
        job = c.post({"method": "test.echo", "params": {"$rpc.callback": receiver.url(), "$rpc.delay": 600}}).jobs[0]
        t = wait_apart(server, job)
        wait_until_parked(server)
        assert c.call("rpc.job.cancel", {"id": job}).json["result"] == {"id": job, "state": "CANCELLED"}
    t.join(20)
    assert t.answer["result"]["state"] == "CANCELLED" and "response" not in t.answer["result"]


# --- rpc.job.cancel -------------------------------------------------------------------------------
def test_cancel_a_delayed_job(server, receiver):
    with server.client() as c:
        job = submit(c, receiver, delay=600)
        assert c.call("rpc.job.cancel", {"id": job}).json == {"id": 1, "result": {"id": job, "state": "DUE"}}
        post = receiver.wait(1, "/cb")[0]
        assert json.loads(post.body) == {"id": 1, "error": {"code": -32005, "message": "Cancelled"}}
        until(lambda: get(c, job)["state"] == "DELIVERED", 20, "the receiver knows")
        assert c.call("rpc.job.cancel", {"id": job}).error == {
            "code": -32602, "message": "Invalid params", "data": {"id": "the job has ended"}}
        assert c.call("rpc.job.cancel", {"id": NOBODY}).error["code"] == -32003


def test_cancel_a_running_method(server, receiver):
    with server.client() as c:
        job = submit(c, receiver, "test.late", {"ms": 3000})
        t = wait_apart(server, job)
        assert c.call("rpc.job.cancel", {"id": job}).json["result"]["state"] == "DUE"
        t.join(20)
        assert t.answer["result"]["response"]["error"]["code"] == -32005 and t.took < 2.9


def test_cancel_what_waits_for_a_retry_sends_no_more(make_server, receiver):
    receiver.on("/cb", Answer(500))
    server = make_server(SLOW)
    with server.client() as c:
        job = submit(c, receiver)
        until(lambda: get(c, job)["attempts"] == 1, 20, "an attempt has failed")
        assert c.call("rpc.job.cancel", {"id": job}).json["result"]["state"] == "CANCELLED"
        assert get(c, job)["state"] == "CANCELLED"
    assert len(receiver.at("/cb")) == 1


def test_cancel_many_at_once(server, receiver):
    """More than an operator may ask for at one time."""
    with server.client() as c:
        jobs = [submit(c, receiver, delay=600) for _ in range(120)]
        body = [{"id": i, "method": "rpc.job.cancel", "params": {"id": job}} for i, job in enumerate(jobs)]
        answers = c.post(body + [{"method": "rpc.job.cancel", "params": {"id": NOBODY}}]).json
    assert [a["result"] for a in answers] == [{"id": job, "state": "DUE"} for job in jobs]


def test_a_kill_loses_waiters_and_no_job(make_server, receiver):
    server = make_server()
    with server.client() as c:
        job = submit(c, receiver, "test.late", {"ms": 1000})
        with server.client() as w:
            w.send(post_of(w, {"id": 1, "method": "rpc.job.wait", "params": {"id": job}}))
            server.kill()
            with pytest.raises(OSError):
                w.receive()
    server.start()
    with server.client() as c:
        seen = c.call("rpc.job.wait", {"id": job}).json["result"]
        assert seen["response"] == {"id": 1, "result": {"ms": 1000}} and seen["runs"] >= 0
