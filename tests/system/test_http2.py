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
from lib.wait import until

FAST = {"delivery.schedule": "300ms,300ms,300ms", "delivery.jitter": "0", "delivery.timeout": "5s"}
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


def test_streams_at_one_time(make_server, h2):
    """per_receiver counts streams, and the peer's limit is kept, by a connection more where it is small."""
    def play(conn):
        while True:
            held = [conn.request()]
            while len(held) < 3 and len(r.requests) < 12:
                held.append(conn.request())
            assert len(conn.open) == 0
            for q in held:
                conn.answer(q)
    server = make_server({**FAST, "delivery.per_receiver": "6"})
    r = h2(serve, first=settings(max_streams=3))
    submit(server, r.url(), 30)
    finish(server)
    assert r.most_open <= 3 and r.connections <= 2
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
