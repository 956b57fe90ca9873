# SPDX-License-Identifier: Apache-2.0
"""Methods from several places at once, and what becomes of calls and jobs while the table of methods changes,
while what runs them dies, and while the server does.

RBK_KILLS is the number of kills (6; tests/system/soak_methods: 50), RBK_SEED repeats their instants."""
import collections
import json
import os
import pathlib
import re
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from lib.client import Client
from lib.server import build
from lib.wait import until

KILLS = int(os.environ.get("RBK_KILLS", "6"))
SEED = int(os.environ.get("RBK_SEED", str(time.time_ns() & 0xffffffff)))
FAST = {"delivery.schedule": "50ms,100ms,200ms,500ms,1s,1s,1s,1s,1s,1s"}

# Appends "<job> <run>" to its journal, synced, before it answers with its name and the params.
WORKER = '''#!{python}
import json, os, sys, time
journal = os.open({journal!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    r = json.loads(line)
    p = r.get("params") or {{}}
    os.write(journal, ("%s %d\\n" % (r["ringback"].get("job", "-"), r["ringback"]["run"])).encode())
    os.fsync(journal)
    time.sleep(p.get("sleep", 0))
    if p.get("die"):
        os._exit(3)
    print(json.dumps({{"id": r["id"], "result": {{"from": {name!r}, "params": p}}}}), flush=True)
'''

UPSTREAM = '''import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        r = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"jsonrpc": "2.0", "id": r.get("id"), "result": {"from": "upstream"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer.request_queue_size = 1024  # of 5 the kernel drops what a restart sends at once
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
'''


class Upstream:
    def __init__(self, folder):
        self.file, self.port, self.proc = folder / "upstream.py", 0, None
        self.file.write_text(UPSTREAM)

    def start(self):
        self.proc = subprocess.Popen([sys.executable, self.file, str(self.port)], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE)
        self.port = int(self.proc.stdout.readline())
        return self

    def kill(self):
        if self.proc:
            self.proc.kill()
            self.proc.wait(20)
            self.proc.stdout.close()
            self.proc = None


@pytest.fixture
def upstream(tmp_path):
    u = Upstream(tmp_path).start()
    yield u
    u.kill()


def make_worker(folder, name):
    file = folder / f"{name}.py"
    file.write_text(WORKER.format(python=sys.executable, journal=str(folder / f"{name}.journal"), name=name))
    file.chmod(0o755)
    return file


def runs_of(folder, name):
    file = folder / f"{name}.journal"
    return collections.Counter(line.split()[0] for line in file.read_text().splitlines()) if file.exists() else {}


class Configured:
    """A server whose methods stand in a file that can be written anew."""

    def __init__(self, make_server, folder, text, options=None, **kw):
        self.file = folder / "methods.ini"
        self.file.write_text(text)
        self.server = make_server({**FAST, **(options or {})}, methods=False, start=False, **kw)
        argv = self.server.argv
        self.server.argv = lambda: [*argv(), "-c", str(self.file)]
        self.server.start()

    def reload(self, text):
        before = self.server.log().count("event=config.reloaded")
        self.file.write_text(text)
        self.server.signal(signal.SIGHUP)
        until(lambda: self.server.log().count("event=config.reloaded") > before, 30, self.server.log)


def children(pid):
    """Of all its threads."""
    return sorted(int(x) for f in pathlib.Path(f"/proc/{pid}/task").glob("*/children") for x in f.read_text().split())


def from_of(reply):
    assert "result" in reply.json, reply
    return reply.json["result"]["from"]


