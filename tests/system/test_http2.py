# SPDX-License-Identifier: Apache-2.0
"""Deliveries over HTTP/2: many on one connection, and what a receiver may do to them."""
import shutil
import socket
import subprocess
import threading

import pytest

from lib.h2_receiver import (ACK, CANCEL, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS,
                             HTTP_1_1_REQUIRED, INTERNAL_ERROR, NO_ERROR, PADDED, PING, PROTOCOL_ERROR, REFUSED_STREAM,
                             SETTINGS, H2Receiver, frame, goaway, reset, serve, settings)
from lib.proxy import Proxy
from lib.wait import until

FAST = {"delivery.schedule": "300ms", "delivery.max_age": "5m", "delivery.jitter": "0", "delivery.timeout": "5s"}
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin")


@pytest.fixture
def h2(cert):
    made = []

    def make(*plays, **kw):
        made.append(H2Receiver(cert, *plays, **kw))
        return made[-1]
    yield make
    for r in made:
        r.stop()
    faults = [f for r in made for f in r.faults]
    assert not faults, faults


def submit(server, url, n=1, size=0):
    """`n` jobs, 64 at a time in one batch: these become due together."""
    calls = [{"id": i, "method": "test.echo", "params": {"n": i, "x": "y" * size, "$rpc.callback": url}}
             for i in range(n)]
    with server.client() as c:
        jobs = [j for i in range(0, n, 64) for j in c.post(calls[i:i + 64]).jobs]
    assert len(jobs) == n
    return jobs


def finish(server, what="all jobs are done"):
    until(lambda: server.pending() == 0, 20, what)


def attempts(server):
    """Of the jobs that are done: (number of attempts, last status)"""
    return sorted(server.rows("select attempts, last_status from done"))


def failures(server, job=""):
    return [line for line in server.log().splitlines() if "event=delivery.failed" in line and job in line]


# --- the ordinary ------------------------------------------------------------------------

def test_one_delivery(make_server, h2):
    server, r = make_server(FAST), h2()
    job = submit(server, r.url("/order/callback?x=1"))[0]
    request = r.wait()[0]
    finish(server)
    assert request.pseudo == {":method": "POST", ":scheme": "https", ":path": "/order/callback?x=1",
                              ":authority": f"127.0.0.1:{r.port}"}
    assert request.headers["webhook-id"] == job and request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["ringback-attempt"] == "1"
    assert b'"n":0' in request.body
    assert request.conn.settings[2] == 0, "no pushes"
    assert not {"connection", "host", "transfer-encoding", "keep-alive"} & set(request.headers)


def test_many_on_one_connection(make_server, h2):
    """Also those that are due before anybody knows that the receiver speaks HTTP/2."""
    server, r = make_server(FAST), h2()
    jobs = submit(server, r.url(), 64)
    finish(server)
    assert sorted(q.webhook_id for q in r.requests) == sorted(jobs)
    assert r.connections == 1


@pytest.mark.parametrize("options, alpn", [({"delivery.http2": "no"}, ("h2", "http/1.1")), ({}, ("http/1.1",)), ({}, ())],
                         ids=["switched off", "not wanted", "no ALPN"])
def test_http11_where_one_side_wants_it(make_server, make_receiver, options, alpn):
    server, r = make_server({**FAST, **options}), make_receiver()
    if alpn:
        r.ctx.set_alpn_protocols(list(alpn))
    jobs = submit(server, r.url(), 8)
    r.wait(8)
    assert sorted(p.webhook_id for p in r.posts) == sorted(jobs)


@pytest.mark.parametrize("streams, connections", [(3, 2), (100, 1)], ids=["of a connection", "of a receiver"])
def test_streams_at_one_time(make_server, h2, streams, connections):
    """per_receiver counts streams, and the peer's limit is kept, by a connection more where it is small.
    The receiver answers when there are all that may be, and no sooner."""
    each = 6 // connections
    full = threading.Barrier(connections, timeout=20)

    def play(conn):
        while True:
            held = conn.hold(each)
            full.wait()
            conn.ping()  # what had been sent before the answer to it would be seen
            for q in held:
                conn.release(q)
    server = make_server({**FAST, "delivery.per_receiver": "6", "delivery.timeout": "30s"})
    r = h2(play, first=settings(max_streams=streams))
    submit(server, r.url(), 30)
    finish(server)
    assert r.most_open == each and r.connections == connections
    assert attempts(server) == [(1, 200)] * 30


