# SPDX-License-Identifier: Apache-2.0
"""$rpc.wait: the result itself when it is there in time, else the acknowledgement; and whatever
happens to the connection or the server, no result is lost."""
import json
import os
import random
import signal
import socket
import threading
import time

from lib import promise
from lib.client import Client
from lib.receiver import OK
from lib.wait import until
from test_admin import Admin
from test_kill9 import stored_results

SEED = int(os.environ.get("RBK_SEED", str(time.time_ns() & 0xffffffff)))
FAST = {"delivery.schedule": ",".join(["200ms"] * 8 + ["2s"] * 20), "delivery.jitter": "0"}


def is_ack(reply, url):
    return reply.status == 200 and reply.json.get("result") == {"callback": {"url": url, "status": True, "data": []}}


def test_in_time(server, client, receiver):
    """The response object itself, and nothing for the callback."""
    admin = Admin(server)
    reply = client.call("test.late", {"ms": 300}, id="a", callback=receiver.url(), wait=10)
    assert (reply.status, reply.body) == (200, b'{"id":"a","result":{"ms":300}}'), reply
    assert len(reply.jobs) == 1 and "preference-applied" not in reply.headers
    until(lambda: admin.state(reply.jobs[0]) == "DELIVERED", 10, "it counts as delivered")
    until(lambda: server.pending() == 0, 10, "nothing is pending")
    shown = admin.call("rpc.jobs.get", job=reply.jobs[0])
    assert shown["attempts"] == 0 and shown["response"] == {"id": "a", "result": {"ms": 300}}
    # an error is an answer as any other
    error = client.call("test.big", {"bytes": 1}, callback=receiver.url(), failureCallback=receiver.url("/f"), wait=5)
    assert error.error["code"] == -32602
    assert client.call("demo.sleep", {"seconds": 5}, callback=receiver.url(), wait=10, timeout=0.3).error["code"] == -32002
    until(lambda: server.pending() == 0, 10, "nothing is pending")
    assert receiver.posts == []


def test_who_reads_the_answer_and_closes_has_it(server, receiver):
    """As a program does that asks once: no callback besides."""
    for i in range(200):
        with server.client() as c:
            reply = c.call("test.echo", {"i": i}, callback=receiver.url(), wait=10)
        assert reply.json["result"] == {"i": i}
    until(lambda: server.pending() == 0, 10, "nothing is pending")
    assert receiver.posts == []


def test_too_late(server, client, receiver):
    then = time.monotonic()
    reply = client.call("test.late", {"ms": 3000}, id="b", callback=receiver.url(), wait=0.5)
    assert is_ack(reply, receiver.url()) and reply.headers["preference-applied"] == "respond-async"
    assert 0.45 < time.monotonic() - then < 2.9 and receiver.posts == []
    post = receiver.wait(1)[0]
    assert post.webhook_id == reply.jobs[0] and post.body == b'{"id":"b","result":{"ms":3000}}'
    reply = client.call("test.late", {"ms": 100}, id="c", callback=receiver.url(), wait=0)
    assert is_ack(reply, receiver.url()) and reply.headers["preference-applied"] == "respond-async"
    reply = client.call("test.echo", callback=receiver.url())
    assert "preference-applied" not in reply.headers
    assert client.call("test.echo", wait=1).error["data"] == {"$rpc.wait": "needs $rpc.callback"}
    assert client.call("test.echo", callback=receiver.url(), wait=31).error["data"] == {
        "$rpc.wait": "must be a number of seconds from 0 to 30"}
    # a job that waits for its delay is waited for as well
    reply = client.call("test.echo", {"d": 1}, callback=receiver.url(), wait=5, delay=0.3)
    assert reply.json["result"] == {"d": 1}


def test_prefer(client, receiver):
    """The header says it for a single call; the parameter goes before it, and a batch has none."""
    url = receiver.url()

    def call(prefer, **rpc):
        return client.call("test.late", {"ms": 300}, id=1, headers={"Prefer": prefer}, **rpc)
    for prefer in ("respond-async, wait=10", "wait=10", "return=minimal, Wait=\"99\"; x=y, respond-async"):
        reply = call(prefer, callback=url)
        assert reply.json["result"] == {"ms": 300} and "preference-applied" not in reply.headers
    assert receiver.posts == []
    for prefer, rpc in (("respond-async", {}), ("respond-async, wait=0", {}), ("respond-async, wait=9", {"wait": 0})):
        reply = call(prefer, callback=url, **rpc)
        assert is_ack(reply, url) and reply.headers["preference-applied"] == "respond-async"
    for prefer in ("wait=soon", "handling=strict"):
        reply = call(prefer, callback=url)
        assert is_ack(reply, url) and "preference-applied" not in reply.headers
    assert call("respond-async, wait=0").json["result"] == {"ms": 300}  # no callback: nothing to prefer
    reply = client.post([{"id": 1, "method": "test.late", "params": {"ms": 300, "$rpc.callback": url}}],
                        headers={"Prefer": "respond-async, wait=10"})
    assert reply.json[0]["result"]["callback"]["status"] is True and "preference-applied" not in reply.headers
    receiver.wait(6)


