# SPDX-License-Identifier: Apache-2.0
"""The contract of one exchange: request, acknowledgement, callback, and what is refused."""
import json
import re
import socket
import time

import pytest

from lib.server import Server
from lib.wait import until

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory, ca):
    """One server for the tests that leave no trace in it."""
    s = Server(tmp_path_factory.mktemp("shared"), ca.pem, {"method.max_result": "1K"}).start()
    yield s
    s.stop()
    s.check_sanitizers()


@pytest.fixture
def client(shared):
    with shared.client() as c:
        yield c


# --- the three messages -------------------------------------------------------------

def order(url, head=b""):
    return (b'{%s"id":"example_order","method":"OrderService.processOrder",'
            b'"params":{"orderId":"12345","$rpc.callback":"%s"}}' % (head, url.encode()))


RESULT = (b'{%s"id":"example_order","result":{"orderId":"12345","status":"completed",'
          b'"totalAmount":99.99,"message":"Your order has been processed successfully."}}')


@pytest.mark.parametrize("head", [b"", b'"jsonrpc":"2.0",'], ids=["plain", "jsonrpc"])
def test_three_messages_byte_for_byte(client, receiver, head):
    url = receiver.url("/order/callback")
    reply = client.post(order(url, head))
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.body == (b'{%s"id":"example_order","result":{"callback":{"url":"%s","status":true,'
                          b'"data":[]}}}' % (head, url.encode()))
    assert len(reply.jobs) == 1 and UUID7.fullmatch(reply.jobs[0])
    posts = receiver.wait(1)
    assert posts[0].body == RESULT % head
    assert posts[0].target == "/order/callback"


def test_receipt_names_the_job(client, receiver):
    reply = client.call("test.echo", {"a": 1}, callback=receiver.url(), receipt=True)
    assert reply.json["result"]["callback"]["data"] == [{"job": reply.jobs[0]}]
    assert receiver.wait(1)[0].webhook_id == reply.jobs[0]


def test_headers_of_the_callback(client, receiver):
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
             "tracestate": "vendor=x", "X-Request-Id": "req-7", "X-Correlation-Id": "cor-9"}
    secret = {"Authorization": "Bearer s3cret", "Cookie": "sid=s3cret", "X-Api-Key": "s3cret",
              "Proxy-Authorization": "Basic s3cret"}
    before = int(time.time())
    reply = client.call("test.echo", {}, callback=receiver.url("/h?q=1"), headers={**trace, **secret})
    post = receiver.wait(1)[0]
    h = post.headers
    assert h["webhook-id"] == reply.jobs[0]
    assert before <= int(h["webhook-timestamp"]) <= time.time() + 1
    assert h["ringback-attempt"] == "1"
    assert re.fullmatch(r"ringback/\d+\.\d+\.\d+\S*", h["user-agent"])
    assert h["content-type"] == "application/json"
    assert h["host"] == f"127.0.0.1:{receiver.port}"
    assert post.target == "/h?q=1"
    for name, value in trace.items():
        assert h[name.lower()] == value
    assert b"s3cret" not in post.head and b"authorization" not in post.head.lower()
    assert b"cookie" not in post.head.lower()


def test_a_repeated_header_is_forwarded_once(client, receiver):
    body = (b'{"id":1,"method":"test.echo","params":{"$rpc.callback":"%s"}}' % receiver.url().encode())
    lines = b"".join(b"X-Request-Id: r%d\r\n" % i for i in range(50))
    with socket.create_connection(client.addr) as s:
        s.sendall(b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s"
                  b"tracestate: a\xe9b\r\nContent-Length: %d\r\n\r\n%s" % (lines, len(body), body))
        assert s.recv(12).endswith(b" 200")
        head = receiver.wait(1)[0].head
    assert head.lower().count(b"x-request-id") == 1 and b"X-Request-Id: r0\r\n" in head
    assert b"tracestate" not in head  # not visible ASCII


@pytest.mark.parametrize("ray, sent", [("ray-1", "ray-1"), (12345678901234567890, "12345678901234567890")])
def test_ray_id_goes_before_the_request_id(client, receiver, ray, sent):
    client.call("test.echo", {}, callback=receiver.url(), rayId=ray, headers={"X-Request-Id": "other"})
    assert receiver.wait(1)[0].headers["x-request-id"] == sent


