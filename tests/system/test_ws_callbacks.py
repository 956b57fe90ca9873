# SPDX-License-Identifier: Apache-2.0
"""The callback "ws:": responses that come later, on the websocket that the request came on."""
import json
import random
import re
import subprocess
import sys
import threading
import time

import pytest

from lib.server import Server, root
from lib.wait import until
from lib.ws_client import TEXT, WsClient, frame
from lib.ws_session import Session, job_of, state_of, wait_state
from test_admin import Admin, admin_port, ask

TWICE = {"delivery.timeout": "1s", "delivery.schedule": "500ms"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory, ca):
    s = Server(tmp_path_factory.mktemp("ws"), ca.pem).start()
    yield s
    s.stop()
    s.check_sanitizers()


@pytest.fixture
def ws(shared):
    with Session(shared.port) as c:
        yield c


def response_of(m):
    return {k: v for k, v in m.items() if k != "ringback"}


# --- one response ------------------------------------------------------------------------------

def test_the_acknowledgement_and_then_the_response(shared, ws):
    job = ws.submit("test.echo", {"x": 1}, id="a")
    m = ws.response()
    assert list(m) == ["id", "result", "ringback"]
    assert m == {"id": "a", "result": {"x": 1}, "ringback": {"job": job, "attempt": 1}}
    with shared.client() as h:
        assert state_of(h, job) == "DUE"
        assert ws.ack(m, id="k") == {"id": "k", "result": True}
        assert state_of(h, job) == "DELIVERED"
        got = h.call("rpc.job.get", {"id": job}).json["result"]
        assert got["callback"] == "ws:" and got["attempts"] == 1


def test_an_acknowledgement_as_a_notification(shared, ws):
    job = ws.submit()
    ws.ack(ws.response())
    with shared.client() as h:
        wait_state(h, job, "DELIVERED")
    assert ws.ack(job, id="again") == {"id": "again", "result": True}


def test_with_a_version_and_an_error(ws):
    ws.send({"jsonrpc": "2.0", "id": 7, "method": "subtract", "params": {"a": 1, "$rpc.callback": "ws:"}})
    m = ws.take()
    assert m["jsonrpc"] == "2.0" and m["id"] == 7 and m["error"]["code"] == -32602


def test_a_failure_callback(ws, receiver):
    ws.call("subtract", {"a": 1}, id="bad", callback=receiver.url(), failureCallback="ws:")
    ack = ws.answer("bad")["result"]["callback"]
    assert ack["url"] == receiver.url()
    m = ws.take()
    assert m["error"]["code"] == -32602 and m["ringback"]["job"] == ack["data"][0]["job"]
    ws.call("test.echo", {"n": 1}, id="good", callback="ws:", failureCallback=receiver.url())
    assert job_of(ws.answer("good")) == ws.take()["ringback"]["job"]
    assert receiver.posts == []


def test_not_on_a_websocket(shared):
    refused = {"code": -32602, "message": "Invalid params"}
    with shared.client() as c:
        assert c.call("test.echo", callback="ws:").error == {**refused, "data": {"$rpc.callback": "not on a websocket"}}
        r = c.call("test.echo", callback="https://example.com/", failureCallback="ws:")
        assert r.error["data"] == {"$rpc.failureCallback": "not on a websocket"}
        r = c.post([{"id": 1, "method": "test.echo"}], {"Ringback-Batch-Callback": "ws:"})
        assert r.error["data"] == {"Ringback-Batch-Callback": "not on a websocket"}


@pytest.mark.parametrize("text", ["ws:" + "A" * 43, "ws:x", "ws://127.0.0.1:1/", "WS:", "ws: ", " ws:"])
def test_no_other_text_means_the_socket(ws, text):
    ws.call("test.echo", callback=text)
    assert ws.answer(1)["error"]["code"] == -32602
    ws.call("test.echo", callback="ws:", failureCallback=text)
    assert "$rpc.failureCallback" in ws.answer(1)["error"]["data"]


