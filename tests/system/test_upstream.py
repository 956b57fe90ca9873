# SPDX-License-Identifier: Apache-2.0
"""Servers of others behind `upstream=`: the examples of docs/upstream.md, the npm package jayson with its own
client, and what happens when they come, go, and are killed."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from lib.server import root
from lib.wait import until

FAST = {"delivery.schedule": "50ms,100ms,200ms,500ms,1s,1s,1s,1s"}
ORDER = {"orderId": "12345", "status": "completed", "totalAmount": 99.99}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def example(name):
    """The block of docs/upstream.md whose first line names the file."""
    text = (root() / "docs/upstream.md").read_text()
    m = re.search(rf"^```\w+\n((?:#|//) {re.escape(name)}\n.*?)^```$", text, re.M | re.S)
    assert m, name
    return m.group(1)


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Program:
    """An upstream as a process of its own, that can be killed and started again."""

    def __init__(self, argv, folder, port):
        self.argv, self.folder, self.port, self.proc, self.n = argv, folder, port, None, 0

    def start(self):
        self.n += 1
        self.log = self.folder / f"upstream-{self.n}.txt"
        with open(self.log, "wb") as out:
            self.proc = subprocess.Popen(self.argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out,
                                         stderr=subprocess.STDOUT)
        until(lambda: answers(self.port) or self.proc.poll() is not None, 30, "the upstream listens")
        assert self.proc.poll() is None, self.log.read_text()
        return self

    def kill(self):
        if self.proc and self.proc.poll() is None:
            os.kill(self.proc.pid, signal.SIGKILL)
            self.proc.wait(20)


@pytest.fixture
def run(tmp_path):
    made = []

    def start(argv, port, folder=None):
        p = Program(argv, folder or tmp_path, port)
        made.append(p)
        return p.start()
    yield start
    for p in made:
        p.kill()


@pytest.fixture(scope="module")
def jayson(tmp_path_factory):
    """A folder with the npm package, installed by its name."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("no node and npm")
    folder = tmp_path_factory.mktemp("js")
    (folder / "package.json").write_text("{}")
    env = {**os.environ, "npm_config_cache": str(folder / "npm-cache")}
    try:
        p = subprocess.run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "jayson"], cwd=folder,
                           env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not answer")
    if p.returncode != 0:
        pytest.skip("npm cannot install jayson: " + p.stderr.strip()[-200:])
    return folder


def options(url, **more):
    return {'method."OrderService.*".upstream': url, **FAST, **more}


def call(server, id=1, callback=None, method="OrderService.processOrder", **params):
    params = {"orderId": "12345", **params}
    if callback:
        params["$rpc.callback"] = callback
    body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    with server.client() as c:
        return c.post(json.dumps(body).encode())


def check_example(server, receiver):
    assert call(server).json == {"jsonrpc": "2.0", "id": 1, "result": ORDER}
    reply = call(server, "a", callback=receiver.url("/cb"))
    assert reply.json["result"]["callback"]["status"] is True
    post = receiver.wait(1)[0]
    assert json.loads(post.body) == {"jsonrpc": "2.0", "id": "a", "result": ORDER}


# --- the examples of the documentation ---------------------------------------------------------------------------

def test_python_example(make_server, receiver, run, tmp_path):
    port = free_port()
    (tmp_path / "orders.py").write_text(example("orders.py").replace("8080", str(port)))
    run([sys.executable, "orders.py"], port)
    ini = example("ringback.ini")
    assert re.search(r'\[method "OrderService\.\*"\]\nupstream = http://127\.0\.0\.1:8080/\ntimeout = 30s\n', ini)
    server = make_server(options(f"http://127.0.0.1:{port}/"), methods=False)
    check_example(server, receiver)
    # what its method raises is an error like any other
    with server.client() as c:
        r = c.post(b'{"id":1,"method":"OrderService.processOrder","params":{}}')
    assert r.error == {"code": -32000, "message": "'orderId'"}