@pytest.mark.parametrize("id_json", [b"1.50", b"-0", b"123456789012345678901234567890", b'"\\u00e9"', b"null",
                                     b"1E5"])
def test_id_and_numbers_keep_their_digits(client, receiver, id_json):
    reply = client.post(b'{"id":%s,"method":"test.echo","params":{"n":[1.10,1e400,99.990,-0],"$rpc.callback":"%s"}}'
                        % (id_json, receiver.url().encode()))
    assert reply.body.startswith(b'{"id":%s,"result":{"callback":' % id_json)
    assert receiver.wait(1)[0].body == b'{"id":%s,"result":{"n":[1.10,1e400,99.990,-0]}}' % id_json


@pytest.mark.parametrize("body", [
    b'{"id":1,"method":"test.echo","params":{"a":1,"$rpc.callback":"URL"}}',
    b'{"id":1,"method":"test.echo","params":{"a":1,"$rpc":{"callback":"URL"}}}',
    b'{"id":1,"method":"test.echo","params":{"a":1},"$rpc.callback":"URL"}',
    b'{"id":1,"method":"test.echo","params":{"a":1},"$rpc":{"callback":"URL"}}',
    b'{"id":1,"method":"test.echo","params":{"$rpc\\u002ecallback":"URL","a":1}}',
], ids=["dotted", "nested", "beside", "nested beside", "escaped"])
def test_spellings_of_the_callback(client, receiver, body):
    reply = client.post(body.replace(b"URL", receiver.url().encode()))
    assert reply.json["result"]["callback"]["status"] is True
    assert receiver.wait(1)[0].body == b'{"id":1,"result":{"a":1}}'


def test_positional_params_with_callback(client, receiver):
    client.post(b'{"id":1,"method":"subtract","params":[42,23],"$rpc.callback":"%s"}' % receiver.url().encode())
    assert receiver.wait(1)[0].body == b'{"id":1,"result":19}'


def test_callback_twice_is_refused(client, receiver):
    url = receiver.url().encode()
    reply = client.post(b'{"id":1,"method":"test.echo","params":{"$rpc.callback":"%s"},'
                        b'"$rpc":{"callback":"%s"}}' % (url, url))
    assert reply.error["code"] == -32602 and "callback" in str(reply.error["data"])


# --- the promise of at once -----------------------------------------------------------

def test_slow_method_is_acknowledged_at_once(client, receiver):
    """As soon as one that takes no time: what the disk takes of both, this machine knows."""
    took, start = {"test.echo": [], "demo.sleep": []}, time.time_ns()
    for i in range(7):
        for method, times in took.items():
            t = time.monotonic()
            reply = client.call(method, {"seconds": 2}, id=i, callback=receiver.url(f"/{method}"))
            times.append(time.monotonic() - t)
            assert reply.json["result"]["callback"]["status"] is True
    quick, slow = (sorted(times)[3] for times in took.values())
    assert slow < quick + 0.050, took
    posts = receiver.wait(7, "/demo.sleep")
    assert posts[0].ns - start > 1.9e9, "the method took its two seconds"


def test_error_of_a_method_is_delivered(client, receiver):
    reply = client.call("demo.fail", {"code": 7, "message": "out of stock"}, callback=receiver.url())
    assert reply.json["result"]["callback"]["status"] is True
    error = json.loads(receiver.wait(1)[0].body)["error"]
    assert (error["code"], error["message"]) == (7, "out of stock")


def test_answer_from_another_thread(client, receiver):
    assert client.call("test.late", {"ms": 20}).json["result"] == {"ms": 20}
    client.call("test.late", {"ms": 30}, callback=receiver.url())
    assert receiver.wait(1)[0].body == b'{"id":1,"result":{"ms":30}}'


def test_method_is_told_job_and_run(client, receiver):
    assert client.call("test.whoami").json["result"] == {"job": None, "run": 1}
    reply = client.call("test.whoami", callback=receiver.url())
    assert receiver.wait(1)[0].body == b'{"id":1,"result":{"job":"%s","run":1}}' % reply.jobs[0].encode()


def test_delay(client, receiver):
    t = time.time_ns()
    client.call("test.echo", {"late": True}, callback=receiver.url(), delay=1)
    client.call("test.echo", {"late": False}, callback=receiver.url())
    posts = receiver.wait(2)
    assert [b"true" in p.body for p in posts] == [False, True]
    assert 1e9 <= posts[1].ns - t < 8e9


