# SPDX-License-Identifier: Apache-2.0
"""What a browser can be talked into: names that were rebound to our address, pages of other sites."""
import signal
import socket
import subprocess

import pytest

from lib.client import Client
from lib.ws_client import WsClient

BODY = b'{"id":1,"method":"demo.echo","params":{"a":1}}'


def ask(server, host=None, headers=(), method="POST", path="/api", sock=None):
    """One request, with this very Host; `host` None: our own."""
    with Client(server.port) as c:
        c.sock = sock
        body = BODY if method == "POST" else b""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{server.port}'}",
                 *(f"{k}: {v}" for k, v in headers)]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        c.send("\r\n".join([*lines, "", ""]).encode() + body)
        return c.receive()


def status(server, host=None, *origins, **kw):
    return ask(server, host, [("Origin", o) for o in origins], **kw).status


def preflight(server, origin, wants="POST", path="/api"):
    return ask(server, headers=[("Origin", origin), ("Access-Control-Request-Method", wants),
                                ("Access-Control-Request-Headers", "authorization,content-type")],
               method="OPTIONS", path=path)


# --- names ----------------------------------------------------------------------------

def test_rebound_names(server):
    """Loopback, and nobody is asked for a token: only names that mean this machine to itself."""
    for good in ("127.0.0.1", "localhost", "LocalHost:1", "localhost.:80", "127.9.9.9:7600", "[::1]", "[::1]:7600",
                 "[0:0::1]:80", "localhost:"):
        assert status(server, good) == 200, good
    for bad in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:7600", "10.0.0.1",
                "0.0.0.0", "128.0.0.1", "[::2]", "127.1", "0x7f000001", "localhost:x", "evil-localhost", "[::ffff:127.0.0.1]"):
        reply = ask(server, bad)
        assert reply.status in (400, 403), bad
    reply = ask(server, "evil.example")
    assert reply.status == 403 and reply.headers["connection"] == "close"
    assert reply.error == {"code": -32600, "message": "Invalid Request", "data": "this Host is not allowed"}
    assert status(server, "evil.example", method="GET", path="/.well-known/jwks.json") == 403
    server.wait_log(r"level=warn event=request.forbidden peer=\S+ reason=.this Host is not allowed. value=evil.example more=")


def test_listed_names(make_server):
    server = make_server({"server.hosts": "api.example, *.api.example:8443, 127.0.0.1, [2001:db8::1]"})
    for good in ("api.example", "API.example.:1", "a.api.example:8443", "127.0.0.1", "[2001:db8:0::1]:5"):
        assert status(server, good) == 200, good
    for bad in ("a.api.example", "a.api.example:80", "a.b.api.example:8443", "localhost", "xapi.example", "api.example.evil"):
        assert status(server, bad) == 403, bad


def test_names_change_by_reload(make_server, tmp_path):
    conf = tmp_path / "c.ini"
    conf.write_text("[server]\nhosts = 127.0.0.1, one.example\norigins = https://one.example\n")
    server = make_server({}, start=False)
    argv = server.argv
    server.argv = lambda: [*argv(), "-c", str(conf)]
    server.start()
    assert (status(server, "one.example"), status(server, "two.example")) == (200, 403)
    assert status(server, None, "https://one.example") == 200
    conf.write_text("[server]\nhosts = 127.0.0.1, two.example\n")
    server.signal(signal.SIGHUP)
    server.wait_log("event=config.reloaded")
    assert (status(server, "one.example"), status(server, "two.example")) == (403, 200)
    assert status(server, None, "https://one.example") == 403


def test_unix_socket_has_no_names(make_server, tmp_path):
    path = tmp_path / "s"
    server = make_server({"server.listen": f"127.0.0.1:0,unix:{path}", "server.hosts": "127.0.0.1"})
    for origins, wanted in ((), 200), (("https://evil.example",), 403):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(path))
        assert status(server, "anything.example", *origins, sock=sock) == wanted


# --- pages of other sites -----------------------------------------------------------------

ORIGINS = {"server.origins": "https://app.example, http://localhost:3000, https://B.example:443"}


def test_no_origin_may_call_unless_listed(server):
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{server.port}", "http://localhost", ""):
        assert status(server, None, origin) == 403, origin
    reply = preflight(server, "https://evil.example")
    assert reply.status == 403 and b"access-control" not in reply.head.lower()
    assert ask(server, method="OPTIONS").status == 405
    server.wait_log("event=request.forbidden .*Origin is not allowed. value=https://evil.example ")


def test_listed_origins(make_server):
    server = make_server(ORIGINS)
    for good in ("https://app.example", "http://localhost:3000", "https://b.example"):
        reply = ask(server, headers=[("Origin", good)])
        assert reply.status == 200, good
        assert reply.headers["access-control-allow-origin"] == good and reply.headers["vary"] == "Origin"
        assert "Ringback-Job" in reply.headers["access-control-expose-headers"]
        assert b"access-control-allow-credentials" not in reply.head.lower()
    for bad in ("http://app.example", "https://app.example:8443", "https://app.example.evil", "http://localhost", "null",
                "https://a.app.example", "https://APP.example", "https://app.example:443", "https://app.example/", "https://user@app.example", "https://app.example evil",
                "https://", "https://app.example:", "app.example"):
        reply = ask(server, headers=[("Origin", bad)])
        assert reply.status == 403 and b"access-control" not in reply.head.lower(), bad
    assert status(server, None, "https://app.example", "https://app.example") == 403
    # Programs send none.
    reply = ask(server)
    assert reply.status == 200 and reply.headers["vary"] == "Origin"
    assert b"access-control" not in reply.head.lower()