def test_notifications_do_not_wait(client, receiver):
    then = time.monotonic()
    assert client.notify("demo.sleep", {"seconds": 3}, callback=receiver.url(), wait=10).status == 204
    assert time.monotonic() - then < 2


def test_batch(server, client, receiver):
    """Each member waits for itself, and the one answer for all."""
    url = receiver.url()
    then = time.monotonic()
    reply = client.post([
        {"id": 1, "method": "test.late", "params": {"ms": 200, "$rpc.callback": url, "$rpc.wait": 10}},
        {"id": 2, "method": "test.late", "params": {"ms": 5000, "$rpc.callback": url, "$rpc.wait": 0.6}},
        {"id": 3, "method": "test.echo", "params": {"sync": True}},
        {"id": 4, "method": "test.late", "params": {"ms": 100, "$rpc.callback": url}},
        {"method": "test.echo", "params": {"$rpc.callback": url, "$rpc.wait": 10}}])
    assert 0.55 < time.monotonic() - then < 4
    ack = {"callback": {"url": url, "status": True, "data": []}}
    assert reply.json == [{"id": 1, "result": {"ms": 200}}, {"id": 2, "result": ack},
                          {"id": 3, "result": {"sync": True}}, {"id": 4, "result": ack}]
    assert len(reply.jobs) == 4 and reply.headers["preference-applied"] == "respond-async"
    assert {json.loads(p.body)["id"] for p in receiver.wait(2)} == {2, 4}
    assert {p.webhook_id for p in receiver.posts} == {reply.jobs[1], reply.jobs[2]}


def request(method, params, id, url, **rpc):
    body = json.dumps({"id": id, "method": method,
                       "params": {**params, "$rpc.callback": url, **{f"$rpc.{k}": v for k, v in rpc.items()}}}).encode()
    return (b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)) + body


def test_pipelined(client, receiver):
    """The answers leave in order, and each is delivered by itself."""
    client.send(request("test.late", {"ms": 600}, 1, receiver.url(), wait=10) +
                request("test.late", {"ms": 10}, 2, receiver.url(), wait=10) +
                request("test.late", {"ms": 3000}, 3, receiver.url(), wait=0.1))
    assert [client.receive().json["result"] for _ in range(2)] == [{"ms": 600}, {"ms": 10}]
    assert is_ack(client.receive(), receiver.url())
    assert json.loads(receiver.wait(1)[0].body)["id"] == 3


def test_closed_connections(server, receiver):
    """Who has gone before the answer gets it by the callback: before the result, or at it."""
    for how in ("close", "half", "reset"):
        s = socket.create_connection(("127.0.0.1", server.port))
        s.sendall(request("test.late", {"ms": 500}, how, receiver.url(), wait=20))
        until(lambda: server.pending() == 1, 10, "it is stored")
        if how == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.shutdown(socket.SHUT_WR) if how == "half" else s.close()
        then = time.monotonic()
        until(lambda: any(json.loads(p.body)["id"] == how for p in list(receiver.posts)), 10, "the callback has it")
        assert time.monotonic() - then < 5
        until(lambda: server.pending() == 0, 10, "nothing is pending")
        s.close()


