# SPDX-License-Identifier: Apache-2.0
"""Where the parts of the callers' side meet: settings, tokens and certificates that change while others are at
work, and what a refused request costs."""
import json
import select
import ssl
import time

import pytest

from lib.certs import CA
from lib.client import Closed
from lib.wait import until
from lib.ws_client import CLOSE, TEXT, WsClient, frame

from test_admin import Admin
from test_limits import value

from test_tls_front import context, reload


@pytest.fixture(scope="module")
def client_ca(tmp_path_factory):
    return CA(tmp_path_factory.mktemp("client-ca"))


@pytest.fixture
def from_file(make_server, tmp_path):
    """A server whose [server] section is a file that can be written again."""
    def make(options=None, **keys):
        conf = tmp_path / "c.ini"
        server = make_server({"server.listen": None, **(options or {})}, start=False)
        argv = server.argv

        def write(**keys):
            conf.write_text("[server]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()))
        write(**keys)
        server.argv = lambda: [*argv(), "-c", str(conf)]
        server.write = write
        return server
    return make


# --- settings that change, beside those that do not ------------------------------------------------

def test_the_last_guard_of_a_public_address_stays(from_file, ca, cert, client_ca):
    """The file says that the address is another one from now on; it is so only after a new start, and until then
    nobody may come in whom nothing asks who he is."""
    pair = {"tls_cert": cert[0], "tls_key": cert[1]}
    server = from_file(listen="0.0.0.0:0", tls_client_ca=client_ca.pem, **pair)
    server.tls = context(ca, *client_ca.issue("own", names=(), client=True))
    server.start()
    server.write(listen="127.0.0.1:0", **pair)
    reload(server, "config.refused")
    with pytest.raises((ssl.SSLError, Closed, ConnectionResetError)), server.client(tls=context(ca)) as c:
        pytest.fail(str(c.call("test.echo", {"a": 1})))
    with server.client() as c:
        assert c.call("test.echo", {"a": 1}).status == 200
    assert "server.listen" in server.log() and "new start" in server.log()


# --- websockets --------------------------------------------------------------------------------------

def bearer(callers, name):
    return {"Authorization": f"Bearer {callers.tokens[name]}"}


def closed_by(ws):
    """The code of the close that comes without anything being said to the server."""
    opcode, payload = ws.frame()
    assert opcode == CLOSE, (opcode, payload)
    return int.from_bytes(payload[:2], "big")


def has_answer(sock):
    return bool(select.select([sock], [], [], 0)[0])


def test_a_silent_websocket_loses_its_token(serve, callers, as_caller):
    """Whose token is taken away holds no connection for as long as it likes, even if it asks for nothing."""
    server = serve()
    with WsClient(server.port, headers=bearer(callers, "alice")) as alice, \
            WsClient(server.port, headers=bearer(callers, "alice")) as busy, \
            WsClient(server.port, headers=bearer(callers, "bob")) as bob:
        busy.call("test.linger", {"ms": 60000})
        callers.remove("alice").write()
        reload(server, "auth.tokens")
        assert closed_by(alice) == closed_by(busy) == 1008
        alice.gone()
        bob.call("test.echo", {"n": 1})
        assert bob.message()["result"] == {"n": 1}
    assert as_caller(server, "alice").post(b"{}").status == 401


def test_a_websocket_from_before_there_were_tokens(make_server, callers, tmp_path):
    conf = tmp_path / "c.ini"
    conf.write_text("")
    server = make_server(start=False)
    argv = server.argv
    server.argv = lambda: [*argv(), "-c", str(conf)]
    server.start()
    with WsClient(server.port) as ws:
        callers.write()
        conf.write_text(f"[auth]\ntokens_file = {callers.path}\n")
        reload(server, "auth.tokens")
        assert closed_by(ws) == 1008


def test_a_websocket_that_is_refused_is_not_read_for_ever(make_server):
    """A message over the rate is parsed all the same: a client that goes on sending gets no more than a few of
    them looked at in a second."""
    server = make_server({"server.exempt": "", "server.rate": "4/h"})
    n = 80
    with WsClient(server.port) as ws:
        began = time.monotonic()
        ws.raw(b"".join(frame(TEXT, b'{"id":%d,"method":"test.echo"}' % i) for i in range(n)))
        got = [ws.message() for _ in range(n)]
        took = time.monotonic() - began
    assert sorted(m["id"] for m in got) == list(range(n))
    assert [m["error"]["code"] for m in got if "error" in m] == [-32009] * (n - 2)
    assert took > 2.5, took


def test_half_sent_messages_of_all_are_bounded(make_server):
    """Two loops share the bound. Who is told to come later loses its own message alone, and what was held is given
    back when it goes."""
    server = make_server({"server.threads": "2", "server.max_body": "32M"})
    size = 24 << 20
    half = b"\x81\xff" + (size + 1).to_bytes(8, "big") + b"\0\0\0\0" + b" " * size
    kept, code = [], False
    try:
        while not code:
            assert len(kept) < 16, "nobody is told to come later"
            kept.append(WsClient(server.port))
            sock, before = kept[-1].sock, value(server, "received_bytes_total")
            kept[-1].raw(half)
            until(lambda: value(server, "received_bytes_total") - before >= len(half) or has_answer(sock), 30, "it is read")
            code = has_answer(sock) and closed_by(kept[-1])
        assert code == 1013 and len(kept) >= 10
        kept.pop().close()
        with WsClient(server.port) as ws, server.client() as c:
            ws.call("test.echo", {"n": 1})
            assert ws.message()["result"] == c.call("test.echo", {"n": 1}).json["result"] == {"n": 1}
        for ws in kept[:5]:
            ws.raw(b"7")
            assert json.loads(ws.text())["error"]["code"] == -32600
        for ws in kept[5:]:
            ws.close()
        until(lambda: value(server, "connections") == 5, 20, "they have gone")
        kept[0].raw(half + b"7")
        assert json.loads(kept[0].text())["error"]["code"] == -32600
    finally:
        for ws in kept:
            ws.close()


# --- what an operator asks about a caller -------------------------------------------------------------

def test_check_for_a_caller(serve, callers):
    callers.sections["alice"]["hosts"] = "*.shop.example"
    admin = Admin(serve())

    def check(host, **caller):
        return admin.call("rpc.callback.check", url=f"https://{host}/x", **caller)
    assert check("other.example")["accepted"] and check("other.example", caller="bob")["accepted"]
    assert check("a.shop.example", caller="alice")["accepted"]
    refused = check("other.example", caller="alice")
    assert (refused["accepted"], refused["reason"]) == (False, "host not allowed")
    assert admin.error("rpc.callback.check", url="https://a.example/", caller="nobody")["data"] == {
        "caller": "is not in the tokens file"}