def test_several_providers(make_server, tmp_path, upstream, receiver):
    a, b = make_worker(tmp_path, "a"), make_worker(tmp_path, "b")
    conf = Configured(make_server, tmp_path, f'''
[method "demo.*"]
module = {build() / "examples/demo.so"}
[method "Work.*"]
worker = {a}
workers = 2
[method "Work.special"]
worker = {b}
[method "Work.slow*"]
timeout = 1s
[method "a*"]
upstream = http://127.0.0.1:{upstream.port}/
''')
    with conf.server.client() as c:
        assert "result" in c.call("demo.echo", {"a": 1}).json
        assert from_of(c.call("Work.x", {})) == "a"
        assert from_of(c.call("Work.special", {})) == "b"
        assert from_of(c.call("anything", {})) == "upstream"
        assert c.call("rpc.anything", {}).error["code"] == -32601
        t = time.monotonic()
        assert c.call("Work.slowly", {"sleep": 20}).error["code"] == -32002
        assert time.monotonic() - t < 10
        reply = c.call("Work.x", {"n": 1}, callback=receiver.url())
        receiver.wait(1)
        post = receiver.posts[0]
        assert post.webhook_id == reply.jobs[0]
        assert json.loads(post.body)["result"] == {"from": "a", "params": {"n": 1}}
    log = conf.server.log()
    for line in ("name=Work.* from=worker", "name=Work.special from=worker", "name=a* from=upstream",
                 "name=demo.echo from="):
        assert f"event=server.method {line}" in log, line


def test_settings_for_one_function_of_a_module(make_server, tmp_path):
    """A section that names no provider leaves its methods to the next one that fits, which may name a module."""
    demo = build() / "examples/demo.so"
    conf = Configured(make_server, tmp_path, f'''
[method "demo.*"]
module = {demo}
[method "demo.sleep"]
timeout = 300ms
[method "demo.ec*"]
concurrency = 2
''')
    with conf.server.client() as c:
        assert c.call("demo.sleep", {"seconds": 30}).error["code"] == -32002
        assert c.call("demo.echo", {"a": 1}).json["result"] == {"a": 1}
    log = conf.server.log()
    assert re.search(r"name=demo.sleep from=\S*demo.so timeout_ms=300 ", log) and "method=demo." not in log, log


@pytest.mark.parametrize("text,says", [
    ('[method "demo.echo"]\nworker = {worker}\n[method "demo.*"]\nmodule = {demo}\n', None),
    ('[method "a"]\nworker = {worker}\nupstream = http://127.0.0.1:1/\n', 'method."a": module, upstream and worker'),
    ('[method "a"]\nworker = /nonexistent/x\n', "/nonexistent/x"),
    ('[method "a"]\nguarantee = sometimes\n', "guarantee"),
    ('[method "a"]\nconcurrency = -1\n', "concurrency"),
    ('[method "a"]\nupstream = ftp://x/\n', "upstream"),
])
def test_faulty_table(make_server, tmp_path, text, says):
    worker = make_worker(tmp_path, "a")
    file = tmp_path / "c.ini"
    file.write_text(text.format(worker=worker, demo=build() / "examples/demo.so"))
    server = make_server({}, methods=False, start=False)
    argv = server.argv
    server.argv = lambda: [*argv(), "-c", str(file)]
    if says is None:
        server.start()
        return
    server.spawn()
    assert server.wait() == 2
    assert says in server.log(), server.log()


def test_reload_drops_no_call(make_server, tmp_path, upstream):
    """Callers all the time while the table goes to and fro: each call is answered, by the one or the other."""
    a, b = make_worker(tmp_path, "a"), make_worker(tmp_path, "b")
    tables = [f'[method "m.*"]\nworker = {a}\nworkers = 2\n', f'[method "m.*"]\nworker = {b}\n',
              f'[method "m.*"]\nupstream = http://127.0.0.1:{upstream.port}/\n']
    conf = Configured(make_server, tmp_path, tables[0])
    over, seen, faults = threading.Event(), collections.Counter(), []

    def work(k):
        with conf.server.client() as c:
            while not over.is_set():
                reply = c.call(f"m.{k}", {"sleep": 0.01 * k})
                if "result" in reply.json:
                    seen[from_of(reply)] += 1
                else:
                    faults.append(repr(reply))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for i in range(1, 10):
        before = seen.copy()
        conf.reload(tables[i % 3])
        name = ("a", "b", "upstream")[i % 3]
        until(lambda: seen[name] > before[name] + 6, 30, lambda: f"{name} answers: {seen}")
    over.set()
    for t in threads:
        t.join()
    assert not faults, faults[:3]
    assert set(seen) == {"a", "b", "upstream"}
    conf.reload(tables[1])
    until(lambda: len(children(conf.server.pid)) == 1, 30, lambda: f"one worker is left: {children(conf.server.pid)}")