def unread(server, receiver, id, size=8 << 20):
    """A connection that does not read, to which a large answer is being written."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", server.port))
    s.sendall(request("test.big", {"bytes": size}, id, receiver.url(), wait=20))
    assert s.recv(1) == b"H"
    return s


def test_not_all_of_it_was_written(make_server, receiver):
    """The answer has begun, and the client hangs up in the middle of it."""
    server = make_server({**FAST, "method.max_result": "16M"})
    s = unread(server, receiver, "cut")
    time.sleep(0.5)  # nothing is to happen
    assert receiver.posts == [] and server.pending() == 1
    s.close()
    assert json.loads(receiver.wait(1)[0].body)["id"] == "cut"
    until(lambda: server.pending() == 0, 10, "nothing is pending")
    # and one that takes all of it, slowly
    with server.client() as c:
        reply = c.call("test.big", {"bytes": 8 << 20}, callback=receiver.url(), wait=20)
        assert len(reply.json["result"]) == (8 << 20) - 2
    until(lambda: server.pending() == 0, 10, "nothing is pending")
    assert len(receiver.posts) == 1


def test_stop(make_server, receiver):
    """Who waits at the stop is acknowledged; what it waited for comes by the callback."""
    server, got = make_server({**FAST, "server.drain": "5s"}), []
    t = threading.Thread(target=lambda: got.append(
        server.client().call("test.late", {"ms": 2000}, id="s", callback=receiver.url(), wait=20)))
    t.start()
    until(lambda: server.pending() == 1, 10, "it is stored")
    server.signal(signal.SIGTERM)
    t.join()
    assert is_ack(got[0], receiver.url()) and got[0].headers["preference-applied"] == "respond-async"
    server.wait()
    server.start()
    receiver.wait(1)
    until(lambda: server.pending() == 0, 10, "nothing is pending")


def test_kill9_while_the_answer_is_written(make_server, receiver, tmp_path):
    """The result is stored, a part of it is written: after the crash the callback gets it, and
    nothing is run again."""
    server = make_server({**FAST, "method.max_result": "16M"})
    s = unread(server, receiver, "crash")
    until(lambda: server.rows("select count(*) from job where state = 3")[0][0] == 1, 10, "the result is stored")
    server.kill()
    s.close()
    server.start()
    post = receiver.wait(1, limit=10)[0]
    assert json.loads(post.body)["id"] == "crash"
    until(lambda: server.pending() == 0, 10, "nothing is pending")


def test_kill9_under_load(make_server, receiver, tmp_path):
    """Kills at random instants: an acknowledged job is delivered by its callback, one that was
    answered needs no more, no result is computed again, none of the accepted is lost."""
    rng, journal = random.Random(SEED), tmp_path / "journal"
    print(f"seed {SEED}")
    server = make_server({**FAST, "method.max_runs": "1000"}, start=False, env={"RBK_JOURNAL": str(journal)})
    acked, answered, faults, results = [], [], [], {}
    up, over = threading.Event(), threading.Event()

    def work(k):
        client, i = None, 0
        while not over.is_set():
            if not up.wait(0.05):
                client = None
                continue
            client = client if client and client.addr[1] == server.port else Client(server.port, timeout=5)
            i += 1
            id = f"c{k}-{i}"
            try:
                reply = client.call("test.journal", {"n": i}, id=id, callback=receiver.url(),
                                    wait=0 if i % 3 == 0 else 0.005 if i % 3 == 1 else 5)
            except OSError:
                continue
            if reply.status == 503:
                continue
            if is_ack(reply, receiver.url()):
                acked.append((reply.jobs[0], id))
            elif reply.status == 200 and reply.body == b'{"id":"%s","result":{"n":%d}}' % (id.encode(), i):
                answered.append(reply.jobs[0])
            else:
                faults.append(repr(reply))
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    try:
        for _ in range(10):
            server.start()
            up.set()
            time.sleep(rng.uniform(0.1, 0.8))  # the instant is the experiment, not a wait
            server.kill()
            at = time.time_ns()
            up.clear()
            stored_results(server, results, at)
            server.check_sanitizers()
    finally:
        over.set()
        for t in threads:
            t.join()
    assert faults == [], faults[:3]
    assert len(acked) > 10 and len(answered) > 10, (len(acked), len(answered))
    server.start()
    until(lambda: {p.webhook_id for p in list(receiver.posts)} >= {j for j, _ in acked}, 60,
          "all acknowledged are delivered", poll=0.3)
    until(lambda: server.pending() == 0, 60, "nothing is pending", poll=0.3)
    server.stop()
    bad = promise.violations([j for j, _ in acked], promise.deliveries(receiver.posts), promise.read_journal(journal),
                             results)
    assert not bad, f"{len(bad)}, seed {SEED}:\n" + "\n".join(bad[:20])
    twice = {p.webhook_id for p in receiver.posts} & set(answered)
    print(f"{len(acked)} acknowledged, {len(answered)} answered, {len(twice)} of these sent as well")
    assert all(p.answer is OK for p in receiver.posts) and server.dead() == set()
