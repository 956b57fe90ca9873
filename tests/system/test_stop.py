# SPDX-License-Identifier: Apache-2.0
"""How it ends and how it starts again: SIGTERM drains, SIGKILL forgets nothing."""
import json
import signal
import socket
import time

from lib.promise import read_journal
from lib.receiver import Answer
from lib.wait import until


def ids(posts):
    return sorted(p.webhook_id for p in posts)


def test_sigterm_drains(make_server, receiver):
    server = make_server()
    receiver.answer = Answer(200, delay=0.7)
    with server.client() as c:
        jobs = c.post([{"id": i, "method": "demo.sleep", "params": {"seconds": 1, "$rpc.callback": receiver.url()}}
                       for i in range(3)]).jobs
        jobs += c.post([{"id": i, "method": "test.echo", "params": {"$rpc.callback": receiver.url("/fast")}}
                        for i in range(3)]).jobs
    receiver.wait(3, "/fast")
    t = time.monotonic()
    server.stop()
    assert time.monotonic() - t < 25 + 3
    assert len(receiver.at("/fast")) == 3
    server.start()
    until(lambda: server.pending() == 0, 20, "the rest is delivered")
    server.stop()
    assert ids(receiver.posts) == sorted(jobs), "each exactly once"


def test_sigterm_leaves_the_rest_in_the_store(make_server, receiver):
    server = make_server({"server.drain": "1s"})
    with server.client() as c:
        job = c.call("demo.sleep", {"seconds": 4}, callback=receiver.url()).jobs[0]
    t = time.monotonic()
    server.stop(limit=6)
    assert time.monotonic() - t < 4
    assert receiver.posts == [] and server.pending() == 1
    server.start()
    assert receiver.wait(1)[0].webhook_id == job
    server.stop()


def test_ten_thousand_jobs_survive_a_restart(make_server, receiver):
    server = make_server({"server.drain": "2s"})
    jobs = set()
    with server.client() as c:
        for at in range(0, 10_000, 50):
            jobs.update(c.post([{"id": i, "method": "test.echo", "params": {"$rpc.callback": receiver.url()}}
                                for i in range(at, at + 50)]).jobs)
    server.stop()
    assert len(jobs) == 10_000
    server.start()
    until(lambda: len(receiver.posts) >= 10_000, 60, lambda: f"10,000 deliveries, {len(receiver.posts)} came")
    server.stop()
    assert ids(receiver.posts) == sorted(jobs), "each exactly once"


def test_second_sigterm_ends_at_once(make_server, receiver):
    server = make_server({"server.drain": "60s"})
    with server.client() as c:
        c.call("demo.sleep", {"seconds": 50}, callback=receiver.url())
    until(lambda: server.pending() == 1, 10, "the job is stored")
    server.signal(signal.SIGTERM)
    until(lambda: not server.listens(), 10, "it drains")
    assert server.alive()
    t = time.monotonic()
    server.signal(signal.SIGTERM)
    server.wait(10)
    assert time.monotonic() - t < 3
    assert server.pending() == 1


def test_idle_and_half_open_connections_do_not_hold_the_drain(make_server):
    server = make_server({"server.drain": "20s"})
    with server.client() as idle, socket.create_connection(("127.0.0.1", server.port)) as half:
        assert idle.call("test.echo").status == 200
        half.sendall(b"POST /api HTTP/1.1\r\nContent-Le")
        t = time.monotonic()
        server.stop()
        assert time.monotonic() - t < 5


def test_running_synchronous_call_is_answered_while_draining(make_server):
    server = make_server()
    with server.client() as c, server.client() as other:
        assert other.call("test.echo").status == 200
        body = b'{"id":1,"method":"demo.sleep","params":{"seconds":1}}'
        c.send(b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        # Answered in order on one loop, so the call above has begun.
        assert other.call("test.echo").status == 200
        time.sleep(0.2)  # the method's second runs; SIGTERM shall meet it in the middle
        server.signal(signal.SIGTERM)
        assert "result" in c.receive().json
        assert server.wait() == 0


def test_second_server_on_the_same_store(make_server, receiver):
    first = make_server()
    second = make_server({"store.dsn": f"sqlite:{first.store}"}, start=False)
    second.spawn()
    assert second.wait(10) not in (0, None)
    assert "in use" in second.log(), second.log()
    with first.client() as c:
        c.call("test.echo", {}, callback=receiver.url())
    receiver.wait(1)
    first.stop()
    second.start()
    second.stop()


def test_second_server_on_the_same_port(make_server, receiver):
    first = make_server()
    second = make_server({"server.listen": f"127.0.0.1:{first.port}"}, start=False)
    second.spawn()
    assert second.wait(10) not in (0, None)
    assert second.log().strip(), "it says why"
    for _ in range(20):  # none of these may land at somebody else
        with first.client() as c:
            assert c.call("test.echo", {"a": 1}).json["result"] == {"a": 1}


def test_killed_run_is_counted(make_server, receiver, tmp_path):
    journal = tmp_path / "journal"
    server = make_server(env={"RBK_JOURNAL": str(journal)})
    with server.client() as c:
        job = c.call("test.linger", {"ms": 60000}, callback=receiver.url()).jobs[0]
        waiting = c.call("test.whoami", {}, callback=receiver.url("/later"), delay=3).jobs[0]
    until(lambda: len(read_journal(journal)) == 1, 10, "it runs")
    server.kill()
    server.start()
    post = receiver.wait(1, "/callback")[0]
    assert json.loads(post.body)["result"] == {"job": job, "run": 2}
    assert json.loads(receiver.wait(1, "/later")[0].body)["result"] == {"job": waiting, "run": 1}
    assert [(j, r) for j, r, _ in read_journal(journal)] == [(job, 1), (job, 2)]
    server.stop()


def test_poisonous_job_is_given_up(make_server, receiver, tmp_path):
    journal = tmp_path / "journal"
    server = make_server({"method.max_runs": "3"}, env={"RBK_JOURNAL": str(journal)})
    with server.client() as c:
        harmless = c.call("test.echo", {}, callback=receiver.url("/harmless"), delay=2).jobs[0]
        try:
            c.call("test.crash", {}, callback=receiver.url("/poison"))
        except OSError:
            pass  # it may die before the acknowledgement is out: the job is stored
    for _ in range(2):
        assert server.wait(20) == -signal.SIGKILL
        server.spawn()
    assert server.wait(20) == -signal.SIGKILL
    server.start()
    error = json.loads(receiver.wait(1, "/poison")[0].body)["error"]
    assert (error["code"], error["message"]) == (-32004, "Interrupted")
    assert [r for _, r, _ in read_journal(journal)] == [1, 2, 3]
    assert receiver.wait(1, "/harmless")[0].webhook_id == harmless
    server.stop()
    assert len(receiver.at("/poison")) == 1


def test_store_files_are_private(make_server):
    server = make_server()
    files = [p for p in server.folder.iterdir() if p.name.startswith("ringback.db")]
    assert files and all(p.stat().st_mode & 0o077 == 0 for p in files), files
