# SPDX-License-Identifier: Apache-2.0
"""The request vectors against the real server: whole and byte by byte, a smuggled request behind each
refused one and two more behind each accepted one; the table of framing rules; every limit at the
limit and one past it. lib/lint.py looks at each answer."""
import json

import pytest

from lib.raw import Raw, exchange, post
from lib.server import Server, root

PATH = "/rpc"  # that of the vectors
LONG = 1 << 16  # cut in larger pieces
EMPTY = -32600  # what the body {} is told


def vectors():
    found = []
    for name in ("te-mutations.json", "ringback-http.json"):
        cases = json.loads((root() / "tests/data/http" / name).read_text())["cases"]
        found += [c for c in cases if "input" in c or "steps" in c]
    assert len(found) == 101
    return found


def bytes_of(case):
    text = case.get("input", "")
    for s in case.get("steps", ()):
        text += s["prefix"] + s["repeat"] * s["times"] + s["suffix"]
    if "Content-Type" not in text:  # else 415 would hide what is meant
        text = text.replace("Host: ringback.test\r\n", "Host: ringback.test\r\nContent-Type: application/json\r\n", 1)
    return text.encode("latin-1")


def canary(name):
    return post(json.dumps({"id": name, "method": "test.echo", "params": [name]}).encode(), PATH)


def is_answer(reply, name):
    return reply.status == 200 and reply.json == {"id": name, "result": [name]}


@pytest.fixture(scope="module")
def shared(tmp_path_factory, ca):
    s = Server(tmp_path_factory.mktemp("http"), ca.pem, {"server.path": PATH})
    s.start()
    yield s
    s.stop()
    s.check_sanitizers()


def check_refused(port, case, data, step):
    replies = exchange(port, data + canary("smuggled"), step)
    want = 501 if case["ringback"] == "reject_501" else 431 if case["id"] == "trailer-flood" else 400
    assert len(replies) == 1, f"{case['id']}: {replies}"
    assert replies[0].status == want and replies[0].headers["connection"] == "close"
    assert replies[0].error["code"] == -32600 and replies[0].json["id"] is None


def check_accepted(port, case, data, step):
    last = case["ringback"] == "one_answer_then_close"
    n = {"100_answers_in_order": 100}.get(case["ringback"], 1)
    with Raw(port) as c:
        assert c.push(data + canary("one") + canary("two"), step)
        for _ in range(n):
            reply = c.receive()
            assert reply.status == 200 and reply.error["code"] == EMPTY  # as 0 is, the body of the mutations
        if last:
            assert reply.headers["connection"] == "close" and c.all() == []
            return
        assert is_answer(c.receive(), "one") and is_answer(c.receive(), "two")


@pytest.mark.parametrize("case", vectors(), ids=lambda c: c["id"])
def test_vectors(shared, case):
    data = bytes_of(case)
    check = check_refused if case["ringback"].startswith("reject") else check_accepted
    for step in (None, 1 if len(data) < LONG else 1021):
        check(shared.port, case, data, step)
    with Raw(shared.port) as c:
        c.push(canary("next"))
        assert is_answer(c.receive(), "next")


# --- what the vectors leave out ------------------------------------------------------------------

HOST = "Host: a.test\r\n"
JSON = "Content-Type: application/json\r\n"
POST = f"POST {PATH} HTTP/1.1\r\n{HOST}{JSON}"

