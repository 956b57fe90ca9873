# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC over websockets: messages, the protocol's edges, and clients that behave badly."""
import asyncio
import json
import re
import ssl
import struct
import subprocess
import sys
import time

import pytest
import websockets

from lib.server import Server, root
from lib.wait import until
from lib.ws_client import BINARY, CLOSE, MORE, PING, PONG, TEXT, Gone, WsClient, frame


@pytest.fixture(scope="module")
def shared(tmp_path_factory, ca):
    s = Server(tmp_path_factory.mktemp("ws"), ca.pem).start()
    yield s
    s.stop()
    s.check_sanitizers()


@pytest.fixture
def ws(shared):
    with WsClient(shared.port) as c:
        yield c


def still_serves(c):
    c.call("test.echo", {"n": 7}, id="still")
    assert c.message() == {"id": "still", "result": {"n": 7}}


# --- messages ----------------------------------------------------------------------------------

def test_an_acknowledgement_and_the_callback(shared, receiver, ws):
    ws.call("test.echo", {"x": 1}, callback=receiver.url(), receipt=True)
    ack = ws.message()["result"]["callback"]
    assert ack["url"] == receiver.url() and ack["status"] is True
    (call,) = receiver.wait(1)
    assert call.headers["webhook-id"] == ack["data"][0]["job"]
    assert json.loads(call.body) == {"id": 1, "result": {"x": 1}}


def test_a_result_that_was_waited_for_is_delivered_by_the_answer(make_server, receiver):
    s = make_server({"store.retention": "1h"})
    with WsClient(s.port) as c:
        c.call("test.echo", {"x": 1}, callback=receiver.url(), wait=10)
        assert c.message() == {"id": 1, "result": {"x": 1}}
        until(lambda: s.rows("select count(*) from done")[0][0] == 1, 20, "the job is done")
    assert receiver.posts == []


def test_requests_run_beside_each_other(ws):
    ws.call("test.linger", {"ms": 1500}, id="slow")
    ws.call("test.echo", {"n": 1}, id="fast")
    assert [ws.message()["id"], ws.message()["id"]] == ["fast", "slow"]


def test_thousands_of_requests_in_one_write(ws):
    n = 5000
    ws.raw(b"".join(frame(TEXT, b'{"id":%d,"method":"test.echo","params":{"i":%d}}' % (i, i)) for i in range(n)))
    got = {}
    for _ in range(n):
        m = ws.message()
        got[m["id"]] = m["result"]["i"]
    assert got == {i: i for i in range(n)}


def test_no_more_than_sixteen_run_at_once(make_server):
    s = make_server({"method.threads": "128"})  # a method alone may have half of them
    with WsClient(s.port) as c:
        began = time.monotonic()
        for i in range(40):
            c.call("test.linger", {"ms": 1000}, id=i)
        assert sorted(c.message()["id"] for _ in range(40)) == list(range(40))
        assert time.monotonic() - began > 2.9  # three turns


def test_headers_of_the_handshake_are_of_no_request(shared, receiver):
    with WsClient(shared.port, headers={"X-Request-Id": "of-the-handshake", "Prefer": "wait=10",
                                        "Idempotency-Key": '"k"'}) as c:
        for i in range(2):
            c.call("test.echo", {"i": i}, callback=receiver.url())
            assert "callback" in c.message()["result"]
    calls = receiver.wait(2)
    assert [k.headers.get("x-request-id") for k in calls] == [None, None]


def test_faults_of_a_message(ws):
    for text, code in ((b"{", -32700), (b"", -32700), (b"[]", -32600), (b'{"id":1,"method":"nope"}', -32601)):
        ws.send(text)
        assert ws.message()["error"]["code"] == code
    ws.send([{"id": i, "method": "test.echo"} for i in range(1001)])
    assert ws.message()["error"]["code"] == -32010
    still_serves(ws)


def test_a_full_store_is_an_error_not_a_close(make_server, receiver):
    s = make_server({"store.max_pending": "1"})
    with WsClient(s.port) as c:
        c.call("test.echo", callback=receiver.url(), delay=60)
        assert "result" in c.message()
        c.call("test.echo", callback=receiver.url(), id=2)
        assert c.message() == {"id": 2, "error": {"code": -32009, "message": "Server is busy"}}
        c.send({"method": "test.echo", "params": {"$rpc.callback": receiver.url()}})
        m = c.message()
        assert (m["id"], m["error"]["code"]) == (None, -32009)
        still_serves(c)