def test_refused_reload_changes_nothing(make_server, tmp_path):
    a = make_worker(tmp_path, "a")
    good = f'[method "m.*"]\nworker = {a}\n'
    conf = Configured(make_server, tmp_path, good)
    pids = children(conf.server.pid)
    assert len(pids) == 1
    conf.file.write_text(good + '[method "n.*"]\nworker = /nonexistent/x\n')
    conf.server.signal(signal.SIGHUP)
    conf.server.wait_log("event=config.refused")
    with conf.server.client() as c:
        assert from_of(c.call("m.x", {})) == "a"
        assert c.call("n.x", {}).error["code"] == -32601
    conf.reload(good)
    assert children(conf.server.pid) == pids  # the same section keeps its process


def test_missing_method_waits(make_server, tmp_path, receiver):
    a = make_worker(tmp_path, "a")
    table = f'[method "m.*"]\nworker = {a}\n'
    conf = Configured(make_server, tmp_path, table)
    with conf.server.client() as c:
        job = c.call("m.x", {"$rpc.delay": 1.5, "n": 1}, callback=receiver.url()).jobs[0]
        conf.reload("")
        assert c.call("m.x", {}).error["code"] == -32601
        conf.server.wait_log("event=job.method_missing method=m.x")
        conf.server.stop()
        conf.server.start()
        conf.server.wait_log("event=job.method_missing method=m.x")
        assert not receiver.posts
        conf.reload(table)
        receiver.wait(1)
    assert receiver.posts[0].webhook_id == job
    assert json.loads(receiver.posts[0].body)["result"]["params"] == {"n": 1}


def test_missing_method_is_given_up(make_server, tmp_path, receiver):
    a = make_worker(tmp_path, "a")
    conf = Configured(make_server, tmp_path, f'[method "m.*"]\nworker = {a}\n', {"method.missing": "2s"})
    with conf.server.client() as c:
        c.call("m.x", {"$rpc.delay": 1}, callback=receiver.url())
    conf.reload("")
    receiver.wait(1)
    assert json.loads(receiver.posts[0].body)["error"]["code"] == -32601


def test_slow_jobs_starve_nobody(make_server, tmp_path, receiver):
    """A thousand jobs that take their time, and two processes for them: other methods, and synchronous calls
    of the same one, go on."""
    a, b = make_worker(tmp_path, "a"), make_worker(tmp_path, "b")
    conf = Configured(make_server, tmp_path, f'[method "slow"]\nworker = {a}\nworkers = 2\n'
                                             f'[method "quick"]\nworker = {b}\n')
    with conf.server.client() as c:
        for _ in range(10):
            c.post(json.dumps([{"method": "slow", "id": i, "params": {"sleep": 0.2, "$rpc.callback": receiver.url()}}
                               for i in range(100)]).encode())
        until(lambda: sum(runs_of(tmp_path, "a").values()) >= 2, 30, "slow jobs run")
        for _ in range(10):
            t = time.monotonic()
            assert from_of(c.call("quick", {})) == "b"
            assert time.monotonic() - t < 5
        for _ in range(3):
            t = time.monotonic()
            assert from_of(c.call("slow", {"sleep": 0})) == "a"
            assert time.monotonic() - t < 5
        assert sum(runs_of(tmp_path, "a").values()) < 900  # it was not because they were through


