# SPDX-License-Identifier: Apache-2.0
"""What a caller writes goes into no header line and no log line as it is: line ends, escapes of a
terminal and Unicode's own line ends, in every place that takes text."""
import json

import pytest

from lib.lint import fields_of, lint_log
from lib.raw import Raw, exchange, post
from lib.receiver import Answer

EVIL = "a\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200 OK\n\x1b[31mtime=2026-01-01T00:00:00.000Z level=info event=evil.event x=1\u2028\x00\x85\u009b\x7f"


def requests(url):
    """Bodies with EVIL in every place that is text."""
    yield {"id": EVIL, "method": "test.echo", "params": [EVIL]}
    yield {"id": EVIL, "method": EVIL}
    yield {"id": 1, "method": "rpc." + EVIL}
    yield {"method": EVIL}
    yield {"method": "test.echo", "params": {"$rpc.callback": EVIL}}
    yield {"id": EVIL, "jsonrpc": EVIL, "method": "test.echo"}
    yield {"id": 1, "method": "test.echo", EVIL: 1, "params": {EVIL: EVIL}}
    for host in (EVIL, "https://" + EVIL, "https://example.com/" + EVIL, "https://example.com/?" + EVIL, EVIL + "://a"):
        yield {"id": 1, "method": "test.echo", "params": {"$rpc.callback": host}}
    yield {"id": 1, "method": "test.echo", "params": {"$rpc." + EVIL: 1}}
    yield {"id": 1, "method": "test.echo", "params": {"$rpc": {EVIL: 1}}}
    for name in ("rayId", "idempotencyKey", "key", "deadline", "failureCallback", "events"):
        value = [EVIL] if name == "events" else EVIL
        yield {"id": EVIL, "method": "test.echo", "params": {"$rpc.callback": url, "$rpc." + name: value}}


def lines():
    """Header lines and targets with what HTTP lets through: all but control bytes."""
    shy = "\u2028\x85\u009b".encode()
    yield b"POST /api?" + b"%0d%0aX-Evil:%201", (b"X-Request-Id: %0d%0a" + shy, b"traceparent: " + shy + b"\t" + shy)
    yield b"POST /api", (b"Authorization: Bearer %0d%0a" + shy, b"Cookie: " + shy)
    yield b"POST /api", (b"Content-Type: application/json; a=" + shy,)
    yield b"POST /%0d%0aX-Evil:1", ()
    yield b"POST /api", (b"Prefer: wait=" + shy,)


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_nothing_raw_in_headers_and_logs(make_server, receiver, form):
    server = make_server({"log.format": form, "log.level": "debug", "delivery.schedule": "30s"})
    receiver.answer = Answer(200, headers={"X-Answer": "\x85\x9b"})
    answers = []
    for escaped in (True, False):
        for rq in requests(receiver.url("/hook")):
            body = json.dumps(rq, ensure_ascii=escaped).encode()
            with server.client() as c:
                answers.append(c.post(body))
    with server.client() as c:
        c.call("test.echo", id=EVIL, callback=receiver.url("/hook?a=%0d%0a"))
    for first, headers in lines():
        host = f"Host: 127.0.0.1:{server.port}".encode()
        body = json.dumps({"id": EVIL, "method": "test.echo", "params": {"$rpc.callback": receiver.url()}}).encode()
        kind = () if any(h.startswith(b"Content-Type") for h in headers) else (b"Content-Type: application/json",)
        data = b"\r\n".join((first + b" HTTP/1.1", host, *kind, *headers, b"Content-Length: %d" % len(body),
                             b"Connection: close", b"", body))
        answers += exchange(server.port, data)
    for a in answers:
        names = {n for n, _ in fields_of(a.head)}
        assert names <= {b"date", b"content-type", b"content-length", b"connection", b"ringback-job",
                         b"preference-applied"}, a.head
        assert b"evil" not in a.head.lower() and b"\r\nX-Evil" not in a.body, a
    accepted = sum(len(a.jobs) for a in answers) + 1
    assert accepted >= 5, "no job was made: the test tests nothing"
    for p in receiver.wait(accepted, limit=30):
        assert "x-evil" not in {k.lower() for k in p.headers} and json.loads(p.body)["id"] in (EVIL, 1), p.headers
    server.wait_log(r"job\.delivered")
    server.stop()
    names = lint_log(server.log())
    assert "evil.event" not in names and {"notification.refused", "job.delivered"} <= set(names)


def test_error_data_of_methods(make_server, receiver):
    """What a method says about its failure is the caller's to read, and no header's."""
    with make_server().client() as c:
        reply = c.call("demo.fail", {"message": EVIL, "data": EVIL}, id=EVIL)
        assert reply.status == 200 and reply.json["id"] == EVIL and "error" in reply.json
        assert b"\n" not in reply.body and b"\x1b" not in reply.body and b"\0" not in reply.body


def test_smuggled_by_length(make_server):
    """The body of one request is never read as another one's head."""
    server = make_server()
    inner = post(b'{"id":"inner","method":"test.echo"}')
    outer = b'{"id":"outer","method":"test.echo","params":[' + json.dumps(inner.decode()).encode() + b"]}"
    with Raw(server.port) as c:
        for step in (None, 1):
            c.push(post(outer) + post(inner), step)
            assert c.receive().json["id"] == "outer"
            assert c.receive().error["code"] == -32700  # what stands there is no JSON
            c.push(post(b'{"id":"after","method":"test.echo"}'))
            assert c.receive().json["id"] == "after"
