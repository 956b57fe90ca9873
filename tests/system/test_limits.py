# SPDX-License-Identifier: Apache-2.0
"""How much one address and one token may ask for, and what is counted and said of it."""
import json
import re
import socket
import time

from lib.wait import until
from lib.ws_client import WsClient

from test_admin import admin_port, ask, parse_metrics

ALL = {"server.exempt": ""}  # the tests come from loopback


def metrics(server):
    return parse_metrics(ask(admin_port(server), "/metrics")[1])


def value(server, name, **labels):
    m = metrics(server)
    want = "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else ""
    return m[f"ringback_{name}{want}"]


def echo(n, id=1):
    return json.dumps({"id": id, "method": "test.echo", "params": {"n": n}}).encode()


def batch(n):
    return b"[" + b",".join(echo(i, i) for i in range(n)) + b"]"


def post(server, body, **kw):
    with server.client() as c:
        return c.post(body, **kw)


def test_rate_of_an_address(make_server):
    server = make_server({**ALL, "server.rate": "120/m"})
    served, refused, began = 0, [], time.monotonic()
    while len(refused) < 3 and served < 1000:
        r = post(server, echo(served))
        if r.status == 200:
            served += 1
        else:
            refused.append(r)
    assert 119 <= served <= 120 + 2 * (time.monotonic() - began) + 1 and {r.status for r in refused} == {429}
    assert all(r.headers["retry-after"] == "1" and r.headers["connection"] == "close" for r in refused)
    assert all(r.error["code"] == -32009 for r in refused)
    # What it says is true: after that time there is a token.
    t = time.monotonic()
    until(lambda: post(server, echo(0)).status == 200, 30, "a token is there")
    assert time.monotonic() - t < 5
    assert value(server, "refused_total", reason="rate") >= len(refused)
    assert value(server, "http_requests_total", status="429") >= len(refused)
    line = server.wait_log(r"event=request\.refused .*\n").group(0)
    assert "reason=rate" in line and "status=429" in line and "peer=127.0.0.1:" in line, line