# --- notifications and batches ---------------------------------------------------------

def test_notification_is_204(client):
    reply = client.notify("test.echo", {"a": 1})
    assert (reply.status, reply.body, reply.jobs) == (204, b"", [])
    for body in (b'{"method":"no.such"}', b'{"method":"test.echo","params":{"$rpc.calback":1}}'):
        assert client.post(body).status == 204, "its faults are logged, never answered"


def test_notification_with_callback_runs_and_calls_nobody(make_server, receiver, tmp_path):
    journal = tmp_path / "journal"
    server = make_server(env={"RBK_JOURNAL": str(journal)})
    with server.client() as c:
        assert c.notify("test.journal", {}, callback=receiver.url("/never")).status == 204
        until(lambda: journal.exists() and journal.read_text().count("\n") == 1, 20, "the notification ran")
        c.call("test.echo", {}, callback=receiver.url("/fence"))
    receiver.wait(1, "/fence")
    server.stop()
    assert receiver.at("/never") == []


def test_mixed_batch_answers_in_order(client, receiver):
    url = receiver.url()
    reply = client.post([
        {"id": 1, "method": "subtract", "params": [5, 3]},
        {"id": 2, "method": "test.echo", "params": {"x": 2, "$rpc.callback": url}},
        {"method": "test.echo", "params": {"quiet": 1}},
        17,
        {"id": 3, "method": "no.such"},
        {"id": 4, "method": "test.echo", "params": {"$rpc.callback": "https://10.0.0.1/"}},
        {"id": 5, "method": "test.echo", "params": {"x": 5, "$rpc.callback": url}},
    ])
    assert reply.status == 200
    answers = reply.json
    assert [a["id"] for a in answers] == [1, 2, None, 3, 4, 5]
    assert answers[0]["result"] == 2
    assert [a["error"]["code"] for a in answers if "error" in a] == [-32600, -32601, -32602]
    assert answers[1]["result"]["callback"]["url"] == url
    assert len(reply.jobs) == 2 and reply.jobs == sorted(reply.jobs)
    posts = receiver.wait(2)
    assert {p.webhook_id: p.body for p in posts} == {
        reply.jobs[0]: b'{"id":2,"result":{"x":2}}', reply.jobs[1]: b'{"id":5,"result":{"x":5}}'}


def test_batch_over_the_limit_runs_nothing(client, receiver):
    one = {"id": 1, "method": "test.echo", "params": {"$rpc.callback": receiver.url()}}
    assert client.post([one] * 1001).error["code"] == -32010
    assert len(client.post([one] * 3).jobs) == 3
    receiver.wait(3)
    assert len(receiver.posts) == 3


def test_at_most_64_jobs_are_named(client, receiver):
    reply = client.post([{"id": i, "method": "test.echo", "params": {"$rpc.callback": receiver.url()}}
                         for i in range(100)])
    assert len(reply.jobs) == 64 and len(set(reply.jobs)) == 64
    posts = receiver.wait(100)
    assert set(reply.jobs) < {p.webhook_id for p in posts}


# --- limits of time and size -------------------------------------------------------------

def test_timeout_is_answered_and_delivered(client, receiver):
    t = time.monotonic()
    sync = client.call("demo.sleep", {"seconds": 3}, timeout=0.3)
    assert sync.error["code"] == -32002 and sync.error["message"] == "Timed out"
    assert 0.25 < time.monotonic() - t < 2.5
    reply = client.call("demo.sleep", {"seconds": 3}, callback=receiver.url(), timeout=0.3)
    assert reply.json["result"]["callback"]["status"] is True
    assert receiver.wait(1)[0].body == b'{"id":1,"error":{"code":-32002,"message":"Timed out"}}'


def test_timeout_of_the_configuration(make_server, receiver):
    server = make_server({'method."demo.sleep".timeout': "300ms",
                          'method."demo.sleep".module': None})
    server.stop()
    server.options['method."demo.sleep".module'] = server.options['method."demo.*".module']
    server.start()
    with server.client() as c:
        assert c.call("demo.sleep", {"seconds": 3}).error["code"] == -32002