def test_what_cannot_be_acknowledged(shared, ws, receiver):
    nobody = "01a2138b-be3a-7000-b0a5-268f6f1b9c9c"
    assert ws.ack(nobody, id=1)["error"]["code"] == -32003
    ws.call("test.echo", callback=receiver.url(), receipt=True, id="http")
    other = ws.answer("http")["result"]["callback"]["data"][0]["job"]
    receiver.wait(1)
    assert ws.ack(other, id=2)["error"]["code"] == -32003
    waiting = ws.submit(id="d", delay=60)
    assert ws.ack(waiting, id=3)["error"]["code"] == -32003
    ws.call("rpc.job.ack", {}, id=4)
    assert ws.answer(4)["error"]["data"] == {"id": "is required"}
    job = ws.submit(id="mine")
    m = ws.response()
    with shared.client() as h, Session(shared.port) as b:
        assert h.call("rpc.job.ack", {"id": job}).error["code"] == -32003
        assert h.notify("rpc.job.ack", {"id": job}).status == 204
        assert b.ack(job, id=5)["error"]["code"] == -32003
        b.ack(job)
        assert b.ack(job, id=6)["error"]["code"] == -32003
        assert state_of(h, job) == "DUE"
    ws.ack(m, id=7)


def test_an_acknowledgement_that_comes_before_the_response(make_server):
    s = make_server()
    with Session(s.port) as c, s.client() as h:
        jobs = [c.submit("test.late", {"ms": 200}, id=i) for i in range(8)]
        for job in jobs:
            until(lambda: c.ack(job, id="k").get("result"), 20, "it is taken")
        assert all(state_of(h, j) == "DELIVERED" for j in jobs)


def test_the_example_of_the_docs(shared):
    text = (root() / "docs/websocket.md").read_text()
    program = re.findall(r"```python\n(.*?)```", text, re.S)[1].replace("127.0.0.1:7600", f"127.0.0.1:{shared.port}")
    output = re.findall(r"prints\n\n```text\n(.*?)```", text, re.S)[1]
    got = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (got.stdout, got.returncode) == (output, 0), got.stderr


# --- again -------------------------------------------------------------------------------------

def test_without_an_acknowledgement_it_comes_again(make_server):
    s = make_server(TWICE)
    with Session(s.port) as c, s.client() as h:
        began = time.monotonic()
        job = c.submit("test.echo", {"n": 1})
        got = [c.response() for _ in range(3)]
        assert [m["ringback"] for m in got] == [{"job": job, "attempt": n} for n in (1, 2, 3)]
        assert len({json.dumps(response_of(m)) for m in got}) == 1
        assert time.monotonic() - began > 2.7  # twice a second's wait, and the schedule
        assert c.ack(got[0], id="k")["result"] is True  # whichever it was
        wait_state(h, job, "DELIVERED")
        text = json.dumps(Admin(s).call("rpc.jobs.get", job=job))
        assert text.count('"TIMEOUT"') >= 2, text


def test_it_is_never_dead_of_attempts_and_waits_for_the_retention(make_server):
    s = make_server({"delivery.timeout": "1s", "delivery.schedule": "100ms,100ms", "store.retention": "8s"})
    with Session(s.port) as c, s.client() as h:
        job = c.submit()
        began = time.monotonic()
        numbers = []
        until(lambda: state_of(h, job) == "DEAD", 40, "it is given up")
        assert time.monotonic() - began > 6
        c.sock.settimeout(1)
        while True:
            try:
                numbers.append(c.response()["ringback"]["attempt"])
            except TimeoutError:
                break
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 4


def test_nobody_came_until_the_retention_was_over(make_server):
    s = make_server({"store.retention": "2s"})
    with Session(s.port) as c:
        job = c.submit("test.late", {"ms": 300})
    s.wait_log(f"job.expired job={job}", 40)
    with s.client() as h:
        wait_state(h, job, "DEAD")
        got = h.call("rpc.job.get", {"id": job}).json["result"]
        assert got["state"] == "DEAD" and got["attempts"] == 0 and got["response"]["id"] == 1


def test_no_more_than_per_receiver_are_unacknowledged(make_server):
    s = make_server({"delivery.per_receiver": "4"})
    with Session(s.port) as c:
        for i in range(12):
            c.submit(id=i)
        until(lambda: metric(s, "websocket_unacknowledged") == 4, 20, "four are out")
        got = [c.response() for _ in range(4)]
        assert c.late == []
        c.call("test.echo", id="between")
        c.answer("between")
        assert c.late == []
        for _ in range(8):
            c.ack(got.pop(0))
            got.append(c.response())
        assert {m["id"] for m in got} <= set(range(12))