def test_preflight(make_server):
    server = make_server(ORIGINS)
    for path, method in (("/api", "POST"), ("/.well-known/jwks.json", "GET")):
        reply = preflight(server, "https://app.example", method, path)
        h = reply.headers
        assert reply.status == 204 and reply.body == b""
        assert h["access-control-allow-origin"] == "https://app.example" and h["vary"] == "Origin"
        assert method in h["access-control-allow-methods"].split(", ")
        assert {"content-type", "authorization", "prefer", "idempotency-key"} <= set(
            h["access-control-allow-headers"].lower().split(", "))
    assert preflight(server, "https://app.example", path="/elsewhere").status == 404
    assert preflight(server, "https://evil.example").status == 403
    # What is refused for another reason is readable to the page all the same.
    with Client(server.port) as c:
        reply = c.post(BODY, {"Origin": "https://app.example"}, content_type="text/plain")
    assert reply.status == 415 and reply.headers["access-control-allow-origin"] == "https://app.example"


def test_forms_and_scripts_without_preflight(make_server):
    """What a page may send unasked has no JSON type."""
    server = make_server(ORIGINS)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        with Client(server.port) as c:
            assert c.post(BODY, content_type=kind).status == 415


def test_refusals_are_logged_at_a_pace(server):
    for _ in range(50):
        assert status(server, "evil.example") == 403
    lines = [x for x in server.log().splitlines() if "event=request.forbidden" in x]
    assert 1 <= len(lines) < 40


@pytest.mark.parametrize("key,value", [
    ("hosts", "http://x.example"), ("hosts", "x y"), ("hosts", "x:99999"), ("hosts", "[::1"),
    ("hosts", "a.example,,b.example"), ("origins", "*"), ("origins", "null"), ("origins", "app.example"),
    ("origins", "https://*"), ("origins", "https://*.a.example"), ("origins", "https://u@a.example"),
    ("origins", "https://a.example:"), ("origins", "https://a.example:65536"), ("hosts", "x@y"), ("hosts", "a/b"), ("origins", "https://a.example/"), ("origins", "ftp://a.example"), ("origins", "https://")])
def test_bad_lists(make_server, key, value):
    server = make_server({f"server.{key}": value}, start=False)
    run = subprocess.run(server.argv(), capture_output=True, text=True, timeout=30)
    assert run.returncode == 2 and f"server.{key}" in run.stderr, run.stderr


# --- who asks for tokens, or is reached otherwise -----------------------------------------

def test_tokens_protect_from_rebound_names(serve, callers):
    """A page has none: with them, or on other addresses, any name is good that is not excluded."""
    server = serve()
    auth = ("Authorization", f"Bearer {callers.tokens['alice']}")
    assert ask(server, "api.example", [auth]).status == 200
    assert ask(server, "api.example").status == 401
    # A preflight carries no token; the request behind it does.
    assert ask(server, headers=[auth, ("Origin", "https://evil.example")]).status == 403


def test_tokens_and_lists(serve, callers):
    server = serve({"server.hosts": "api.example, 127.0.0.1", **ORIGINS})
    auth = ("Authorization", f"Bearer {callers.tokens['alice']}")
    assert ask(server, "other.example", [auth]).status == 403
    assert preflight(server, "https://app.example").status == 204
    page = ("Origin", "https://app.example")
    assert ask(server, "api.example", [page, auth]).status == 200
    reply = ask(server, "api.example", [page])
    assert reply.status == 401 and reply.headers["access-control-allow-origin"] == page[1]


def test_every_name_may_be_allowed(make_server):
    server = make_server({"server.hosts": "**"})
    for host in ("evil.example", "10.0.0.1:5", "[::2]"):
        assert status(server, host) == 200


def test_other_addresses_have_any_name(make_server):
    server = make_server({"server.listen": "0.0.0.0:0", "auth.open": "yes"})
    assert status(server, "api.example") == 200


# --- websockets -----------------------------------------------------------------------------

def test_websockets(make_server):
    server = make_server(ORIGINS)
    for headers, wanted in (({"Origin": "https://app.example"}, 101), ({}, 101), ({"Origin": "https://evil.example"}, 403),
                            ({"Host": "evil.example"}, 403)):
        with WsClient(server.port, handshake=False) as c:
            assert c.ask(headers)[0] == wanted, headers


def test_the_body_is_not_waited_for(make_server):
    server = make_server(ORIGINS)
    for line in ("Host: evil.example", "Host: localhost\r\nOrigin: null"):
        with Client(server.port) as c:
            c.send(f"POST /api HTTP/1.1\r\n{line}\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n".encode())
            assert c.receive().status == 403
    # Nor is there a body that nobody's token stands for.
    with Client(server.port) as c:
        c.send(b"OPTIONS /api HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\n"
               b"Access-Control-Request-Method: POST\r\nContent-Length: 5\r\n\r\n")
        assert c.receive().status == 405


def test_no_host_at_all(make_server):
    """HTTP/1.0 need not have one."""
    line = b"POST /api HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    for hosts, wanted in (("", 403), ("api.example, 127.0.0.1", 403), ("**", 200)):
        server = make_server({"server.hosts": hosts})
        with Client(server.port) as c:
            c.send(line)
            assert c.receive().status == wanted, hosts
