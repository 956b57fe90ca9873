# SPDX-License-Identifier: Apache-2.0
"""Floods at the front: heads, chunk extensions, trailers and tiny chunks without end cost less than a
MiB a connection; connections that come faster than they are taken, that reset at once, and more of
them than there are files neither spin nor kill the server, and it is back at once."""
import os
import re
import socket
import threading
import time

import pytest

from lib.raw import Raw, post
from lib.server import Server
from lib.wait import SLOW, until

MIB = 1 << 20
HEAD = b"POST /api HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

# What begins, what comes again and again, the status that ends it.
BOMBS = {
    "one header": (HEAD + b"X: ", b"a" * 65536, 431),
    "header lines": (HEAD, b"X-Header: abcdefgh\r\n" * 3000, 431),
    "request line": (b"POST /api?", b"a" * 65536, 414),
    "chunk extensions": (CHUNKED, b"1;" + b"a" * 1000 + b"\r\n{\r\n", 400),
    "one extension": (CHUNKED + b"1;", b"a" * 65536, 400),
    "trailers": (CHUNKED + b"0\r\n", b"X-Trailer: abcdefgh\r\n" * 3000, 431),
    "zeros of a size": (CHUNKED, b"0" * 65536, 400),
    "empty lines": (b"\r\n", b"\r\n" * 30000, 400),
    "behind a refusal": (b"POST /none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"a" * 65536, 404),
}


def stat(server, what):
    with open(f"/proc/{server.pid}/status") as f:
        return int(re.search(what + r":\s+(\d+)", f.read())[1])


def peak_kib(server):
    return stat(server, "VmHWM")


def reset_peak(server):
    with open(f"/proc/{server.pid}/clear_refs", "w") as f:
        f.write("5")


def cpu_s(server):
    with open(f"/proc/{server.pid}/stat") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def flood(c, begin, more, limit=64 * MIB):
    """Until the server says something, or closes, or takes no more; how many bytes that were."""
    sent, end = 0, time.monotonic() + 20 * SLOW
    c.push(begin)
    c.sock.setblocking(False)
    data, at = more, 0
    while sent < limit and time.monotonic() < end:
        try:
            c.sock.recv(1, socket.MSG_PEEK)
            break
        except BlockingIOError:
            pass
        except OSError:
            break
        try:
            n = c.sock.send(data[at:])
        except BlockingIOError:
            time.sleep(0.001)
            continue
        except OSError:
            break
        sent += n
        at = (at + n) % len(data)
    c.sock.settimeout(c.timeout)
    return sent


@pytest.fixture(scope="module")
def bombed(tmp_path_factory, ca):
    """What the sanitizer keeps back of freed memory is small."""
    s = Server(tmp_path_factory.mktemp("bombed"), ca.pem, {"server.threads": "2"},
               env={"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"}).start()
    yield s
    s.stop()
    s.check_sanitizers()


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(bombed, name):
    """On 16 connections at once, and told so: 431, 414 or 400, then the end."""
    server, n, (begin, more, status) = bombed, 16, BOMBS[name]
    with server.client() as c:
        for _ in range(20):
            c.post(b'{"id":1,"method":"test.echo"}')
    reset_peak(server)
    before, found = peak_kib(server), []

    def one():
        with Raw(server.port) as c:
            sent = flood(c, begin, more)
            try:
                found.append((c.receive().status, sent))
            except OSError as e:
                found.append((e, sent))

    threads = [threading.Thread(target=one) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert [s for s, _ in found] == [status] * n, found
    grown = peak_kib(server) - before
    assert grown < n * 1024, f"{grown} KiB for {n} connections"


def test_tiny_chunks(bombed):
    """A body of 100,000 chunks of one byte is what it says, and costs its bytes."""
    server = bombed
    body = b'{"id":1,"method":"test.echo"}'
    data = CHUNKED + b"1\r\n \r\n" * 100_000 + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with Raw(server.port) as c:
        c.push(post(body))
        assert c.receive().json == {"id": 1, "result": None}
        reset_peak(server)
        before = peak_kib(server)
        assert c.push(data)
        assert c.receive().json == {"id": 1, "result": None}
    grown = peak_kib(server) - before
    assert grown < 1024, f"{grown} KiB"


def served_within(server, limit):
    """A new caller is served; how long it took."""
    start = time.monotonic()

    def served():
        try:
            with server.client(timeout=5) as c:
                return c.call("test.echo").status == 200
        except OSError:
            return False
    until(served, limit, "a new caller is served", poll=0.02)
    return time.monotonic() - start


def test_more_connections_than_files(make_server):
    """128 files, 400 connections that stay: no spin; when they go, the next caller is served."""
    server = make_server({"server.threads": "2"}, wrap=("prlimit", "--nofile=128:128"))
    server.wrap = ()  # it has become the server
    assert served_within(server, 5) < 5
    crowd = []
    try:
        for _ in range(400):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", server.port))
            crowd.append(s)
        time.sleep(0.5)  # those who are turned away are
        used, start = cpu_s(server), time.monotonic()
        time.sleep(2)  # what is measured
        load = (cpu_s(server) - used) / (time.monotonic() - start)
        assert load < 0.2 * SLOW, f"{load:.0%} of a processor"
        assert server.alive()
    finally:
        for s in crowd:
            s.close()
    took = served_within(server, 10)
    assert took < 1 * SLOW, f"{took:.2f} s"
    server.stop()


def storm(server, seconds, then):
    """Connections as fast as they come from four threads; `then` is done to each. How many."""
    end, made = time.monotonic() + seconds, []

    def one():
        n = 0
        while time.monotonic() < end:
            c = Raw(server.port, timeout=10)
            try:
                then(c)
                n += 1
            except OSError:
                pass
            finally:
                c.close()
        made.append(n)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return sum(made)


def reset_at_once(c):
    c.send(b"")
    c.reset()


def reset_within(c):
    c.send(post(b'{"id":1,"method":"test.echo","params":["' + b"x" * 5000 + b'"]}')[:-100])
    c.reset()


def reset_behind(c):
    c.send(post(b'{"id":1,"method":"test.echo"}'))
    c.reset()


def come_and_go(c):
    c.send(b"")


@pytest.mark.parametrize("then", [come_and_go, reset_at_once, reset_within, reset_behind])
def test_storms(make_server, then):
    server = make_server()
    files, slowest = len(os.listdir(f"/proc/{server.pid}/fd")), 0.0
    over = threading.Event()

    def healthy():
        nonlocal slowest
        with server.client() as c:
            while not over.is_set():
                start = time.monotonic()
                assert c.call("test.echo").status == 200
                slowest = max(slowest, time.monotonic() - start)

    t = threading.Thread(target=healthy)
    t.start()
    made = storm(server, 1.5, then)
    over.set()
    t.join(30)
    assert made > 50 and slowest < 2 * SLOW, (made, slowest)
    assert served_within(server, 5) < 1 * SLOW
    until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) <= files + 2, 10, "nothing stays open")
    server.stop()


def test_reset_behind_a_job(make_server, receiver):
    """A caller who resets before he reads the acknowledgement: the job is there, and is delivered. One
    who resets within the body has asked for nothing."""
    server = make_server()
    body = b'{"id":%d,"method":"test.echo","params":{"$rpc.callback":"' + receiver.url().encode() + b'"}}'
    for i in range(20):
        with Raw(server.port) as c:
            whole = post(body % i)
            c.push(whole[:-1] if i % 2 else whole)
            if i % 2 == 0:  # the kernel drops with a reset what was not read before it
                receiver.wait(i // 2 + 1)
            c.reset()
    ids = {p.body for p in receiver.wait(10, limit=20)}
    assert len(ids) == 10 and {int(re.search(rb'"id":(\d+)', b)[1]) % 2 for b in ids} == {0}
    until(lambda: server.pending() == 0, 10, "nothing is left")
    assert len(receiver.posts) == 10
    server.stop()