def test_refused_before_the_body(make_server):
    server = make_server({**ALL, "server.rate": "2/h"})
    until(lambda: post(server, echo(0)).status == 429, 10, "the tokens are used up")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        s.sendall(b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n")
        head = s.recv(65536)
        assert head.startswith(b"HTTP/1.1 429 "), head
        wait = int(re.search(rb"\r\nRetry-After: (\d+)\r\n", head).group(1))
        assert 1700 < wait <= 1800, "seconds until one of two an hour"


def test_members_of_a_batch_count(make_server):
    server = make_server({**ALL, "server.rate": "60/m"})
    with server.client() as c:  # the start has used one
        r = c.post(batch(50))
        assert r.status == 200 and len(r.json) == 50
        r = c.post(batch(20))
        assert r.status == 429 and int(r.headers["retry-after"]) >= 8, r
        assert [m["error"]["code"] for m in r.json] == [-32009] * 20
        assert [m["id"] for m in r.json] == list(range(20)), "each is told by its id"
        assert c.post(echo(1)).status == 200, "the connection is not closed, and one more fits"
    assert value(server, "refused_total", reason="rate") == 1


def test_nothing_of_a_refused_batch_is_run(make_server, receiver):
    server = make_server({**ALL, "server.rate": "6/h"})
    jobs = b"[" + b",".join(json.dumps({"id": i, "method": "test.echo", "params": {
        "n": i, "$rpc.callback": receiver.url("/x")}}).encode() for i in range(6)) + b"]"
    r = post(server, jobs)
    assert r.status == 429 and r.jobs == [] and len(r.json) == 6
    assert server.pending() == 0 and receiver.posts == []
    assert value(server, "jobs_accepted_total") == 0


def test_a_batch_larger_than_the_burst(make_server):
    """It is late, not refused for ever; and paid for afterwards."""
    server = make_server({**ALL, "server.rate": "10/s"})
    with server.client() as c:
        r = c.post(batch(40))  # the start has used one, perhaps just now
        if r.status == 429:
            time.sleep(int(r.headers["retry-after"]))  # as a client is to do
            r = c.post(batch(40))
    assert r.status == 200 and len(r.json) == 40
    with server.client() as c:
        r = c.post(echo(1))
        assert r.status == 429 and 2 <= int(r.headers["retry-after"]) <= 4, r


def test_loopback_is_exempt(make_server):
    server = make_server({"server.rate": "1/h", "server.per_address": "1"})
    with server.client() as a, server.client() as b:
        for c in (a, b, a, b):
            assert c.post(batch(5)).status == 200
    assert value(server, "refused_total", reason="rate") == 0


def test_connections_of_an_address(make_server):
    server = make_server({**ALL, "server.per_address": "3"})
    until(lambda: value(server, "connections") == 0, 10, "none is left of the start")
    kept = [server.client() for _ in range(3)]
    try:
        assert [c.post(echo(1)).status for c in kept] == [200] * 3
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
            answer = s.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"from one address" in answer and b"-32009" in answer
        assert value(server, "connections") == 3
        assert value(server, "refused_total", reason="per_address") == 1
        server.wait_log(r"event=connection\.refused peer=127.0.0.1:\d+ reason=per_address")
        kept[0].close()
        until(lambda: value(server, "connections") == 2, 10, "one has gone")
        kept[0] = server.client()
        assert kept[0].post(echo(1)).status == 200
    finally:
        for c in kept:
            c.close()


def test_rate_of_a_token(serve, callers, as_caller):
    callers.sections["alice"]["rate"] = "5/h"
    server = serve()
    alice, bob = as_caller(server, "alice"), as_caller(server, "bob")
    assert [alice.post(echo(1)).status for _ in range(4)] == [200] * 4
    r = alice.post(batch(2))
    assert r.status == 429 and [m["error"]["code"] for m in r.json] == [-32009] * 2
    r = until(lambda: (r := alice.post(echo(1))).status == 429 and r, 10, "no token is left")
    assert 600 < int(r.headers["retry-after"]) <= 720
    assert bob.post(batch(20)).status == 200
    server.wait_log(r"event=request\.refused .*caller=alice reason=token_rate status=429")
    assert value(server, "refused_total", reason="token_rate") >= 2
    before = value(server, "refused_total", reason="unauthorized")
    assert as_caller(server).post(echo(1)).status == 401
    assert value(server, "refused_total", reason="unauthorized") == before + 1


def test_what_a_token_is_refused_costs_the_address_nothing(serve, callers, as_caller):
    callers.sections["alice"]["rate"] = "5/h"
    server = serve({**ALL, "server.rate": "60/h"})
    with WsClient(server.port, headers={"Authorization": f"Bearer {callers.tokens['alice']}"}) as c:
        c.call("test.echo", {"n": 1})
        assert "result" in c.message()
        for _ in range(12):  # sixty, of a hundred that nobody has
            c.send([{"id": i, "method": "test.echo"} for i in range(5)])
            assert [m["error"]["code"] for m in c.message()] == [-32009] * 5
    assert as_caller(server, "bob").post(batch(40)).status == 200


def test_messages_of_a_websocket_count(make_server):
    server = make_server({**ALL, "server.rate": "10/h"})  # the start has used one, the handshake uses one
    with WsClient(server.port) as c:
        for i in range(4):
            c.call("test.echo", {"n": i}, id=i)
            assert c.message()["result"] == {"n": i}
        c.send([{"id": i, "method": "test.echo"} for i in range(5)])
        assert [(m["id"], m["error"]["code"]) for m in c.message()] == [(i, -32009) for i in range(5)]
        refused = 0
        for i in range(10):
            c.call("test.echo", {"n": i}, id=i)
            reply = c.message()
            assert reply["id"] == i
            refused += "error" in reply and reply["error"]["code"] == -32009
    assert refused == 6
    assert value(server, "refused_total", reason="rate") == refused + 1


def test_every_reason_is_counted(make_server):
    server = make_server({"server.max_body": "1K"})
    text = {"Content-Type": "text/plain"}
    port = server.port
    for _ in range(2):
        assert ask(port, "/nowhere", "{}")[0] == 404
        assert ask(port, "/api")[0] == 405
        assert ask(port, "/api", "{}", headers=text)[0] == 415
        assert ask(port, "/api", "x" * 2000)[0] == 413
        with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
            s.sendall(b"NONSENSE\r\n\r\n")
            assert s.recv(65536).startswith(b"HTTP/1.1 400 ")
    for reason in ("path", "method", "content_type", "too_large", "malformed"):
        assert value(server, "refused_total", reason=reason) == 2, reason
        server.wait_log(rf"event=request\.refused .*reason={reason} ")
    for status in (404, 405, 415, 413, 400):
        assert value(server, "http_requests_total", status=str(status)) == 2, status
    assert len(re.findall(r"event=request\.refused .*reason=path ", server.log())) == 1, "a line a second"


def test_durations_and_bytes(make_server, receiver):
    server = make_server()
    with server.client() as c:
        before = metrics(server)
        c.post(echo(1))
        c.post(batch(3))
        c.call("test.echo", {"n": 1}, callback=receiver.url("/x"))
        c.post(b'{"id":1,"method":"rpc.discover"}')
        c.post(b"{")
        after = metrics(server)
    for kind in ("call", "batch", "job", "builtin", "invalid"):
        name = f'ringback_request_duration_seconds_count{{kind="{kind}"}}'
        assert after[name] - before[name] == 1, kind
        assert after[f'ringback_request_duration_seconds_sum{{kind="{kind}"}}'] > 0
        bucket = f'ringback_request_duration_seconds_bucket{{kind="{kind}",le="+Inf"}}'
        assert after[bucket] == after[name]
    assert after["ringback_received_bytes_total"] > before["ringback_received_bytes_total"]
    assert after["ringback_sent_bytes_total"] > before["ringback_sent_bytes_total"]
    assert after["ringback_connections"] == 1
    assert after['ringback_http_requests_total{status="200"}'] - before['ringback_http_requests_total{status="200"}'] == 5
    stats = json.loads(ask(admin_port(server), "/rpc", '{"id":1,"method":"rpc.stats"}')[1])["result"]
    assert stats["http_requests"]["200"] >= 5 and stats["refused_requests"]["rate"] == 0