def metric(server, name):
    m = re.search(rf"^ringback_{name} (\d+)$", ask(admin_port(server), "/metrics")[1], re.M)
    return int(m.group(1))


# --- sessions ----------------------------------------------------------------------------------

def test_coming_back(shared):
    with Session(shared.port) as c:
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", c.resume)
        jobs = []
        for n in range(12):  # their responses are there in this order
            jobs.append(c.submit("test.echo", {"n": n}, id=n))
            assert c.response()["ringback"]["job"] == jobs[-1]
        rest = {c.submit("test.echo", {"n": n}, id=n) for n in range(30)}
        token = c.resume
    with Session(shared.port, resume=token) as c:
        assert c.resume == token
        assert [c.take()["ringback"]["job"] for _ in jobs] == jobs
        assert {c.take()["ringback"]["job"] for _ in rest} == rest
    with Session(shared.port, resume=token) as c:
        c.call("test.echo", id="only")
        c.answer("only")
        assert c.late == []


def test_a_result_that_comes_while_nobody_is_there(shared):
    with Session(shared.port) as c:
        job = c.submit("test.late", {"ms": 700})
        token = c.resume
    with shared.client() as h:
        until(lambda: h.call("rpc.job.get", {"id": job}).json["result"].get("response"), 20, "it has its result")
        until(lambda: h.call("rpc.job.get", {"id": job}).json["result"]["state"] == "DUE", 20, "it waits")
    with Session(shared.port, resume=token) as c:
        m = c.take()
        assert m["ringback"] == {"job": job, "attempt": 1}


@pytest.mark.parametrize("value", ["", "short", "A" * 42, "A" * 44, "A" * 42 + "B", "A" * 42 + "=", "A" * 42 + "+"])
def test_a_token_that_is_none(shared, value):
    with WsClient(shared.port, handshake=False) as c:
        status, _, body = c.ask({"Ringback-Resume": value})
        assert status == 400 and "Ringback-Resume" in json.dumps(json.loads(body))
    with WsClient(shared.port, handshake=False) as c:
        assert c.ask({"Ringback-Resume": "A" * 43, "ringback-resume": "A" * 43})[0] == 400


def test_the_token_is_nowhere_in_the_store(make_server):
    s = make_server()
    with Session(s.port) as c:
        c.submit()
        token = c.resume
        assert s.rows("select count(*) from job where callback like 'ws:%'")[0][0] == 1
    s.stop()
    for f in s.folder.iterdir():
        if f.is_file():
            assert token.encode() not in f.read_bytes(), f


def test_another_caller_with_the_same_token(serve, callers):
    s = serve()
    with Session(s.port, token=callers.tokens["alice"]) as a:
        job = a.submit()
        resume = a.resume
    with Session(s.port, resume=resume, token=callers.tokens["bob"]) as b:
        b.call("test.echo", id="x")
        b.answer("x")
        assert b.late == []
        assert b.ack(job, id="k")["error"]["code"] == -32003
        with Session(s.port, resume=resume, token=callers.tokens["alice"]) as a:
            assert a.take()["ringback"]["job"] == job
            b.call("test.echo", id="y")
            assert b.answer("y")["result"] == {}


def test_the_newer_connection_takes_over(shared):
    with Session(shared.port) as old:
        jobs = [old.submit(id=i) for i in range(20)]
        assert old.response()["ringback"]["job"] in jobs
        with Session(shared.port, resume=old.resume) as new:
            assert old.closed() == 4000
            assert {new.take()["ringback"]["job"] for _ in jobs} == set(jobs)
            later = new.submit(id="later")
            assert new.take()["ringback"]["job"] == later


def test_a_caller_who_is_taken_away(serve, callers):
    s = serve()
    with Session(s.port, token=callers.tokens["alice"]) as a:
        job = a.submit("test.late", {"ms": 500})
        callers.remove("alice").write()
        s.signal(1)
        s.wait_log("reload")
        s.wait_log(f"job.refused .*{job}")


# --- kills and stops -----------------------------------------------------------------------------

