# SPDX-License-Identifier: Apache-2.0
"""Callbacks over wss: against a scripted receiver, against `ringback listen`, and against the
npm package `ws`, which shares nothing with this code."""
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from lib.wait import until
from lib.ws_receiver import Script, WsReceiver, close, frame
from test_cli import listener, run, start  # noqa: F401 (fixtures)
from test_signatures import fits_ed25519, public_of

FAST = {"delivery.schedule": "200ms", "delivery.max_age": "1m", "delivery.jitter": "0", "delivery.timeout": "2s",
        "delivery.connect_timeout": "2s"}
NO = b"HTTP/1.1 %s X\r\n%sContent-Length: 0\r\n\r\n"


@pytest.fixture
def make_ws(cert):
    made = []

    def make(certificate=None):
        made.append(WsReceiver(certificate or cert))
        return made[-1]
    yield make
    for r in made:
        r.stop()
    assert not [f for r in made for f in r.faults], [f for r in made for f in r.faults]


@pytest.fixture
def ws(make_ws):
    return make_ws()


def submit(server, url, params=None, **kw):
    with server.client() as c:
        reply = c.call("test.echo", params or {"x": 99.99, "t": "ü"}, callback=url, **kw)
        assert reply.jobs, reply
        return reply.jobs[0]


def done(server):
    until(lambda: server.pending() == 0, 20, lambda: f"the job is done: {server.log()[-1000:]}")


def get_status(server):
    return server.rows("select attempts, last_status from dead")


# --- what is sent ---------------------------------------------------------------------

def test_one_message(make_server, ws):
    server = make_server()
    before = time.time()
    job = submit(server, ws.url("/a/b?c=%20d"), headers=[("traceparent", "00-1-2-03"), ("Authorization", "Bearer x")])
    m = ws.wait(1)[0]
    done(server)
    assert json.loads(m.body) == {"id": 1, "result": {"x": 99.99, "t": "ü"}}
    assert m.target == "/a/b?c=%20d"
    h = m.headers
    assert h["webhook-id"] == job and h["ringback-attempt"] == "1" and h["traceparent"] == "00-1-2-03"
    assert h["user-agent"].startswith("ringback/") and "authorization" not in h and "content-type" not in h
    assert before - 1 <= int(h["webhook-timestamp"]) <= time.time() + 1
    m.ns = 0
    assert fits_ed25519(m, public_of(pathlib.Path(f"{server.store}.key").read_text()))
    server.stop()
    assert len(ws.messages) == 1 and server.dead() == set()


@pytest.mark.parametrize("n", [125, 126, 65535, 65536, 500000])
def test_sizes(make_server, ws, n):
    server = make_server()
    submit(server, ws.url(), {"x": "y" * n})
    assert json.loads(ws.wait(1)[0].body)["result"] == {"x": "y" * n}
    done(server)


def test_many(make_server, ws):
    server = make_server()
    jobs = {submit(server, ws.url(), {"n": i}) for i in range(40)}
    assert {m.webhook_id for m in ws.wait(40)} == jobs
    done(server)
    keys = {h["sec-websocket-key"] for _, h in ws.heads}
    assert len(keys) == 40, "a fresh key for each handshake"


# --- what comes back -------------------------------------------------------------------