@pytest.mark.parametrize("bytes_, ok", [(1024, True), (1025, False)])
def test_max_result(client, receiver, bytes_, ok):
    reply = client.call("test.big", {"bytes": bytes_})
    assert ("result" in reply.json) == ok
    client.call("test.big", {"bytes": bytes_}, callback=receiver.url())
    body = receiver.wait(1)[0].body
    if ok:
        assert len(body) > 1000
    else:
        assert reply.error["code"] == -32008
        assert body == b'{"id":1,"error":{"code":-32008,"message":"Result too large"}}'


# --- what is refused before the acknowledgement --------------------------------------------

def test_unknown_method(client, receiver):
    reply = client.call("No.Such", {}, callback=receiver.url())
    assert reply.error["code"] == -32601 and reply.error["message"] == "Method not found"
    assert reply.jobs == []


LONG = "https://127.0.0.1:9000/" + "a" * (2049 - len("https://127.0.0.1:9000/"))

# A spelling of an address that only some readers understand: refused, whatever it is called.
ODD = re.compile("invalid URL|host not allowed|address not allowed")

REFUSED = [
    (1, "must be a non-empty string"), (True, "must be a non-empty string"),
    ({}, "must be a non-empty string"), (["https://h.example/"], "must be a non-empty string"),
    (None, "must be a non-empty string"), ("", "must be a non-empty string"),
    (LONG, "too long"),
    ("https://h.example/\n", "invalid URL"), ("\thttps://h.example/", "invalid URL"),
    ("https://h.example/\x7f", "invalid URL"),
    ("example.com/callback", "must have a protocol"), ("//example.com/", "must have a protocol"),
    ("http://example.com/", "invalid protocol: http is not encrypted, use https"),
    ("HTTP://example.com/", "invalid protocol: http is not encrypted, use https"),
    ("ftp://example.com/", re.compile(r"invalid protocol: only .*https.* (is|are) supported")),
    ("javascript:alert(1)", re.compile(r"invalid protocol: only .*https.* (is|are) supported")),
    ("https://user@example.com/", "user info not allowed"),
    ("https://user:pw@example.com/", "user info not allowed"),
    ("https://example.com/#x", "invalid URL"), ("https://example.com/a b", "invalid URL"),
    ("https://example.com\\a", "invalid URL"), ("https://ex\u00e4mple.com/", "invalid URL"),
    ("https:///path", "invalid URL"), ("https:example.com", "invalid URL"),
    ("https://0x7f.1/", ODD), ("https://127.1/", ODD), ("https://2130706433/", ODD), ("https://0177.0.0.1/", ODD),
    ("https://[::1/", "invalid URL"), ("https://[v1.x]/", "invalid URL"),
    ("https://[fe80::1%25eth0]/", "invalid URL"),
    ("https://example.com:99999/", re.compile("invalid URL|port not allowed")),
    ("https://example.com/%zz", "invalid URL"),
    ("https://example.com:22/", "port not allowed"), ("https://example.com:80/", "port not allowed"),
    ("https://example.com:6000/", "port not allowed"),
    ("https://localhost/", "host not allowed"), ("https://LocalHost./", "host not allowed"),
    ("https://intranet/", "host not allowed"), ("https://printer.local/", "host not allowed"),
    ("https://db.internal/", "host not allowed"), ("https://x.localhost/", "host not allowed"),
    ("https://metadata.google.internal/", "host not allowed"),
    ("https://10.0.0.1/", "address not allowed"), ("https://192.168.1.1/", "address not allowed"),
    ("https://169.254.169.254/latest", "address not allowed"), ("https://0.0.0.0/", "address not allowed"),
    ("https://224.0.0.1/", "address not allowed"), ("https://168.63.129.16/", "address not allowed"),
    ("https://[::1]/", "address not allowed"), ("https://[fd00::1]/", "address not allowed"),
    ("https://[::ffff:10.0.0.1]/", "address not allowed"), ("https://[64:ff9b::7f00:1]/", "address not allowed"),
]