def test_kills_lose_nothing_and_what_was_acknowledged_is_not_sent_again(make_server):
    s = make_server({"delivery.timeout": "2s", "delivery.schedule": "200ms", "store.retention": "1h"})
    rng = random.Random(7)
    open_jobs, done, token, n = {}, set(), None, 0
    for round_ in range(8):
        c = Session(s.port, resume=token)
        token = c.resume
        stop_at = rng.uniform(0.05, 0.5)
        killer = threading.Timer(stop_at, s.kill)
        killer.start()
        try:
            while True:
                if len(open_jobs) < 60:
                    n += 1
                    open_jobs[c.submit("test.late", {"n": n, "ms": rng.choice((0, 5, 50))}, id=n)] = n
                while c.late:
                    m = c.late.pop(0)
                    job = m["ringback"]["job"]
                    assert job not in done, "acknowledged, and sent again"
                    if rng.random() < 0.7 and c.ack(m, id=f"k{job}")["result"] is True:
                        done.add(job)
                        open_jobs.pop(job, None)
                if len(open_jobs) >= 60:
                    c.read()  # what was not acknowledged comes again, or the end
        except OSError:
            pass
        killer.join()
        c.close()
        s.start()
    came = set()
    with Session(s.port, resume=token) as c, s.client() as h:
        def take_all():
            while c.late:
                m = c.late.pop(0)
                assert m["ringback"]["job"] not in done, "acknowledged, and sent again"
                assert c.ack(m, id="k")["result"] is True
                done.add(m["ringback"]["job"])
        while set(open_jobs) - done:
            # one whose acknowledgement the kill came behind, but before its answer, does not come again
            came |= {j for j in set(open_jobs) - done if state_of(h, j) == "DELIVERED"}
            done |= came
            if set(open_jobs) - done:
                c.late or c.read()
            take_all()
    assert len(came) <= 8 and s.pending() == 0 and n > 8


def test_a_stop_sends_what_is_ready_and_keeps_the_rest(make_server):
    s = make_server({"delivery.per_receiver": "2"})
    with Session(s.port) as c:
        jobs = [c.submit(id=i) for i in range(5)]
        got = [c.response(), c.response()]
        with s.client() as h:
            for job in jobs:
                until(lambda: h.call("rpc.job.get", {"id": job}).json["result"].get("response"), 20, "its result")
        c.call("test.echo", id="all are in the queue")
        c.answer("all are in the queue")
        s.signal(15)
        for m in got:
            c.ack(m)
        assert {c.response()["ringback"]["job"], c.response()["ringback"]["job"]} | \
            {m["ringback"]["job"] for m in got} < set(jobs)
        assert c.closed() == 1001
        token = c.resume
    assert s.wait() == 0
    s.start()
    with Session(s.port, resume=token) as c:
        left = {c.take()["ringback"]["job"] for _ in range(3)}
        assert left == set(jobs) - {m["ringback"]["job"] for m in got}


def test_a_stop_waits_a_moment_for_acknowledgements(make_server):
    s = make_server()
    with Session(s.port) as c:
        job = c.submit()
        m = c.response()
        s.signal(15)
        c.ack(m)
        assert c.closed() == 1001
    assert s.wait() == 0
    assert s.rows("select count(*) from done")[0][0] == 1, job


# --- many ----------------------------------------------------------------------------------------

def test_two_thousand_on_one_socket(make_server):
    s = make_server()
    n = 2000
    with Session(s.port, timeout=60) as c:
        seen = []

        def take():
            while c.late:
                m = c.late.pop(0)
                c.ack(m)
                seen.append(m["id"])
        c.raw(b"".join(frame(TEXT, b'{"id":%d,"method":"test.echo","params":{"i":%d,"$rpc.callback":"ws:"}}' % (i, i))
                       for i in range(n)))
        while len(seen) < n:
            c.read()
            take()
        while len(c.answers) < n:
            c.read()
        assert sorted(seen) == list(range(n))
        until(lambda: s.pending() == 0, 30, "all are done")