def test_large_bodies(make_server, h2):
    """Of 300 KiB, through a window of 10,000 bytes that is renewed bit by bit."""
    def play(conn):
        while True:
            kind, flags, stream, payload = conn.read()
            if kind == HEADERS:
                got[stream] = b""
            elif kind == DATA:
                got[stream] += payload
                size = len(payload).to_bytes(4, "big")
                if flags & END_STREAM:
                    conn.send(frame(8, payload=size) + conn.head(stream, 200))
                else:
                    conn.send(frame(8, payload=size) + frame(8, stream=stream, payload=size))
    got = {}
    server, r = make_server({**FAST, "server.max_body": "4M"}), h2(play, first=settings(window=10000))
    submit(server, r.url(), 4, size=300_000)
    finish(server)
    assert attempts(server) == [(1, 200)] * 4 and r.connections == 1
    assert len(got) == 4 and all(len(b) > 300_000 for b in got.values())


# --- streams that end otherwise -------------------------------------------------------------

@pytest.mark.parametrize("last", ["refused", "goaway"])
def test_what_was_not_looked_at_is_sent_anew(make_server, h2, last):
    """Within the same attempt."""
    def play(conn):
        q = conn.request()
        if last == "refused":
            conn.send(reset(q.stream, REFUSED_STREAM))
            serve(conn)
        conn.send(goaway(0))
        conn.drain()
    server, r = make_server(FAST), h2(play, serve)
    job = submit(server, r.url())[0]
    finish(server)
    assert [q.webhook_id for q in r.requests] == [job] * 2
    assert [q.headers["ringback-attempt"] for q in r.requests] == ["1", "1"]
    assert attempts(server) == [(1, 200)] and failures(server) == []
    assert r.connections == (1 if last == "refused" else 2)


def test_one_that_always_refuses(make_server, h2):
    """A few times, then it is a failed attempt."""
    def play(conn):
        while True:
            conn.send(reset(conn.request().stream, REFUSED_STREAM))
    server, r = make_server({**FAST, "delivery.schedule": "1h"}), h2(play)
    job = submit(server, r.url())[0]
    until(lambda: failures(server, job), 10, "the attempt has failed")
    assert "error=CLOSED" in failures(server)[0] and "REFUSED_STREAM" in failures(server)[0]
    assert 2 <= len(r.requests) <= 5 and r.connections == 1


def test_goaway_lets_the_others_finish(make_server, h2):
    def play(conn):
        held = [conn.request() for _ in range(4)]
        conn.send(goaway(held[1].stream))
        for q in held[:2]:
            conn.answer(q)
        conn.drain()
    server, r = make_server(FAST), h2(play, serve)
    jobs = submit(server, r.url(), 4)
    finish(server)
    assert attempts(server) == [(1, 200)] * 4
    assert len(r.requests) == 6 and {q.webhook_id for q in r.requests} == set(jobs)
    assert r.connections == 2
    until(lambda: 1 in r.gone, 10, "the first connection is closed")


@pytest.mark.parametrize("code, error", [(INTERNAL_ERROR, "CLOSED"), (CANCEL, "CLOSED"), (NO_ERROR, "CLOSED"),
                                         (PROTOCOL_ERROR, "CLOSED")])
def test_reset_before_the_answer(make_server, h2, code, error):
    def play(conn):
        conn.send(reset(conn.request().stream, code))
        serve(conn)
    server, r = make_server(FAST), h2(play)
    job = submit(server, r.url())[0]
    finish(server)
    assert attempts(server) == [(2, 200)] and r.connections == 1
    assert f"error={error}" in failures(server, job)[0] and "stream reset" in failures(server)[0]