@pytest.mark.parametrize("dsn, reason", REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_refused_callbacks(client, dsn, reason):
    reply = client.call("test.echo", {}, callback=dsn)
    assert reply.status == 200, reply
    error = reply.error
    assert (error["code"], error["message"]) == (-32602, "Invalid params"), dsn
    given = error["data"]["$rpc.callback"]
    assert list(error["data"]) == ["$rpc.callback"]
    assert reason.fullmatch(given) if hasattr(reason, "fullmatch") else given == reason, (dsn, given)
    assert reply.jobs == []


@pytest.mark.parametrize("body", [
    b'{"id":1,"method":"test.echo","params":{"$rpc.callback":"https://h.example/\\u0000"}}',
    b'{"id":1,"method":"test.echo","params":{"$rpc.callback":"\\u0000"}}'])
def test_nul_in_a_callback(client, body):
    assert client.post(body).error["data"] == {"$rpc.callback": "invalid URL"}


def test_the_servers_own_address_is_refused(client, shared):
    reply = client.call("test.echo", {}, callback=f"https://127.0.0.1:{shared.port}/api")
    assert reply.error["data"] == {"$rpc.callback": "address not allowed"}


def test_policy_options(make_server, receiver):
    server = make_server({"callback.hosts": "127.0.0.1,127.0.0.2,*.example.org,localhost",
                          "callback.deny": "127.0.0.2/32"})
    with server.client() as c:
        def reason(dsn):
            reply = c.call("test.echo", {}, callback=dsn, delay=86400)
            return reply.error["data"]["$rpc.callback"] if "error" in reply.json else None
        assert reason("https://example.com/") == "host not allowed"
        assert reason("https://a.b.example.org/") == "host not allowed"
        assert reason("https://127.0.0.2:8443/") == "address not allowed"
        assert reason("https://Hook.Example.ORG./x") is None
        assert reason("https://localhost:8443/") is None
        assert reason(receiver.url()) is None


def test_misspelt_service_parameters_are_refused(client, receiver):
    for name in ("calback", "Callback", "", "timeOut"):
        reply = client.call("test.echo", {}, **{name: receiver.url()})
        assert reply.error["code"] == -32602 and f"$rpc.{name}" in reply.error["data"], name


@pytest.mark.parametrize("name, value", [
    ("timeout", 0.01), ("timeout", 3601), ("timeout", "1"), ("delay", -1), ("delay", 30 * 86400 + 1), ("delay", "1"),
    ("receipt", 1), ("rayId", ""), ("rayId", "a b"), ("rayId", "x" * 129), ("rayId", 1.5), ("ignoreCache", "yes"),
    ("events", "progress"), ("events", ["delivery"]), ("events", ["progress", 1]), ("events", {"progress": True})])
def test_values_out_of_range(client, receiver, name, value):
    reply = client.call("test.echo", {}, callback=receiver.url(), **{name: value})
    assert reply.error["code"] == -32602 and f"$rpc.{name}" in reply.error["data"], reply


def test_parameters_that_want_a_callback(client):
    for name, value in (("delay", 1), ("receipt", True)):
        reply = client.call("test.echo", {}, **{name: value})
        assert reply.error["code"] == -32602 and f"$rpc.{name}" in reply.error["data"]
    for name, value in (("timeout", 5), ("rayId", "r"), ("ignoreCache", True)):
        assert client.call("test.echo", {"a": 1}, **{name: value}).json["result"] == {"a": 1}


# --- HTTP --------------------------------------------------------------------------------

def test_http_statuses(client):
    assert client.post(b"{}", content_type="text/plain").status == 415
    assert client.post(b'{"id":1,"method":"get_data"}', content_type="application/json-rpc").status == 200
    assert client.post(b'{"id":1,"method":"get_data"}', content_type="application/json; charset=utf-8").status == 200
    client.path = "/other"
    assert client.post(b"{}").status == 404
    client.path = "/api"
    client.send(b"GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n")
    reply = client.receive()
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    client.close()
    client.send(b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n")
    reply = client.receive()
    assert reply.status == 413


def test_pipelined_answers_come_in_order(client):
    one = b'{"id":%d,"method":"%s","params":{"ms":%d}}'
    for i, (method, ms) in enumerate(((b"test.late", 60), (b"test.echo", 0), (b"test.late", 20), (b"test.echo", 0))):
        body = one % (i, method, ms)
        client.send(b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    assert [client.receive().json["id"] for _ in range(4)] == [0, 1, 2, 3]


def test_slow_bytes_make_no_difference(client, receiver):
    body = order(receiver.url())
    text = (b"POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 7]), body[i:i + 7]) for i in range(0, len(body), 7))
            + b"0\r\n\r\n")
    for i in range(len(text)):
        client.send(text[i:i + 1])
    assert client.receive().json["result"]["callback"]["status"] is True
    assert receiver.wait(1)[0].body == RESULT % b""