def test_two_thousand_that_wait_for_their_client(make_server):
    s = make_server()
    n = 2000
    with Session(s.port, timeout=60) as c:
        c.raw(b"".join(frame(TEXT, b'{"id":%d,"method":"test.echo","params":{"i":%d,"$rpc.callback":"ws:"}}' % (i, i))
                       for i in range(n)))
        while len(c.answers) < n:
            c.read()
        token = c.resume
    with Session(s.port, resume=token, timeout=60) as c:
        began = time.monotonic()
        got = []
        while len(got) < n:
            m = c.response()
            c.ack(m)
            got.append(m["id"])
        print(f"{n / (time.monotonic() - began):.0f} a second")
        assert sorted(got) == list(range(n))
        until(lambda: s.pending() == 0, 30, "all are done")


def rss(server):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{server.pid}/status").read())[1]) * 1024


def test_a_thousand_sessions_that_left(make_server):
    # what a sanitizer keeps of freed memory is not the server's
    s = make_server({"server.per_address": "0"}, env={"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"})
    for _ in range(50):
        with Session(s.port) as c:
            c.submit()
    before = rss(s)
    left = []
    for i in range(1000):
        with Session(s.port) as c:
            left.append((c.resume, c.submit("test.echo", {"i": i}, id=i)))
    until(lambda: metric(s, "websocket_sessions") == 0, 20, "nobody is there")
    until(lambda: metric(s, "jobs_in_memory") == 0, 20, "nothing is in memory")
    assert rss(s) - before < 24 << 20
    for resume, job in left:
        with Session(s.port, resume=resume) as c:
            assert c.take()["ringback"]["job"] == job


def test_who_does_not_read(make_server):
    s = make_server({"delivery.timeout": "2s", "delivery.schedule": "200ms"})
    with Session(s.port, rcvbuf=4096) as slow, Session(s.port) as other:
        base = rss(s)
        for i in range(64):
            slow.call("test.big", {"bytes": 900_000}, id=i, callback="ws:", delay=0.2)
        for i in range(64):
            slow.answer(i)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            other.submit()
            other.take()
            assert rss(s) - base < 300 << 20
        seen = set()
        slow.sock.settimeout(60)
        try:
            while len(seen) < 64:
                m = slow.response()
                slow.ack(m)
                seen.add(m["id"])
        except OSError:  # it was dropped for its slowness: what it has not had waits for it
            with Session(s.port, resume=slow.resume, timeout=60) as again:
                while len(seen) < 64:
                    m = again.response()
                    again.ack(m)
                    seen.add(m["id"])
        assert seen == set(range(64))


# --- with the rest of the contract -----------------------------------------------------------------

def test_progress(shared, ws):
    job = ws.submit("test.progress", {"steps": 12, "ms": 100}, id="p", events=["progress"])
    m = ws.take()
    assert m["result"] == {"steps": 12, "faults": 0}
    assert len(ws.progress) >= 2
    assert all(p["job"] == job and p["id"] == "p" for p in ws.progress)
    assert [p["value"] for p in ws.progress] == sorted(p["value"] for p in ws.progress)


def test_progress_that_nobody_hears(make_server):
    s = make_server()
    with Session(s.port) as c:
        c.submit("test.progress", {"steps": 12, "ms": 100}, events=["progress"])
        token = c.resume
    until(lambda: metric(s, "progress_lost_total") >= 1, 20, "it is lost")
    with Session(s.port, resume=token) as c:
        assert c.take()["result"]["steps"] == 12


def test_a_batch(ws):
    ws.send([{"id": i, "method": "test.echo", "params": {"n": i, **({"$rpc.callback": "ws:"} if i % 2 else {})}}
             for i in range(6)])
    ws.answer("batch")
    got = {ws.take()["id"] for _ in range(3)}
    assert got == {1, 3, 5}


def test_a_chain_of_members(ws):
    ws.send([{"id": "a", "method": "test.echo", "params": {"v": 5}},
             {"id": "b", "method": "test.echo", "params": {"w": "@FROM:a(v)", "$rpc.callback": "ws:"}},
             {"id": "c", "method": "test.echo", "params": {"x": "@FROM:b(w)", "$rpc.callback": "ws:"}}])
    answers = ws.answer("batch")
    assert len(answers) == 3
    got = {m["id"]: m["result"] for m in (ws.take(), ws.take())}
    assert got == {"b": {"w": 5}, "c": {"x": 5}}