@pytest.mark.parametrize("script", [
    Script(1001), Script(1011), Script(1013), Script(4000), Script(frames=frame(8)), Script(frames=b""),
    Script(hang=True), Script(frames=b"\x88\x82\0\0\0\0\x03\xe8"), Script(frames=frame(1, b"x", first=0xc0)),
    Script(frames=frame(8, b"\x03\xe8\xff")), Script(frames=frame(9) * 20 + close(1000)),
    Script(early=close(1000)), Script(accept="s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    Script(lines=["Sec-WebSocket-Extensions: permessage-deflate"]), Script(lines=["Sec-WebSocket-Protocol: x"]),
    Script(http=NO % (b"200", b"")), Script(http=NO % (b"302", b"Location: wss://127.0.0.1/\r\n")),
    Script(http=NO % (b"426", b"")), Script(http=b"HTTP/1.1 101 X\r\n\r\n"), Script(http=b""), Script(http=b"\x88\x02\x03\xe8"),
], ids=["1001", "1011", "1013", "4000", "no code", "cut", "hang", "masked", "reserved bit", "reason not UTF-8",
        "pings", "close before the message", "wrong accept", "extension", "subprotocol", "200", "302", "426",
        "bare 101", "no answer", "not HTTP"])
def test_failure_then_success(make_server, ws, script):
    server = make_server(FAST)
    ws.scripts = [script]
    job = submit(server, ws.url())
    until(lambda: len(ws.heads) == 2, 20, "two attempts")
    until(lambda: ws.messages and ws.messages[-1].headers["ringback-attempt"] == "2", 20, "the second message")
    done(server)
    server.stop()
    assert [h["webhook-id"] for _, h in ws.heads] == [job, job]
    assert [h["ringback-attempt"] for _, h in ws.heads] == ["1", "2"]
    assert len({m.body for m in ws.messages}) == 1
    assert server.dead() == set()


def test_frames_that_do_not_matter(make_server, ws):
    """Pings, data and fragments before the close."""
    server = make_server(FAST)
    ws.scripts = [Script(frames=frame(9, b"p") + frame(1, b"hel", first=0) + frame(0, b"lo") + frame(2, b"\xff") +
                         close(1000, "ü".encode()))]
    submit(server, ws.url())
    ws.wait(1)
    done(server)
    server.stop()
    assert len(ws.heads) == 1 and server.dead() == set()


@pytest.mark.parametrize("code", [1011, 1013])
def test_the_receiver_has_the_first_word(make_server, ws, code):
    """Its library would echo our close at once: its program can still refuse."""
    server = make_server(FAST)
    ws.scripts = [Script(code, handler=0.02), Script(1000, handler=0.02)]
    submit(server, ws.url())
    done(server)
    server.stop()
    assert [h["ringback-attempt"] for _, h in ws.heads] == ["1", "2"]


def test_an_echo_is_enough(make_server, ws):
    """A receiver that never closes by itself, also where there is less time than it would be given."""
    server = make_server({**FAST, "delivery.timeout": "400ms", "delivery.connect_timeout": "300ms"})
    ws.script = Script(1011, handler=20)
    submit(server, ws.url())
    done(server)
    server.stop()
    assert server.dead() == set()


@pytest.mark.parametrize("code", [1001, 1005, 1011, 1013, 4999])
def test_dead_with_the_code(make_server, ws, code):
    server = make_server({**FAST, "delivery.max_age": "1s"})
    ws.script = Script(frames=frame(8)) if code == 1005 else Script(code)
    job = submit(server, ws.url())
    until(lambda: job in server.dead(), 20, "the job is dead")
    attempts, status = get_status(server)[0]
    assert status == code and attempts >= 1


def test_gone(make_server, ws):
    server = make_server(FAST)
    ws.script = Script(http=NO % (b"410", b""))
    job = submit(server, ws.url())
    until(lambda: job in server.dead(), 20, "the job is dead")
    assert get_status(server) == [(1, 410)]


def test_retry_after(make_server, ws):
    server = make_server({**FAST, "delivery.schedule": "20ms"})
    ws.scripts = [Script(http=NO % (b"503", b"Retry-After: 2\r\n"))]
    began = time.monotonic()
    submit(server, ws.url())
    ws.wait(1)
    assert time.monotonic() - began > 1.9
    done(server)


def test_a_receiver_that_closes_with_1013_is_paused(make_server, ws):
    server = make_server({**FAST, "delivery.schedule": "50ms", "delivery.breaker": "3"})
    ws.script = Script(1013)
    submit(server, ws.url())
    server.wait_log(rf"event=receiver\.paused host=127\.0\.0\.1 port={ws.port} failures=3")


# --- where it must not go ----------------------------------------------------------------

def test_wrong_certificate(make_server, make_ws, ca):
    ws = make_ws(ca.issue("other", names=("other.test",)))
    server = make_server({**FAST, "delivery.max_age": "1s"})
    job = submit(server, ws.url())
    until(lambda: job in server.dead(), 20, "the job is dead")
    assert ws.connections >= 1 and ws.tls_bytes == 0 and ws.heads == []


@pytest.mark.parametrize("url, reason", [
    ("wss://127.0.0.1:8443/", "address not allowed"), ("wss://[::1]:8443/", "address not allowed"),
    ("wss://10.1.2.3/", "address not allowed"), ("wss://localhost/", "host not allowed"),
    ("wss://a@example.com/", "user info not allowed"), ("wss://example.com/#x", "invalid URL"),
    ("wss://example.com:22/", "port not allowed"),
    ("ws://example.com/", "invalid protocol: only https, wss are supported"),
    ("ftp://example.com/", "invalid protocol: only https, wss are supported"),
    ("http://example.com/", "invalid protocol: http is not encrypted, use https"),
])
def test_refused_before_the_acknowledgement(make_server, url, reason):
    server = make_server({"callback.allow": None})
    with server.client() as c:
        reply = c.call("test.echo", {}, callback=url)
        assert not reply.jobs and reply.error["code"] == -32602
        assert reply.error["data"] == {"$rpc.callback": reason}
    assert run("check-dsn", url, code=1).stdout.startswith(f"refused: {reason}\n")


def test_policy_of_the_day(make_server, ws):
    """A job that waits meets the address policy of the next start."""
    server = make_server({**FAST, "delivery.schedule": "1h", "delivery.max_age": "2h"})
    ws.script = Script(1011)
    job = submit(server, ws.url(), delay=2)
    server.stop()
    server.options["callback.allow"] = "10.0.0.0/8"
    server.start()
    until(lambda: job in server.dead(), 20, "the job is dead")
    assert ws.connections == 0


def test_schemes(make_server, ws, receiver):
    server = make_server({"callback.schemes": "wss"})
    with server.client() as c:
        reply = c.call("test.echo", {}, callback=receiver.url())
        assert reply.error["data"] == {"$rpc.callback": "invalid protocol: only wss is supported"}
    submit(server, ws.url())
    ws.wait(1)
    for value, why in [("https,ftp", "'ftp' is not a scheme of this version; it has https, wss"),
                       ("ws", "ws is not encrypted, use wss"), ("http,wss", "http is not encrypted, use https")]:
        p = run("config", "--test", "--set", f"callback.schemes={value}", code=2)
        assert f"callback.schemes: {why}" in p.stderr
    p = run("check-dsn", "wss://example.com/x")
    assert "receiver: wss://example.com:443\n" in p.stdout


# --- crashes --------------------------------------------------------------------------

def test_kill_while_it_is_sent(make_server, ws):
    server = make_server(FAST)
    ws.scripts = [Script(hang=True)]
    job = submit(server, ws.url())
    first = ws.wait(1)[0]
    server.kill()
    server.start()
    second = ws.wait(2)[1]
    done(server)
    assert first.webhook_id == second.webhook_id == job and first.body == second.body
    server.stop()
    assert len(ws.messages) == 2


# --- ringback listen --------------------------------------------------------------------

def test_listen(make_server, listener):
    server = make_server({**FAST})
    key = pathlib.Path(f"{server.store}.key").read_text()
    public = [x for x in key.splitlines() if x.startswith("# whpk_")][0].removeprefix("# ")
    r = listener("--public-key", public)
    r.wait_for(rf"wss://127\.0\.0\.1:{r.port}/$")
    server.stop()
    server.options["delivery.ca_file"] = str(r.ca)
    server.start()
    job = submit(server, f"wss://127.0.0.1:{r.port}/x?y=1")
    r.wait_for(rf"^\S+ WSS /x\?y=1 -> 1000\n(  (?!signature).*\n)*  webhook-id: {job}\n(  (?!signature).*\n)*"
               r'  signature: verified\n{"id":1,"result":{"x":99.99,"t":".*"}}$')
    done(server)
    submit(server, f"https://127.0.0.1:{r.port}/same-port")
    r.wait_for(r"POST /same-port -> 200$")
    done(server)
    assert r.end() == 0 and r.text().count("WSS /x") == 1
    server.stop()


def test_listen_that_fails(make_server, listener):
    r = listener("--status", 410)
    server = make_server({**FAST, "delivery.ca_file": str(r.ca)})
    job = submit(server, f"wss://127.0.0.1:{r.port}/gone")
    until(lambda: job in server.dead(), 20, "the job is dead")
    r.wait_for(r"GET /gone -> 410\n(  .*\n)*  refused at the handshake: it has no message$")
    assert r.end() == 0


def test_listen_with_a_delay(make_server, listener):
    r = listener("--delay", 700)
    server = make_server({**FAST, "delivery.ca_file": str(r.ca)})
    began = time.monotonic()
    submit(server, f"wss://127.0.0.1:{r.port}/slow")
    r.wait_for(r"WSS /slow -> 1000$")
    done(server)
    assert time.monotonic() - began > 0.6
    assert r.end() == 0


SAMPLE = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]  # RFC 6455 section 1.3
MASK = b"\x01\x02\x03\x04"