def test_a_poisonous_job_harms_no_other(make_server, tmp_path, receiver):
    a = make_worker(tmp_path, "a")
    conf = Configured(make_server, tmp_path, f'[method "m"]\nworker = {a}\nretries = 1\n')
    with conf.server.client() as c:
        bad = c.call("m", {"die": True}, callback=receiver.url()).jobs[0]
        good = {c.call("m", {"n": i}, callback=receiver.url()).jobs[0] for i in range(20)}
    receiver.wait(21, limit=60)
    answers = {p.webhook_id: json.loads(p.body) for p in receiver.posts}
    assert answers[bad]["error"]["code"] == -32603
    assert all("result" in answers[job] for job in good)
    assert runs_of(tmp_path, "a")[bad] == 2


class Load:
    """Jobs of three methods, over every kill; ordered ones among them."""

    def __init__(self, conf, receiver, methods):
        self.conf, self.url, self.methods = conf, receiver.url(), methods
        self.acked, self.faults, self.over = {}, [], threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(k,)) for k in range(4)]

    def work(self, k):
        client, n = None, 0
        while not self.over.is_set():
            n += 1
            method = self.methods[n % len(self.methods)]
            try:
                if client is None or client.addr[1] != self.conf.server.port:
                    client = Client(self.conf.server.port, timeout=10)
                reply = client.call(method, {"n": n, "sleep": 0.002}, id=f"{k}-{n}", callback=self.url)
            except OSError:
                client = None
                time.sleep(0.05)
                continue
            if reply.status == 200 and len(reply.jobs) == 1:
                self.acked[reply.jobs[0]] = (method, f"{k}-{n}")
            elif reply.status != 503:
                self.faults.append(repr(reply))
            time.sleep(0.002)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        for t in self.threads:
            t.join()


def test_kills_lose_nothing(make_server, tmp_path, upstream, receiver):
    """kill -9 of a worker, the upstream and ringback in turn, under load: every acknowledged job gets one answer,
    an at-most-once method never runs twice."""
    often, once = make_worker(tmp_path, "often"), make_worker(tmp_path, "once")
    conf = Configured(make_server, tmp_path, f'''
[method "often"]
worker = {often}
workers = 2
[method "once"]
worker = {once}
workers = 2
guarantee = at-most-once
[method "up"]
upstream = http://127.0.0.1:{upstream.port}/
''', {"method.max_runs": "1000"})
    rng = random.Random(SEED)
    with Load(conf, receiver, ["often", "once", "up"]) as load:
        for i in range(KILLS):
            time.sleep(rng.uniform(0.1, 0.7))
            if i % 3 == 0:
                pids = until(lambda: children(conf.server.pid), 30, "workers run")
                os.kill(rng.choice(pids), signal.SIGKILL)
            elif i % 3 == 1:
                upstream.kill()
                time.sleep(rng.uniform(0, 0.3))
                upstream.start()
            else:
                conf.server.kill()
                conf.server.start(limit=60)
    assert not load.faults, load.faults[:3]
    assert len(load.acked) > 10 * KILLS
    until(lambda: load.acked.keys() <= {p.webhook_id for p in receiver.posts}, 120,
          lambda: f"seed {SEED}: {len(load.acked.keys() - {p.webhook_id for p in receiver.posts})} jobs have no answer")
    answers = collections.defaultdict(set)
    for p in receiver.posts:
        answers[p.webhook_id].add(p.body)
    for job, (method, rpc_id) in load.acked.items():
        assert len(answers[job]) == 1, f"seed {SEED}: {job} has several answers: {answers[job]}"
        answer = json.loads(next(iter(answers[job])))
        assert answer["id"] == rpc_id
        if method == "up":
            assert answer["result"] == {"from": "upstream"}, f"seed {SEED}: {answer}"
        elif "error" in answer:
            assert answer["error"]["code"] in (-32603, -32004), f"seed {SEED}: {answer}"
    twice = {job: n for job, n in runs_of(tmp_path, "once").items() if job != "-" and n > 1}
    assert not twice, f"seed {SEED}: an at-most-once method ran again: {twice}"