def test_an_order_key(ws):
    jobs = [ws.submit("test.late", {"ms": 30 if i == 0 else 0}, id=i, key="k") for i in range(6)]
    assert [ws.take()["ringback"]["job"] for _ in jobs] == jobs


def test_an_order_key_over_a_break(shared):
    with Session(shared.port) as c:
        jobs = [c.submit(id=i, key="over") for i in range(6)]
        assert c.response()["ringback"]["job"] == jobs[0]
        token = c.resume
    with Session(shared.port, resume=token) as c:
        assert [c.take()["ringback"]["job"] for _ in jobs] == jobs


def test_an_idempotency_key(shared, ws):
    job = ws.submit(id="one", idempotencyKey="once")
    assert ws.submit(id="two", idempotencyKey="once") == job
    assert ws.take()["id"] == "one"
    with Session(shared.port) as other:
        other.call("test.echo", callback="ws:", idempotencyKey="once")
        assert other.answer(1)["error"]["data"] == {"$rpc.idempotencyKey": "taken by another request"}


def test_wait_and_delay(ws):
    ws.call("test.echo", {"x": 1}, id="w", callback="ws:", wait=10)
    assert ws.answer("w") == {"id": "w", "result": {"x": 1}}
    ws.call("test.late", {"ms": 600}, id="w2", callback="ws:", wait=0.1)
    job = job_of(ws.answer("w2"))
    assert ws.take()["ringback"]["job"] == job
    job = ws.submit(id="d", delay=0.3)
    assert ws.take()["ringback"]["job"] == job
    ws.submit("test.linger", {"ms": 3000}, id="late", deadline=int(time.time()) + 1)
    assert ws.take()["error"]["code"] == -32002


def test_cancel(shared, ws):
    job = ws.submit(id="c", delay=60)
    ws.call("rpc.job.cancel", {"id": job}, id="x")
    assert ws.answer("x")["result"]["state"] == "DUE"
    assert ws.take()["error"]["code"] == -32005
    job = ws.submit(id="c2")
    m = ws.response()
    ws.call("rpc.job.cancel", {"id": job}, id="y")
    ws.ack(m)
    assert ws.answer("y")["error"]["data"] == {"id": "the job has ended"}
    with Session(shared.port) as c:
        job = c.submit("test.late", {"ms": 200})
        token = c.resume
    with shared.client() as h:
        until(lambda: h.call("rpc.job.get", {"id": job}).json["result"].get("response"), 20, "it is due")
        until(lambda: h.call("rpc.job.cancel", {"id": job}).json.get("result", {}).get("state") == "CANCELLED", 20,
              "it is cancelled")
    with Session(shared.port, resume=token) as c:
        c.call("test.echo", id="z")
        c.answer("z")
        assert c.late == []


def test_operators(make_server, receiver):
    s = make_server()
    with Session(s.port) as c:
        job = c.submit("test.echo", {"n": 1})
        c.take()
        admin = Admin(s)
        assert admin.call("rpc.jobs.retry", job=job)["changed"] == 1
        assert c.take()["ringback"] == {"job": job, "attempt": 1}
        assert admin.call("rpc.receivers.list")["receivers"] == []
        shown = admin.call("rpc.jobs.list")["jobs"][0]
        assert shown["callback"].startswith("ws:") and shown["job"] == job
        for to in ("ws:", shown["callback"]):
            assert admin.error("rpc.jobs.retry", job=job, to=to)["code"] == -32602
        assert admin.call("rpc.jobs.retry", job=job, to=receiver.url())["changed"] == 1
        assert json.loads(receiver.wait(1)[0].body) == {"id": 1, "result": {"n": 1}}


def test_the_numbers(make_server):
    s = make_server()
    assert (metric(s, "websockets"), metric(s, "websocket_sessions")) == (0, 0)
    with Session(s.port) as c, Session(s.port):
        c.submit()
        c.response()
        until(lambda: metric(s, "websocket_sessions") == 2, 20, "two sessions")
        assert metric(s, "websockets") == 2 and metric(s, "websocket_unacknowledged") == 1
    until(lambda: metric(s, "websockets") == 0 and metric(s, "websocket_sessions") == 0, 20, "they are gone")