@pytest.mark.parametrize("then", [INTERNAL_ERROR, NO_ERROR, CANCEL, "silence", "the end", "too much", "bad length"])
def test_what_follows_the_head_changes_nothing(make_server, h2, then):
    def play(conn):
        q = conn.request()
        conn.send(conn.head(q.stream, 200, ("content-length", "10"), end=False))
        if then == "the end":
            return
        if then == "too much":
            conn.send(frame(DATA, stream=q.stream, payload=b"z" * 16000) + frame(DATA, stream=q.stream, payload=b"z" * 384))
        elif then == "bad length":
            conn.send(frame(DATA, END_STREAM, q.stream, b"z"))
        elif then != "silence":
            conn.send(reset(q.stream, then))
        serve(conn)
    server, r = make_server(FAST), h2(play, serve)
    submit(server, r.url())
    finish(server)
    if then != "the end":
        submit(server, r.url())
        finish(server)
        assert r.connections == 1 and len(r.requests) == 2
    assert failures(server) == []


def test_http11_is_required(make_server, h2, make_receiver):
    """RFC 9113 section 7: the receiver wants the request by HTTP/1.1; it gets it within the attempt."""
    def play(conn):
        conn.send(reset(conn.request().stream, HTTP_1_1_REQUIRED))
        conn.drain()

    def old(raw):
        s = r.context.wrap_socket(raw, server_side=True)
        r.sockets.add(s)
        chosen.append(s.selected_alpn_protocol())
        data = b""
        while b"\r\n\r\n" not in data or not data.endswith(b"}"):
            data += s.recv(65536)
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        s.recv(1)
    chosen = []
    r = h2(play, alpn=("h2", "http/1.1"))
    r.old = old
    server = make_server(FAST)
    submit(server, r.url())
    finish(server)
    assert chosen == ["http/1.1"] and attempts(server) == [(1, 200)] and failures(server) == []


def test_through_a_proxy(make_server, h2):
    """Of the tunnel the proxy sees one CONNECT; what is spoken inside the two ends have agreed upon there."""
    r = h2()
    with Proxy() as proxy:
        server = make_server({**FAST, "delivery.proxy": proxy.url})
        jobs = submit(server, r.url(), 64)
        finish(server)
        server.stop()
    assert proxy.lines == [f"CONNECT 127.0.0.1:{r.port} HTTP/1.1"] and r.connections == 1
    assert sorted(q.webhook_id for q in r.requests) == sorted(jobs)
    assert {q.pseudo[":authority"] for q in r.requests} == {f"127.0.0.1:{r.port}"}


# --- nginx ------------------------------------------------------------------------------------

NGINX_CONF = """daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s; log_format x '$connection $server_protocol $status $uri';
  access_log {folder}/access.log x;
  keepalive_requests 50;
  server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};
    location / {{ return 204; }}
    location /busy {{ return 503; }}
  }}
}}
"""


@pytest.fixture
def nginx(tmp_path, cert):
    if NGINX is None:
        pytest.skip("nginx is not installed")
    for _ in range(5):  # another may take the port that was free
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        folder = tmp_path / f"nginx-{port}"
        folder.mkdir()
        (folder / "conf").write_text(NGINX_CONF.format(folder=folder, port=port, cert=cert[0], key=cert[1]))
        proc = subprocess.Popen([NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "conf")],
                                stdin=subprocess.DEVNULL)

        def answers():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        until(lambda: answers() or proc.poll() is not None, 20, "nginx listens")
        if proc.poll() is None:
            break
    else:
        pytest.fail("nginx does not start")
    yield port, folder / "access.log"
    proc.terminate()
    proc.wait(20)


def test_nginx(make_server, nginx):
    """Which ends a connection after 50 requests: GOAWAY, and nothing is lost or tried again."""
    port, log = nginx
    server = make_server(FAST)
    submit(server, f"https://127.0.0.1:{port}/cb", 400)
    finish(server)
    assert failures(server) == [] and attempts(server) == [(1, 204)] * 400
    lines = [line.split() for line in log.read_text().splitlines()]
    assert {(x[1], x[2]) for x in lines} == {("HTTP/2.0", "204")}
    assert len(lines) == 400 and len({x[0] for x in lines}) <= 400 // 50 + 2


# --- hostile receivers --------------------------------------------------------------------------

def flood(*pieces):
    """Sent again and again until the client ends the connection."""
    def play(conn):
        q = conn.request()
        data = b"".join(p(conn, q) if callable(p) else p for p in pieces)
        try:
            while True:
                conn.send(data)
                sent[0] += len(data)
        except OSError:
            conn.r.cut += 1
    sent = [0]
    play.sent = sent
    return play