# --- the handshake -----------------------------------------------------------------------------

@pytest.mark.parametrize("headers, status", [
    ({"Sec-WebSocket-Version": "8"}, 426),
    ({"Sec-WebSocket-Version": None}, 426),
    ({"Sec-WebSocket-Key": "short"}, 400),
    ({"Sec-WebSocket-Key": None}, 400),
    ({"Connection": "keep-alive"}, 400),
    ({"Connection": "Upgrade, close"}, 400),
    ({"Upgrade": "h2c"}, 405),
    ({"Upgrade": None}, 405),
    ({"Origin": "https://elsewhere.example"}, 403),
    ({"Origin": "null"}, 403),
])
def test_handshakes_that_are_refused(shared, headers, status):
    with WsClient(shared.port, handshake=False) as c:
        got, lines, body = c.ask(headers)
        assert got == status and json.loads(body)["error"]
        if status == 426:
            assert lines["sec-websocket-version"] == "13" and lines["upgrade"] == "websocket"
        if status == 405:
            assert lines["allow"] == "POST"


@pytest.mark.parametrize("line, status", [
    ("GET /other HTTP/1.1", 404), ("POST /api HTTP/1.1", 415), ("GET /api HTTP/1.0", 400)])
def test_request_lines_of_no_websocket(shared, line, status):
    with WsClient(shared.port, handshake=False) as c:
        assert c.ask(line=line)[0] == status


@pytest.mark.parametrize("connection", ["keep-alive, Upgrade", "Upgrade, keep-alive"])
def test_http_1_0_becomes_no_websocket(shared, connection):
    with WsClient(shared.port, handshake=False) as c:
        status, lines, body = c.ask({"Connection": connection}, line="GET /api HTTP/1.0")
        assert status == 400 and "upgrade" not in lines
        assert "HTTP/1.1" in json.loads(body)["error"]["data"]


def test_a_key_that_stands_twice(shared):
    with WsClient(shared.port, handshake=False) as c:
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        assert c.ask({"sec-websocket-key": key})[0] == 400


def test_names_and_lists_in_any_spelling(shared):
    with WsClient(shared.port, headers={"Connection": "keep-alive, UPGRADE", "Upgrade": "WebSocket"}) as c:
        still_serves(c)


@pytest.mark.parametrize("offer, echo", [("soap, jsonrpc", "jsonrpc"), ("JsonRpc", "JsonRpc"), ("soap", None),
                                         (None, None)])
def test_the_subprotocol(shared, offer, echo):
    with WsClient(shared.port, headers={"Sec-WebSocket-Protocol": offer}) as c:
        assert c.headers.get("sec-websocket-protocol") == echo


def test_frames_that_come_with_the_handshake(shared):
    with WsClient(shared.port, handshake=False) as c:
        status, _, _ = c.ask(behind=frame(TEXT, b'{"id":1,"method":"test.echo","params":{"a":2}}'))
        assert status == 101
        assert c.message() == {"id": 1, "result": {"a": 2}}


def test_switched_off(make_server):
    s = make_server({"server.max_websockets": "0"})
    with WsClient(s.port, handshake=False) as c:
        assert c.ask()[0] == 405


def test_the_limit_of_sockets(make_server):
    s = make_server({"server.max_websockets": "2"})
    with WsClient(s.port), WsClient(s.port) as b:
        with WsClient(s.port, handshake=False) as c:
            status, headers, body = c.ask()
            assert (status, headers["retry-after"]) == (503, "1")
            assert json.loads(body)["error"]["code"] == -32009
        with s.client() as h:
            assert h.call("test.echo", {"n": 1}).json["result"] == {"n": 1}
        b.end()

        def again():
            with WsClient(s.port, handshake=False) as c:
                return c.ask()[0] == 101
        until(again, 20, "there is a place again")


# --- frames ------------------------------------------------------------------------------------

