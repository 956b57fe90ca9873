# SPDX-License-Identifier: Apache-2.0
"""Workers behind `worker=`: the examples, who dies with whom, and that kill -9 of a worker loses no job."""
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import threading
import time

import pytest

from lib.server import clean_env, ringback, root
from lib.wait import until

PLAY = root() / "tests/system/workers/play.py"
ORDER = {"orderId": "12345", "status": "completed", "totalAmount": 99.99,
         "message": "Your order has been processed successfully."}
FAST = {"delivery.schedule": "50ms,100ms,200ms,500ms,1s,1s,1s,1s"}


@pytest.fixture
def play(make_server, tmp_path):
    """A server whose methods work.* are the play's; and the runs that its journal has."""
    path = tmp_path / "journal"

    def make(n=1, **options):
        rule = {'method."work.*".worker': f'"{PLAY}"', 'method."work.*".workers': str(n)}
        rule |= {f'method."work.*".{k}': str(v) for k, v in options.items()}
        server = make_server({**FAST, **rule}, env={"PLAY_JOURNAL": str(path)})

        def runs():
            if not path.exists():
                return []
            return [(j, int(r), int(p)) for j, r, p in (x.split() for x in path.read_text().splitlines())]
        return server, runs
    return make


def is_gone(pid):
    """No such process, or one that nobody has reaped."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def workers_of(server):
    """Process ids of the workers that run now."""
    started = re.findall(r"worker\.started.*?pid=(\d+)", server.log())
    return [int(p) for p in started if not is_gone(int(p))]


@pytest.mark.parametrize("file", ["orders.py", "orders.mjs", "orders.sh"])
def test_examples(make_server, receiver, file):
    server = make_server({'method."OrderService.*".worker': f'"{root() / "examples/workers" / file}"',
                          'method."OrderService.*".module': None, 'method."OrderService.*".workers': "2"})
    with server.client() as c:
        assert c.call("OrderService.processOrder", {"orderId": "12345"}).json == {"id": 1, "result": ORDER}
        assert c.call("OrderService.processOrder", {}).error == {"code": -32602, "message": "orderId must be a string"}
        assert c.call("OrderService.nope").error["code"] == -32601
        job = c.call("OrderService.processOrder", {"orderId": "12345"}, id="example_order",
                     callback=receiver.url()).jobs[0]
    post = receiver.wait(1)[0]
    assert post.webhook_id == job
    assert json.loads(post.body) == {"id": "example_order", "result": ORDER}
    pids = workers_of(server)
    assert len(pids) == 2
    server.stop()
    assert all(map(is_gone, pids))
    assert len(re.findall(r"level=info event=worker\.exited .*status=0 signal=0", server.log())) == 2, server.log()


def test_what_a_worker_has_of_the_server(play):
    server, _ = play(2)
    with server.client() as c:
        meta = c.call("work.meta").json["result"]
        assert meta.pop("deadline") > time.time() and meta == {"run": 1}
    for pid in workers_of(server):
        fds = sorted(int(p.name) for p in pathlib.Path(f"/proc/{pid}/fd").iterdir())
        assert fds == [0, 1, 2]
        assert all(os.readlink(f"/proc/{pid}/fd/{fd}").startswith("pipe:") for fd in fds)
        assert os.getpgid(pid) == pid
    server.stop()


def test_kill_9_of_the_server_takes_the_workers_along(play, receiver):
    server, runs = play(2)
    with server.client() as c:
        job = c.call("work.hang", {"stubborn": True}, callback=receiver.url()).jobs[0]
    until(lambda: len(runs()) == 1, 20, "it runs")
    pids = workers_of(server)
    assert len(pids) == 2
    server.kill()
    until(lambda: all(map(is_gone, pids)), 10, "the workers are gone too")
    server.options["server.drain"] = "1s"
    server.start()
    until(lambda: len(runs()) == 2, 20, "it runs again")
    assert [(j, r) for j, r, _ in runs()] == [(job, 1), (job, 2)]
    server.stop(limit=60)


def test_a_client_that_goes_frees_the_worker(play):
    server, runs = play(1)
    with server.client() as c:
        before = c.call("work.pid").json["result"]
    with server.client() as c:
        body = b'{"id":1,"method":"work.hang","params":{"child":true}}'
        c.send(b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        until(lambda: len(runs()) == 2, 20, "it runs, and its child")
    child = next(p for j, _, p in runs() if j == "child")
    with server.client() as c:
        assert c.call("work.pid").json["result"] != before
    assert is_gone(before)
    until(lambda: is_gone(child), 10, "its child is gone too")
    server.stop()


def test_a_reload_drops_no_call(make_server, receiver, tmp_path):
    """SIGHUP replaces the workers; those that have calls finish them first."""
    journal, ini = tmp_path / "journal", tmp_path / "ringback.ini"
    env = {"PLAY_JOURNAL": str(journal)}

    def write(n):
        ini.write_text(f'[method "work.*"]\nworker = {PLAY}\nworkers = {n}\n')
    write(1)
    server = make_server(FAST, env=env, start=False)
    before = server.argv
    server.argv = lambda: [*before(), "-c", str(ini)]
    server.start()
    old = workers_of(server)
    assert len(old) == 1
    with server.client() as c, server.client() as other:
        job = c.call("work.journal", {"ms": 1500}, callback=receiver.url()).jobs[0]
        body = b'{"id":1,"method":"work.journal","params":{"ms":700}}'
        c.send(b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        until(lambda: journal.exists() and journal.read_text(), 20, "one of them runs")
        write(3)
        server.signal(signal.SIGHUP)
        server.wait_log("config.reloaded")
        assert other.call("work.pid").json["result"] not in old
        assert c.receive().json["result"] == {"ms": 700}
    assert json.loads(receiver.wait(1)[0].body)["result"] == {"ms": 1500}
    assert [line.split()[:2] for line in journal.read_text().splitlines() if job in line] == [[job, "1"]]
    until(lambda: is_gone(old[0]), 20, "the old process is gone")
    assert len(workers_of(server)) == 3
    server.stop()


def test_dies_of_a_job(play, receiver):
    """An at-least-once job is begun `retries` times more, an at-most-once one never."""
    server, runs = play(2, retries=2)
    with server.client() as c:
        job = c.call("work.die", callback=receiver.url()).jobs[0]
        for i in range(20):
            assert c.call("work.journal", {"n": i}).json["result"] == {"n": i}
        post = receiver.wait(1)[0]
        assert json.loads(post.body)["error"] == {"code": -32603, "message": "Internal error"}
        assert [r for j, r, _ in runs() if j == job] == [1, 2, 3]
        assert c.call("work.die").error["code"] == -32603
    server.stop()


def test_at_most_once_is_not_begun_again(play, receiver):
    server, runs = play(2, retries=5, guarantee="at-most-once")
    with server.client() as c:
        jobs = [c.call("work.die", callback=receiver.url()).jobs[0] for _ in range(5)]
    posts = receiver.wait(5)
    assert {json.loads(p.body)["error"]["code"] for p in posts} <= {-32603, -32004}
    assert sorted(j for j, _, _ in runs()) == sorted(jobs)
    server.stop()


def test_kill_9_of_workers_under_load(play, receiver):
    """Every job is answered; one that was killed too often, with -32603."""
    kills, seed = int(os.environ.get("RBK_WORKER_KILLS", "20")), time.time_ns() & 0xffffffff
    rng = random.Random(int(os.environ.get("RBK_SEED", seed)))
    print(f"seed {seed}")
    server, runs = play(3, retries=3, pipelining=2)
    acked, over = [], threading.Event()

    def submit(k):
        with server.client() as c:
            for i in range(10**9):
                if over.is_set():
                    return
                reply = c.call("work.journal", {"n": i, "ms": 20}, id=f"{k}-{i}", callback=receiver.url())
                assert reply.status == 200, reply
                acked.extend(reply.jobs)
    threads = [threading.Thread(target=submit, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    try:
        for _ in range(kills):
            before = len(runs())
            until(lambda: len(runs()) >= before + 5, 60, "runs go on")
            time.sleep(rng.uniform(0, 0.05))  # the instant is the experiment, not a wait
            for pid in workers_of(server)[:rng.randint(1, 3)]:
                os.kill(pid, signal.SIGKILL)
    finally:
        over.set()
        for t in threads:
            t.join()
    assert len(acked) > kills and len(set(acked)) == len(acked)
    until(lambda: {p.webhook_id for p in list(receiver.posts)} >= set(acked), 120, "all jobs are answered", poll=0.1)
    until(lambda: server.pending() == 0, 20, "nothing is pending", poll=0.1)
    server.stop()
    failed = 0
    for p in receiver.posts:
        body = json.loads(p.body)
        if "error" in body:
            assert body["error"]["code"] == -32603
            failed += 1
        else:
            assert body["result"]["n"] == int(body["id"].split("-")[1])
    again = len(runs()) - len({j for j, _, _ in runs()})
    print(f"{kills} kills, {len(acked)} jobs, {again} runs again, {failed} answered -32603")
    assert again > 0, "no kill met a run"
    assert failed <= len(acked) / 20
    assert re.findall(r"worker\.call_failed .*?runs=(\d+)", server.log()) == ["4"] * failed, "1 and 3 retries"


@pytest.mark.parametrize("command, says", [
    ("./not-there.py", "./not-there.py: No such file or directory"),
    ("no-such-program-anywhere --x", "no-such-program-anywhere: it is not in PATH"),
    ("/etc/passwd", "/etc/passwd: it is not an executable file"),
    ('./a "b', "a quote without its end"),
])
def test_commands_that_cannot_be_started(tmp_path, command, says):
    for argv in (["serve", "--set", "server.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"],
                 ["config", "-t"]):
        r = subprocess.run([str(ringback()), *argv, "--set", f"store.dsn=sqlite:{tmp_path}/a.db",
                            "--set", f'method."a.*".worker={command}'], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, timeout=60, env=clean_env(), cwd=tmp_path)
        assert r.returncode in (1, 2) and says in r.stderr + r.stdout, r


def test_stubborn_workers_of_several_sections_end_together(make_server, tmp_path):
    """Each needs its end of file, SIGTERM and SIGKILL: some seconds, but not for each."""
    rules = {}
    for n in range(4):
        rules |= {f'method."work.hang{n}".worker': f'"{PLAY}" {n}'}
    server = make_server({**rules, "server.drain": "100ms", "method.timeout": "60s"},
                         env={"PLAY_JOURNAL": str(tmp_path / "journal"), "PLAY_DEAF": "1"})
    pids = until(lambda: len(p := workers_of(server)) == 4 and p, 20, "all run")
    until(lambda: len(re.findall(r"worker\.stderr.*deaf", server.log())) == 4, 20, "they hear nothing")
    began = time.monotonic()
    server.stop()
    took = time.monotonic() - began
    assert all(map(is_gone, pids))
    assert 2 < took < 10, took