def once(*pieces):
    def play(conn):
        q = conn.request()
        conn.send(b"".join(p(conn, q) if callable(p) else p for p in pieces))
        serve(conn)
    return play


def on(stream_frame):
    """A frame of the request's stream."""
    return lambda conn, q: stream_frame(q.stream)


FLOODS = {
    "SETTINGS": flood(settings(max_streams=100) * 100),
    "PING": flood(frame(PING, payload=b"12345678") * 100),
    "PING answers": flood(frame(PING, ACK, payload=b"12345678") * 100),
    "empty DATA": flood(lambda c, q: c.head(q.stream, 200, end=False),
                        on(lambda s: frame(DATA, stream=s) * 100)),
    "RST_STREAM": flood(on(lambda s: reset(s, CANCEL) * 100)),
    "PRIORITY": flood(on(lambda s: frame(2, stream=s, payload=b"\0\0\0\0\x10") * 100)),
    "WINDOW_UPDATE": flood(frame(8, payload=b"\0\0\0\1") * 100),
    "unknown": flood(frame(99, payload=b"z" * 1000) * 100),
    "CONTINUATION": flood(on(lambda s: frame(HEADERS, stream=s, payload=b"\x88")), on(lambda s: frame(9, stream=s) * 100)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_end_the_connection(make_server, h2, name):
    """What brings nothing is paid from a purse; then it is the host's failure, and the next connection is another."""
    play = FLOODS[name]
    r = h2(play, serve)
    r.cut = 0
    server = make_server(FAST)
    job = submit(server, r.url())[0]
    finish(server)
    until(lambda: r.cut == 1, 10, "the first connection was cut")
    assert play.sent[0] < 20 << 20
    if name != "empty DATA" and name != "RST_STREAM":
        assert "error=CONNECT" in failures(server, job)[0] and "HTTP/2: " in failures(server)[0]
    assert attempts(server)[0][1] == 200 and attempts(server)[0][0] <= 2


BOMB = b"\x40\x01a\x7f\x81\x1e" + b"z" * 4000  # a field of 4,000 bytes that the table keeps
BROKEN_STREAMS = {
    "head of 33 KiB": lambda c, q: big_head(c, q, 33),
    "HPACK bomb": lambda c, q: frame(HEADERS, END_HEADERS | END_STREAM, q.stream, b"\x88" + BOMB + b"\xbe" * 10000),
    "upper case": lambda c, q: frame(HEADERS, END_HEADERS | END_STREAM, q.stream, b"\x88\x00\x01A\x01b"),
    "NUL in a value": lambda c, q: frame(HEADERS, END_HEADERS | END_STREAM, q.stream, b"\x88\x00\x01a\x03b\0c"),
    "Connection": lambda c, q: c.head(q.stream, 200, ("connection", "close")),
    "no status": lambda c, q: frame(HEADERS, END_HEADERS | END_STREAM, q.stream, b"\x00\x01a\x01b"),
    "two statuses": lambda c, q: frame(HEADERS, END_HEADERS | END_STREAM, q.stream, b"\x88\x88"),
    "status 600": lambda c, q: c.head(q.stream, 600),
    "status 099": lambda c, q: c.head(q.stream, "099"),
    "status 20x": lambda c, q: c.head(q.stream, "20x"),
    "status 101": lambda c, q: c.head(q.stream, 101),
    "17 interim": lambda c, q: c.head(q.stream, 103, end=False) * 17 + c.head(q.stream, 200),
    "interim and end": lambda c, q: c.head(q.stream, 103),
}


def big_head(conn, q, kib):
    """In CONTINUATION frames."""
    block = conn.encoder.encode([(":status", "200"), *((f"x-{i}", "~" * 1020) for i in range(kib))], huffman=False)
    pieces = [block[i:i + 16000] for i in range(0, len(block), 16000)]
    ret = frame(HEADERS, END_STREAM, q.stream, pieces[0])
    for i, p in enumerate(pieces[1:], 2):
        ret += frame(9, END_HEADERS if i == len(pieces) else 0, q.stream, p)
    return ret


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_an_answer_that_is_none(make_server, h2, name):
    """Fails its own attempt; the connection serves on."""
    r = h2(once(BROKEN_STREAMS[name]))
    server = make_server(FAST)
    job = submit(server, r.url())[0]
    finish(server)
    assert attempts(server) == [(2, 200)], failures(server)
    assert "error=PROTOCOL" in failures(server, job)[0]
    assert r.connections == 1


GOOD_STREAMS = {
    "16 interim": lambda c, q: c.head(q.stream, 103, end=False) * 16 + c.head(q.stream, 200),
    "head of 30 KiB": lambda c, q: big_head(c, q, 30),
    "padding": lambda c, q: frame(HEADERS, END_HEADERS | PADDED, q.stream, b"\x10\x88" + bytes(16)) +
    frame(DATA, END_STREAM | PADDED, q.stream, b"\xff" + b"ok" + bytes(255)),
    "trailers": lambda c, q: c.head(q.stream, 200, end=False) + frame(DATA, stream=q.stream, payload=b"ok") +
    frame(HEADERS, END_HEADERS | END_STREAM, q.stream, c.encoder.encode([("retry-after", "5"), ("x", "y")])),
    "priority and unknown frames": lambda c, q: frame(2, stream=q.stream, payload=b"\0\0\0\0\x10") +
    frame(77, 0xff, q.stream, b"xyz") + frame(77, 0, 0, b"") + c.head(q.stream, 200),
    "a frame between": lambda c, q: frame(PING, payload=b"12345678") + settings(window=100) + c.head(q.stream, 200),
}


@pytest.mark.parametrize("name", GOOD_STREAMS)
def test_an_answer_that_is_one(make_server, h2, name):
    r = h2(once(GOOD_STREAMS[name]))
    server = make_server(FAST)
    for _ in range(2):
        submit(server, r.url())
        finish(server)
    assert attempts(server) == [(1, 200)] * 2 and failures(server) == [] and r.connections == 1


BROKEN_CONNECTIONS = {
    "push": lambda c, q: frame(5, END_HEADERS, q.stream, b"\0\0\0\2\x82\x84\x86"),
    "HEADERS on stream 0": lambda c, q: frame(HEADERS, END_HEADERS, 0, b"\x88"),
    "an idle stream": lambda c, q: frame(HEADERS, END_HEADERS | END_STREAM, q.stream + 2, b"\x88"),
    "a body without a head": lambda c, q: frame(DATA, END_STREAM, q.stream, b"x"),
    "DATA on an idle stream": lambda c, q: frame(DATA, 0, q.stream + 2, b"x"),
    "bad HPACK": lambda c, q: frame(HEADERS, END_HEADERS | END_STREAM, q.stream, b"\xff\xff\xff\xff\xff\xff\xff"),
    "too large a frame": lambda c, q: frame(DATA, 0, q.stream, b"x" * 20000),
    "SETTINGS of 5 bytes": lambda c, q: frame(SETTINGS, payload=b"12345"),
    "WINDOW_UPDATE of 0": lambda c, q: frame(8, payload=b"\0\0\0\0"),
    "window overflow": lambda c, q: frame(8, payload=b"\x7f\xff\xff\xff") * 2,
    "CONTINUATION alone": lambda c, q: frame(9, END_HEADERS, q.stream, b"\x88"),
    "a frame within a head": lambda c, q: frame(HEADERS, 0, q.stream, b"\x88") + frame(PING, payload=b"12345678"),
    "HTTP/1.1": lambda c, q: b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "GOAWAY with an error": lambda c, q: goaway(q.stream, ENHANCE_YOUR_CALM, b"calm down"),
}


@pytest.mark.parametrize("name", BROKEN_CONNECTIONS)
def test_a_connection_that_breaks_the_rules(make_server, h2, name):
    """All its attempts fail, as the host's failure, and it is not used again."""
    def play(conn):
        held = [conn.request() for _ in range(3)]
        conn.send(BROKEN_CONNECTIONS[name](conn, held[2]))
        if "GOAWAY" not in name:
            conn.drain()
    r = h2(play, serve)
    server = make_server(FAST)
    jobs = submit(server, r.url(), 3)
    finish(server)
    assert attempts(server) == [(2, 200)] * 3, failures(server)
    lines = failures(server)
    assert len(lines) == 3 and all("error=CONNECT" in x and "HTTP/2: " in x for x in lines), lines
    assert r.connections == 2 and {q.webhook_id for q in r.requests} == set(jobs)


@pytest.mark.parametrize("first", [b"", frame(PING, payload=b"12345678")], ids=["nothing", "not SETTINGS"])
def test_no_settings(make_server, h2, first):
    def play(conn):
        conn.drain()
    server, r = make_server({**FAST, "delivery.connect_timeout": "1s", "delivery.schedule": "1h"}), h2(play, first=first)
    jobs = submit(server, r.url(), 3)
    until(lambda: len(failures(server)) == 3, 20, "all three have failed")
    assert {j for j in jobs if failures(server, j)} == set(jobs) and r.connections == 1
    assert all("error=TIMEOUT" in x if not first else "error=CONNECT" in x for x in failures(server)), failures(server)
    assert len(r.requests) == 1, "the others wait for the settings"


# --- time ------------------------------------------------------------------------------------------

def test_one_stream_times_out(make_server, h2):
    """It is reset; the connection serves on, since the receiver is there."""
    def play(conn):
        conn.request()
        serve(conn)
    server, r = make_server({**FAST, "delivery.timeout": "1s"}), h2(play)
    job = submit(server, r.url())[0]
    finish(server)
    assert "error=TIMEOUT" in failures(server, job)[0]
    assert attempts(server) == [(2, 200)] and r.connections == 1
    assert r.conns[0].resets == {r.requests[0].stream: CANCEL}


def test_a_silent_connection_is_not_used_again(make_server, h2):
    """Nothing comes on it any more, not even the answer to a PING: a new one is opened."""
    def play(conn):
        conn.answer(conn.request())
        conn.request()
        conn.r.hold.wait(20)
    server, r = make_server({**FAST, "delivery.timeout": "1s"}), h2(play, serve)
    r.hold = threading.Event()
    submit(server, r.url())
    finish(server)
    submit(server, r.url())
    finish(server)
    r.hold.set()
    assert attempts(server) == [(1, 200), (2, 200)] and r.connections == 2


def established(port):
    """Connections to it that have not been closed on the client's side."""
    with open("/proc/net/tcp") as f:
        return sum(x[2].endswith(f":{port:04X}") and x[3] == "01" for x in map(str.split, f.readlines()[1:]))


def test_one_that_never_reads(make_server, h2):
    """The windows are wide open, but nobody reads: what is under way times out, and the connection is given up."""
    def play(conn):
        conn.request()
        conn.r.stopping.wait(60)
    wide = settings(window=(1 << 31) - 1) + frame(8, payload=((1 << 31) - 1 - 65535).to_bytes(4, "big"))
    server = make_server({**FAST, "server.max_body": "4M", "delivery.timeout": "2s", "delivery.breaker": "1000"})
    r = h2(play, serve, first=wide, room=4096)
    submit(server, r.url())
    r.wait()
    submit(server, r.url(), 15, size=250_000)
    finish(server)
    until(lambda: established(r.port) <= 1, 20, "the first connection is given up")
    assert failures(server) and all("error=TIMEOUT" in x for x in failures(server)), failures(server)
    assert {status for _, status in attempts(server)} == {200}
    assert attempts(server)[-1][0] > 1
    assert r.connections == 2


def test_closed_while_idle(make_server, h2):
    """As with HTTP/1.1: sent once more at once, on another connection, within the attempt."""
    def play(conn):
        conn.answer(conn.request())
        conn.request()
    server, r = make_server(FAST), h2(play, serve)
    for _ in range(2):
        submit(server, r.url())
        finish(server)
    assert attempts(server) == [(1, 200)] * 2 and failures(server) == []
    assert r.connections == 2 and len(r.requests) == 3


def test_stop_ends_streams(make_server, h2):
    """What is under way at the stop stays due."""
    def play(conn):
        conn.drain()
    server, r = make_server({**FAST, "delivery.timeout": "60s", "server.drain": "500ms"}), h2(play)
    submit(server, r.url(), 5)
    r.wait(5)
    server.stop()
    assert server.pending() == 5 and server.rows("select count(*) from attempt") == [(0,)]