RULES = {
    "no host": ("POST /rpc HTTP/1.1\r\n\r\n", 400),
    "two hosts": (POST + HOST + "\r\n", 400),
    "bad host": ("POST /rpc HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "folded line": (POST + "X: y\r\n z\r\n\r\n", 400),
    "blank before the first header": ("POST /rpc HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "blank before the colon": (POST + "X : y\r\n\r\n", 400),
    "bare CR": (POST + "X: y\rZ: 1\r\n\r\n", 400),
    "bare LF": (POST.replace("\r\n", "\n") + "\n", 400),
    "NUL in a value": (POST + "X: a\0b\r\n\r\n", 400),
    "ESC in a value": (POST + "X: a\x1b[31mb\r\n\r\n", 400),
    "DEL in a value": (POST + "X: a\x7fb\r\n\r\n", 400),
    "both framings": (POST + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", 400),
    "chunked not last": (POST + "Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    "unknown coding": (POST + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "chunked in 1.0": (POST.replace("1.1", "1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked with a parameter": (POST + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400),
    "length is no number": (POST + "Content-Length: 0x2\r\n\r\n{}", 400),
    "length twice": (POST + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "list of lengths": (POST + "Content-Length: 2, 2\r\n\r\n{}", 400),
    "two empty lines": ("\r\n\r\n" + POST + "Content-Length: 2\r\n\r\n{}", 400),
    "unknown method": (POST.replace("POST", "FROB") + "\r\n", 501),
    "method in small letters": (POST.replace("POST", "post") + "\r\n", 501),
    "other method": (f"GET {PATH} HTTP/1.1\r\n{HOST}\r\n", 405),
    "other path": (POST.replace(PATH, "/other") + "\r\n", 404),
    "version in small letters": (POST.replace("HTTP/1.1", "http/1.1") + "\r\n", 400),
    "version 2.0": (POST.replace("HTTP/1.1", "HTTP/2.0") + "\r\n", 505),
    "other expectation": (POST + "Expect: tea\r\nContent-Length: 2\r\n\r\n", 417),
    "content coding": (POST + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415),
    "no content type": (f"POST {PATH} HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\n{{}}", 415),
    "text/plain": (POST.replace("application/json", "text/plain") + "Content-Length: 2\r\n\r\n{}", 415),
    "body over the limit": (POST + f"Content-Length: {(1 << 20) + 1}\r\n\r\n", 413),
    "chunk over the limit": (POST + "Transfer-Encoding: chunked\r\n\r\n100001\r\n", 413),
    "digits of a chunk": (POST + "Transfer-Encoding: chunked\r\n\r\n" + "0" * 17 + "\r\n\r\n", 400),
    "extensions of chunks": (POST + "Transfer-Encoding: chunked\r\n\r\n" + ("1;" + "a" * 2047 + "\r\n{\r\n") * 3, 400),
    "long request line": (f"POST {PATH}?{'a' * 8192} HTTP/1.1\r\n", 414),
    "long header line": (POST + "X: " + "a" * 8192 + "\r\n", 431),
    "many header lines": (POST + "".join(f"X{i}: y\r\n" for i in range(99)) + "\r\n", 431),
    "large header section": (POST + f"X: {'a' * 8000}\r\n" * 5, 431),
}

ACCEPTED = {
    "request line at the limit": f"POST {PATH}?{'a' * (8192 - 15 - len(PATH))} HTTP/1.1\r\n{HOST}{JSON}Content-Length: 2\r\n\r\n{{}}",
    "header line at the limit": POST + f"X: {'a' * 8189}\r\nContent-Length: 2\r\n\r\n{{}}",
    "header lines at the limit": POST + "".join(f"X{i}: y\r\n" for i in range(97)) + "Content-Length: 2\r\n\r\n{}",
    "charset": POST.replace("json", "json; charset=utf-8") + "Content-Length: 2\r\n\r\n{}",
    "application/json-rpc": POST.replace("json", "json-rpc") + "Content-Length: 2\r\n\r\n{}",
    "chunk extensions": POST + 'Transfer-Encoding: chunked\r\n\r\n1;a;b=c\r\n{\r\n1;d="}\\""\r\n}\r\n0;e\r\n\r\n',
    "trailers": POST + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 9\r\nHost: evil\r\n\r\n",
    "old cookie and range": POST + "Cookie: a=b\r\nRange: bytes=" + ",".join(f"{i}-{i}" for i in range(1000)) +
    "\r\nContent-Length: 2\r\n\r\n{}",
    "absolute form": POST.replace(PATH, "http://a.test" + PATH) + "Content-Length: 2\r\n\r\n{}",
    "upgrade to h2c": POST + "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", RULES)
def test_rules(shared, name):
    text, status = RULES[name]
    for step in (None, 1 if len(text) < 2048 else 509):
        replies = exchange(shared.port, text.encode("latin-1") + canary("smuggled"), step)
        assert [r.status for r in replies] == [status], name
        assert replies[0].headers["connection"] == "close" and "error" in replies[0].json


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(shared, name):
    for step in (None, 1 if len(ACCEPTED[name]) < 2048 else 509):
        with Raw(shared.port) as c:
            assert c.push(ACCEPTED[name].encode("latin-1") + canary("one"), step)
            assert c.receive().error["code"] == EMPTY
            assert is_answer(c.receive(), "one")


def test_expect_continue(shared):
    with Raw(shared.port) as c:
        c.push((POST + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n").encode())
        assert c.receive().status == 100
        c.push(b"{}" + canary("one"))
        assert c.receive().error["code"] == EMPTY and is_answer(c.receive(), "one")


def test_http_1_0(shared):
    """Closed after the answer, unless it asks to stay."""
    for line, closes in (("", True), ("Connection: keep-alive\r\n", False)):
        with Raw(shared.port) as c:
            c.push((POST.replace("HTTP/1.1", "HTTP/1.0") + line + "Content-Length: 2\r\n\r\n{}").encode())
            reply = c.receive()
            assert reply.headers["connection"] == ("close" if closes else "keep-alive")
            assert not closes or c.ended()


def test_body_and_batch_at_the_limit(shared):
    with shared.client() as c:
        whole = b'{"id":1,"method":"test.echo"}'
        assert c.post(whole.ljust((1 << 20))).json == {"id": 1, "result": None}
        reply = c.post(whole.ljust((1 << 20) + 1))
        assert reply.status == 413 and reply.error["code"] == -32007
        for n, code in ((1000, None), (1001, -32010)):
            reply = c.post(b"[" + b",".join([whole] * n) + b"]")
            assert reply.status == 200
            assert len(reply.json) == n if code is None else reply.error["code"] == code


def test_no_body_where_none_may_be(shared):
    with Raw(shared.port) as c:
        c.push(post(b'{"method":"test.echo"}', PATH) + canary("one"))
        reply = c.receive()
        assert (reply.status, reply.body) == (204, b"")
        assert is_answer(c.receive(), "one")
        c.push(f"GET /.well-known/jwks.json HTTP/1.1\r\n{HOST}\r\n".encode())
        size = len(c.receive().body)
        c.push(f"HEAD /.well-known/jwks.json HTTP/1.1\r\n{HOST}\r\n".encode() + canary("two"))
        reply = c.receive(head_only=True)
        assert reply.headers["content-length"] == str(size) and size > 0
        assert is_answer(c.receive(), "two")