def test_settings_of_the_documentation(tmp_path):
    from lib.server import clean_env, ringback
    (tmp_path / "ringback.ini").write_text(example("ringback.ini"))
    p = subprocess.run([ringback(), "config", "-t", "-c", "ringback.ini"], cwd=tmp_path, env=clean_env(),
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 0, p.stderr


def test_jayson_example(make_server, receiver, run, jayson):
    port = free_port()
    (jayson / "orders.js").write_text(example("orders.js").replace("8080", str(port)))
    run(["node", "orders.js"], port, jayson)
    server = make_server(options(f"http://127.0.0.1:{port}/"), methods=False)
    check_example(server, receiver)


CLIENT_JS = """
const jayson = require("jayson");
const client = jayson.Client.http({ port: +process.argv[1], path: "/api" });
client.request("OrderService.processOrder", { orderId: "12345" }, (err, error, result) => {
  console.log(JSON.stringify({ err, error, result }));
  client.request([client.request("OrderService.processOrder", { orderId: "2" }, undefined, false),
                  client.request("OrderService.nothing", {}, undefined, false)], (err, responses) => {
    console.log(JSON.stringify(responses.map(r => r.result || r.error.code)));
  });
});
"""


def test_jayson_client(make_server, run, jayson):
    """Its own client works against ringback as it does against the server of its kind."""
    port = free_port()
    (jayson / "orders.js").write_text(example("orders.js").replace("8080", str(port)))
    run(["node", "orders.js"], port, jayson)
    server = make_server(options(f"http://127.0.0.1:{port}/"), methods=False)
    p = subprocess.run(["node", "-e", CLIENT_JS, str(server.port)], cwd=jayson, capture_output=True, text=True,
                       timeout=60)
    lines = [json.loads(x) for x in p.stdout.splitlines()]
    assert lines == [{"err": None, "result": ORDER}, [{**ORDER, "orderId": "2"}, -32601]], p.stderr


# --- Unix sockets ---------------------------------------------------------------------------------------------------

UNIX_PY = """
import json, socketserver, sys
from http.server import BaseHTTPRequestHandler

class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self):
        return "-"
    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"id": call["id"], "result": [self.path, self.headers["Host"]]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

Server(sys.argv[1], Api).serve_forever()
"""


@pytest.mark.parametrize("spelling", ["http+unix://{quoted}/api", "http+unix:{path}:/api"])
def test_unix_socket(make_server, tmp_path, spelling):
    path = tmp_path / "app.sock"
    p = subprocess.Popen([sys.executable, "-c", UNIX_PY, str(path)], stderr=subprocess.DEVNULL)
    try:
        until(path.exists, 20, "the upstream listens")
        url = spelling.format(path=path, quoted=str(path).replace("/", "%2F"))
        server = make_server(options(url), methods=False)
        for _ in range(3):
            assert call(server).json["result"] == ["/api", "localhost"]
    finally:
        p.kill()
        p.wait(20)


# --- the upstream is killed -----------------------------------------------------------------------------------------

JOURNAL_PY = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

journal = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a):
        pass
    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        os.write(journal, f"{call['params']['n']} {self.headers['Ringback-Job']}\\n".encode())
        os.fsync(journal)
        time.sleep(0.02)
        body = json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": call["params"]["n"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer.request_queue_size = 256
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Api).serve_forever()
"""


def submit_all(server, receiver, first, n, method):
    batch = [{"id": i, "method": method, "params": {"n": i, "$rpc.callback": receiver.url("/cb")}}
             for i in range(first, first + n)]
    with server.client() as c:
        reply = c.post(json.dumps(batch).encode())
    assert len(reply.json) == n and all("result" in x for x in reply.json), reply
    return reply


def results(receiver):
    ret = {}
    for post in receiver.posts:
        m = json.loads(post.body)
        ret.setdefault(m["id"], m)
    return ret


@pytest.mark.parametrize("guarantee", ["at-least-once", "at-most-once"])
def test_killed_upstream(make_server, receiver, run, tmp_path, guarantee):
    """Of 200 jobs none is lost, whenever the upstream dies; an at-most-once one is never sent twice."""
    port, journal, rounds, each = free_port(), tmp_path / "journal", 5, 40
    up = run([sys.executable, "-c", JOURNAL_PY, str(port), str(journal)], port)
    server = make_server(options(f"http://127.0.0.1:{port}/",
                                 **{'method."OrderService.*".guarantee': guarantee,
                                    'method."OrderService.*".timeout': "60s"}), methods=False)
    for i in range(rounds):
        submit_all(server, receiver, i * each, each, "OrderService.n")
        time.sleep(0.05 * i)
        up.kill()
        up.start()
    want = rounds * each
    until(lambda: len(results(receiver)) == want, 90, lambda: f"{len(results(receiver))} of {want} are delivered")
    got, runs = results(receiver), {}
    for line in journal.read_text().splitlines():
        n, job = line.split()
        runs.setdefault(int(n), []).append(job)
    for i, m in got.items():
        if guarantee == "at-least-once":
            assert m["result"] == i
            assert len(set(runs[i])) == 1  # the same job each time
        else:
            assert m.get("result") == i or m["error"]["code"] == -32603, m
            assert len(runs.get(i, [])) <= 1
    for event in ("unreachable", "back"):
        server.wait_log(rf"event=upstream\.{event} ")


def test_killed_ringback(make_server, receiver, run, tmp_path):
    """What ringback had acknowledged is sent to the upstream again by the next start."""
    port, journal = free_port(), tmp_path / "journal"
    up = run([sys.executable, "-c", JOURNAL_PY, str(port), str(journal)], port)
    server = make_server(options(f"http://127.0.0.1:{port}/"), methods=False)
    up.kill()
    submit_all(server, receiver, 0, 30, "OrderService.n")
    server.kill()
    server.start()
    up.start()
    until(lambda: len(results(receiver)) == 30, 60, lambda: f"{len(results(receiver))} of 30 are delivered")
    assert all(m["result"] == i for i, m in results(receiver).items())


# --- SIGHUP ---------------------------------------------------------------------------------------------------------

SLOW_PY = """
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a):
        pass
    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(call["params"]["s"])
        body = json.dumps({"id": call["id"], "result": self.headers["Authorization"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Api).serve_forever()
"""


def test_new_token(make_server, run, tmp_path):
    """SIGHUP takes the new token, and the call that is under way meanwhile has its answer."""
    port, token = free_port(), tmp_path / "token"
    token.write_text("one\n")
    token.chmod(0o600)
    run([sys.executable, "-c", SLOW_PY, str(port)], port)
    server = make_server(options(f"http://127.0.0.1:{port}/",
                                 **{'method."OrderService.*".upstream_token_file': str(token)}), methods=False)
    got = []
    t = threading.Thread(target=lambda: got.append(call(server, s=2).json["result"]))
    t.start()
    assert call(server, s=0).json["result"] == "Bearer one"
    token.write_text("second\n")
    server.signal(signal.SIGHUP)
    server.wait_log(r"config\.reloaded")
    assert call(server, s=0).json["result"] == "Bearer second"
    t.join(30)
    assert got == ["Bearer one"]
    token.chmod(0o644)
    token.write_text("third\n")
    server.signal(signal.SIGHUP)
    server.wait_log(r"config\.refused.*chmod 600")
    assert call(server, s=0).json["result"] == "Bearer second"


# --- the end of waiting ---------------------------------------------------------------------------------------------

class Hanging:
    """An upstream that reads and never answers; it sees when its callers go."""

    def __enter__(self):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.came, self.gone, self.head = threading.Semaphore(0), threading.Semaphore(0), b""
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def accept(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=[conn], daemon=True).start()

    def serve(self, conn):
        with conn:
            self.head = conn.recv(65536)
            self.came.release()
            try:
                while conn.recv(65536):
                    pass
            except OSError:
                pass
            self.gone.release()

    def __exit__(self, *exc):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def test_client_goes(make_server):
    """A synchronous call whose client has gone is dropped: the upstream sees its connection closed."""
    with Hanging() as up:
        server = make_server(options(f"http://127.0.0.1:{up.port}/"), methods=False)
        c = server.client()
        body = b'{"id":1,"method":"OrderService.x"}'
        c.send(b"POST /api HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n" % (server.port, len(body)) + body)
        assert up.came.acquire(timeout=20)
        c.close()
        assert up.gone.acquire(timeout=20)
        assert "method.fault" not in server.log()


def test_forwarded_headers(make_server, receiver):
    """Those that are named go along, Authorization with a warning; nothing else of the caller's does."""
    with Hanging() as up:
        server = make_server(options(f"http://127.0.0.1:{up.port}/",
                                     **{'method."OrderService.*".forward_headers': "Authorization,traceparent"}),
                             methods=False)
        server.wait_log(r"server\.forwards_secret.*authorization|server\.forwards_secret.*Authorization")
        body = b'{"id":1,"method":"OrderService.x","params":{"$rpc.timeout":0.5}}'
        with server.client() as c:
            r = c.post(body, headers={"Authorization": "Basic eHl6", "traceparent": "00-ab", "Cookie": "a=b"})
        assert r.error["code"] == -32002
    head = up.head.decode().lower()
    assert "\r\nauthorization: basic ehl6\r\n" in head and "\r\ntraceparent: 00-ab\r\n" in head
    assert "cookie" not in head