def masked(opcode, text):
    body = bytes(c ^ MASK[i % 4] for i, c in enumerate(text))
    return bytes([0x80 | opcode, 0x80 | len(text)]) + MASK + body


def knock(r, lines=SAMPLE, data=b"", step=1 << 20):
    """Everything that listen says to this handshake and these frames, until it closes."""
    context = ssl.create_default_context(cafile=str(r.ca))
    with socket.create_connection(("127.0.0.1", r.port), 20) as raw:
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as s:
            s.sendall("\r\n".join(["GET /hand HTTP/1.1", "Host: x", *lines, "", ""]).encode())
            said = b""
            while b"\r\n\r\n" not in said:
                said += s.recv(4096)
            if said.startswith(b"HTTP/1.1 101"):
                for i in range(0, len(data), step):
                    s.sendall(data[i:i + step])
            while piece := s.recv(4096):
                said += piece
            return said


def test_listen_and_other_clients(listener):
    r = listener()
    talk = masked(1, b'{"by":"hand"}') + masked(8, b"\x03\xe8")
    for step in (1, 3, 1 << 20):
        said = knock(r, data=talk, step=step)
        head, frames = said.split(b"\r\n\r\n", 1)
        assert head.split(b"\r\n") == [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade",
                                       b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
        assert frames == close(1000)
    assert knock(r, data=b"\x81\x02{}").endswith(close(1002)), "not masked"
    assert knock(r, data=masked(1, b"\xff")).endswith(close(1007)), "not UTF-8"
    for i, line in enumerate(["Upgrade: h2c", "Connection: close", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: x"]):
        said = knock(r, [*SAMPLE[:i], line, *SAMPLE[i + 1:]])
        assert said.startswith(b"HTTP/1.1 405 "), said
    assert r.text().count("WSS /hand -> 1000\n") == 3 and r.text().count('{"by":"hand"}') == 3
    context = ssl.create_default_context(cafile=str(r.ca))
    with socket.create_connection(("127.0.0.1", r.port), 20) as raw:
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as s:
            s.sendall("\r\n".join(["GET /open HTTP/1.1", "Host: x", *SAMPLE, "", ""]).encode())
            assert s.recv(4096).startswith(b"HTTP/1.1 101")
            assert r.end() == 0, "it ends with a websocket open"


# --- an implementation of other people's -------------------------------------------------

WS_JS = """
const { WebSocketServer } = require("ws");
const https = require("https"), fs = require("fs");
const [cert, key] = process.argv.slice(1).map(f => fs.readFileSync(f));
const server = https.createServer({ cert, key });
const codes = { "/ok": [1000], "/late": [1011, 1013, 1000], "/silent": [] };
new WebSocketServer({ server }).on("connection", (ws, req) => {
    ws.on("message", (data, binary) => {
        console.log(JSON.stringify({ path: req.url, headers: req.headers, body: data.toString(), binary }));
        const code = (codes[req.url] || []).shift();
        if (code) ws.close(code);
    });
    ws.on("close", code => console.log(JSON.stringify({ closed: code })));
    ws.on("error", e => console.log(JSON.stringify({ error: e.message })));
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
"""


def test_package_ws(make_server, cert, tmp_path):
    """The package is installed by its name into the test's own folder."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("no node and npm")
    folder = tmp_path / "js"
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    env = {**os.environ, "npm_config_cache": str(tmp_path / "npm-cache")}
    try:
        p = subprocess.run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "ws"], cwd=folder, env=env,
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not answer")
    if p.returncode != 0:
        pytest.skip("npm cannot install ws: " + p.stderr.strip()[-200:])
    server = make_server(FAST)
    out = tmp_path / "ws.out"
    with open(out, "wb") as f:
        js = subprocess.Popen([node, "-e", WS_JS, *map(str, cert)], cwd=folder, stdin=subprocess.DEVNULL, stdout=f,
                              stderr=subprocess.STDOUT)

    def said(key):
        return [x for x in map(json.loads, out.read_text().splitlines()) if key in x]
    try:
        port = until(lambda: said("port"), 20, "the script listens")[0]["port"]
        ok = submit(server, f"wss://127.0.0.1:{port}/ok")
        late = submit(server, f"wss://127.0.0.1:{port}/late")
        echo = submit(server, f"wss://127.0.0.1:{port}/silent")  # the package echoes our close by itself
        done(server)
        got = said("body")
        assert sorted((x["path"], x["headers"]["webhook-id"], x["headers"]["ringback-attempt"]) for x in got) == sorted(
            [("/ok", ok, "1"), ("/late", late, "1"), ("/late", late, "2"), ("/late", late, "3"), ("/silent", echo, "1")])
        assert all(json.loads(x["body"]) == {"id": 1, "result": {"x": 99.99, "t": "ü"}} for x in got)
        assert not any(x["binary"] for x in got) and not said("error")
        until(lambda: len(said("closed")) == 5, 20, "all are closed")
        assert sorted(x["closed"] for x in said("closed")) == [1000, 1000, 1000, 1011, 1013], "as they closed"
    finally:
        js.terminate()
        js.wait(20)
    server.stop()
    assert server.dead() == set()