ECHO = b'{"id":1,"method":"test.echo","params":{"text":"\xc2\xb5\xf0\x9f\x98\x80"}}'


def test_fragments_with_control_frames_between(ws):
    for i, c in enumerate(ECHO):
        ws.raw(frame(MORE if i else TEXT, bytes([c]), fin=i == len(ECHO) - 1))
        if i % 10 == 0:
            ws.raw(frame(PING, b"%d" % i))
    assert json.loads(ws.text()) == {"id": 1, "result": {"text": "\u00b5\U0001f600"}}
    assert ws.pongs == [b"%d" % i for i in range(0, len(ECHO), 10)]


def test_byte_after_byte(ws):
    for c in frame(TEXT, ECHO):
        ws.raw(bytes([c]))
    assert json.loads(ws.text())["id"] == 1


def test_empty_fragments(ws):
    ws.raw(frame(TEXT, b"", fin=False) + frame(MORE, ECHO, fin=False) + frame(MORE, b"", fin=False) + frame(MORE, b""))
    assert json.loads(ws.text())["id"] == 1


@pytest.mark.parametrize("bytes_, code", [
    (frame(TEXT, ECHO, masked=False), 1002),
    (frame(BINARY, ECHO), 1003),
    (frame(BINARY, b""), 1003),
    (frame(BINARY, b"x", fin=False), 1003),
    (frame(TEXT, b"\xff\xfe"), 1007),
    (frame(TEXT, b'"\xed\xa0\x80"'), 1007),
    (frame(TEXT, b'"\xc2', fin=False) + frame(MORE, b'x"'), 1007),
    (frame(TEXT, b'"\xc2'), 1007),
    (frame(TEXT, ECHO, rsv=4), 1002),
    (frame(TEXT, ECHO, rsv=1), 1002),
    (frame(3, b""), 1002),
    (frame(11, b""), 1002),
    (frame(MORE, b"x"), 1002),
    (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    (frame(PING, b"x" * 126), 1002),
    (frame(PING, b"x", fin=False), 1002),
    (frame(CLOSE, b"\x03"), 1002),
    (frame(CLOSE, struct.pack(">H", 999)), 1002),
    (frame(CLOSE, struct.pack(">H", 1005)), 1002),
    (frame(CLOSE, struct.pack(">H", 1006)), 1002),
    (frame(CLOSE, struct.pack(">H", 5000)), 1002),
    (frame(CLOSE, struct.pack(">H", 1000) + b"\xff"), 1007),
    (bytes([0x81, 0xff]) + b"\xff" * 8 + b"mask", 1002),  # a length of 64 bits
    (bytes([0x81, 0xff]) + (1 << 40).to_bytes(8, "big") + b"mask", 1009),
], ids=lambda v: v if isinstance(v, int) else v[:1].hex() + "-" + str(len(v)))
def test_frames_that_are_refused(ws, bytes_, code):
    ws.raw(bytes_)
    assert ws.closed() == code


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_is_echoed(ws, code):
    assert ws.end(code) == code


def test_a_close_without_a_code(ws):
    ws.raw(frame(CLOSE))
    assert ws.closed(echo=False) in (None, 1000)


def test_what_comes_behind_a_close_is_nothing(ws):
    ws.raw(frame(CLOSE, struct.pack(">H", 1000)) + frame(TEXT, ECHO))
    assert ws.closed(echo=False) == 1000


def test_the_size_of_a_message(make_server):
    s = make_server({"server.max_body": "4K"})
    head = b'{"id":1,"method":"test.echo","params":{"t":"'
    for n, fits in ((4096, True), (4097, False)):
        text = head + b"a" * (n - len(head) - 3) + b'"}}'
        assert len(text) == n
        for pieces in (1, 5):
            with WsClient(s.port) as c:
                step = -(-n // pieces)
                for at in range(0, n, step):
                    c.raw(frame(MORE if at else TEXT, text[at:at + step], fin=at + step >= n))
                if fits:
                    assert c.message()["id"] == 1
                else:
                    assert c.closed() == 1009


def test_a_message_in_too_many_pieces(ws):
    ws.raw(frame(TEXT, b" ", fin=False) + b"".join(frame(MORE, b" ", fin=False) for _ in range(16383)))
    ws.raw(frame(PING, b"here"))
    assert ws.frame() == (PONG, b"here")
    ws.raw(frame(MORE, b" ", fin=False))
    assert ws.closed() == 1008


# --- clients that behave badly -----------------------------------------------------------------

def rss(server):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{server.pid}/status").read())[1]) * 1024


def test_a_flood_of_pings_is_answered_and_bounded(shared, ws):
    before = rss(shared)
    flood = b"".join(frame(PING, b"%08d" % i) for i in range(5000))
    for _ in range(10):
        ws.raw(flood)
        with shared.client() as h:
            assert h.call("test.echo", {"n": 1}).json["result"] == {"n": 1}
        for i in range(5000):
            assert ws.frame() == (PONG, b"%08d" % i)
    assert rss(shared) - before < 64 << 20


def test_who_does_not_read_is_not_read(shared):
    """The answers that wait stop the reading; what the client then cannot send is the measure."""
    with WsClient(shared.port, rcvbuf=4096) as c:
        c.sock.settimeout(3)
        one = frame(TEXT, b'{"id":1,"method":"test.echo","params":{"t":"%s"}}' % (b"a" * 30000))
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                c.raw(one)
                sent += len(one)
        assert sent < 48 << 20
        with shared.client() as h:
            assert h.call("test.echo", {"n": 1}).json["result"] == {"n": 1}


def test_who_never_reads_is_dropped(make_server):
    s = make_server()
    with WsClient(s.port, rcvbuf=4096) as c:
        c.sock.settimeout(1)
        one = frame(TEXT, b'{"id":1,"method":"test.echo","params":{"t":"%s"}}' % (b"a" * 30000))
        with pytest.raises(OSError):
            while True:
                c.raw(one)
        c.sock.settimeout(20)

        def is_gone():
            try:
                c.raw(b"\x89")
            except TimeoutError:
                return False
            except OSError:
                return True
            return False
        c.sock.setblocking(False)
        c.sock.settimeout(0.2)
        until(is_gone, 60, "the connection is dropped")


def test_silence_is_asked_and_then_over(make_server):
    s = make_server({"server.ping": "1s", "log.level": "debug"})
    with WsClient(s.port) as half_open, WsClient(s.port) as alive:
        for _ in range(4):
            assert alive.frame() == (PING, b"")
            alive.raw(frame(PONG))
        assert half_open.frame() == (PING, b"")
        half_open.gone()
        assert half_open.buf == b""
        still_serves(alive)
        s.wait_log("websocket.fault .*silent")


def test_who_waits_for_a_long_call_is_not_silent(make_server):
    s = make_server({"server.ping": "1s"})
    with WsClient(s.port) as c:
        c.call("test.linger", {"ms": 4000})
        while True:
            opcode, payload = c.frame()
            if opcode == TEXT:
                break
            assert opcode == PING
            c.raw(frame(PONG, payload))
        assert json.loads(payload)["id"] == 1


def test_a_client_that_goes_leaves_nothing_behind(shared):
    for how in range(30):
        c = WsClient(shared.port)
        for i in range(20):
            c.call("test.linger", {"ms": 100}, id=i)
        if how % 3 == 0:
            c.raw(frame(CLOSE, struct.pack(">H", 1000)))
        elif how % 3 == 1:
            c.raw(frame(TEXT, b"half", fin=False))
        c.close()
    with WsClient(shared.port) as c:
        still_serves(c)


def test_a_thousand_that_are_idle(make_server):
    s = make_server({"server.threads": "1"})
    first = [WsClient(s.port) for _ in range(20)]
    before = rss(s)
    many = [WsClient(s.port) for _ in range(1000)]
    grown = (rss(s) - before) / len(many)
    for c in (first[0], many[0], many[-1]):
        still_serves(c)
    print(f"{grown:.0f} bytes each")
    assert grown < 64 << 10
    for c in first + many:
        c.close()


# --- the end -----------------------------------------------------------------------------------

def test_a_stop_says_goodbye(make_server):
    s = make_server()
    with WsClient(s.port) as idle, WsClient(s.port) as busy:
        busy.call("test.linger", {"ms": 800})
        still_serves(busy)  # so it has come
        still_serves(idle)
        s.signal(15)
        assert idle.closed() == 1001
        assert busy.message()["id"] == 1
        assert busy.closed() == 1001
    assert s.wait() == 0


def test_a_stop_does_not_wait_for_who_does_not_say_it_back(make_server):
    s = make_server()
    with WsClient(s.port) as c:
        still_serves(c)
        s.signal(15)
        assert s.wait(15) == 0
        assert c.frame() == (CLOSE, struct.pack(">H", 1001))


# --- whose it is -------------------------------------------------------------------------------

def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_a_token_is_asked_for_at_the_handshake(serve, callers):
    s = serve()
    for headers in ({}, bearer("wrong"), {"Authorization": "Basic x"}):
        with WsClient(s.port, handshake=False) as c:
            status, lines, body = c.ask(headers)
            assert (status, lines["www-authenticate"]) == (401, "Bearer")
            assert json.loads(body)["error"]["code"] == -32001
    with WsClient(s.port, headers=bearer(callers.tokens["alice"])) as c:
        still_serves(c)


def test_jobs_are_the_callers(serve, callers, receiver):
    s = serve()
    with WsClient(s.port, headers=bearer(callers.tokens["alice"])) as alice, \
            WsClient(s.port, headers=bearer(callers.tokens["bob"])) as bob:
        alice.call("test.echo", callback=receiver.url(), receipt=True)
        job = alice.message()["result"]["callback"]["data"][0]["job"]
        receiver.wait(1)
        for c, name in ((alice, "result"), (bob, "error")):
            c.call("rpc.job.get", {"id": job})
            assert name in c.message()


def test_a_token_that_is_taken_away(serve, callers):
    s = serve()
    with WsClient(s.port, headers=bearer(callers.tokens["alice"])) as alice, \
            WsClient(s.port, headers=bearer(callers.tokens["bob"])) as bob:
        still_serves(alice)
        callers.remove("alice").write()
        s.signal(1)
        s.wait_log("reload")

        def refused():
            alice.call("test.echo")
            opcode, payload = alice.frame()
            return opcode == CLOSE and payload == struct.pack(">H", 1008)
        until(refused, 20, "the message is refused")
        still_serves(bob)


# --- a client of others ------------------------------------------------------------------------

def test_the_example_of_the_docs(shared):
    text = (root() / "docs/websocket.md").read_text()
    program = re.search(r"```python\n(.*?)```", text, re.S)[1].replace("127.0.0.1:7600", f"127.0.0.1:{shared.port}")
    output = re.search(r"prints\n\n```text\n(.*?)```", text, re.S)[1]
    got = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (got.stdout, got.returncode) == (output, 0), got.stderr


def test_over_tls(make_server, ca, cert):
    s = make_server({"server.tls_cert": cert[0], "server.tls_key": cert[1]}, start=False)
    s.tls = ssl.create_default_context(cafile=str(ca.pem))
    s.start()

    async def talk():
        async with websockets.connect(f"wss://127.0.0.1:{s.port}/api", ssl=s.tls) as c:
            for n in (1, 100, 70000):
                await c.send(json.dumps({"id": n, "method": "test.echo", "params": {"t": "x" * n}}))
                assert json.loads(await c.recv()) == {"id": n, "result": {"t": "x" * n}}
        return c.close_code
    assert asyncio.run(talk()) == 1000


def test_with_a_library(shared, receiver):
    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{shared.port}/api", subprotocols=["jsonrpc"]) as c:
            assert c.subprotocol == "jsonrpc"
            await c.send(json.dumps({"id": 1, "method": "test.echo", "params": {"a": [1, 2]}}))
            assert json.loads(await c.recv()) == {"id": 1, "result": {"a": [1, 2]}}
            await c.send(json.dumps({"id": 2, "method": "test.echo",
                                     "params": {"b": 1, "$rpc.callback": receiver.url()}}))
            assert json.loads(await c.recv())["result"]["callback"]["status"] is True
            await (await c.ping())
        return c.close_code
    assert asyncio.run(talk()) == 1000
    assert json.loads(receiver.wait(1)[0].body) == {"id": 2, "result": {"b": 1}}
