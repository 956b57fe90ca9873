# SPDX-License-Identifier: Apache-2.0
"""A thousand slow clients at once, of the kinds that slowhttptest makes: slow heads (-H), slow bodies
with and without a length (-B), slow readers (-X) and ranges without end (-R). Whoever is not slow is
served meanwhile, and each slow one is gone by its own deadline, counted from its own first byte, or from the first of its answer.

RBK_LONG=1: a thousand of each kind, and thousands who say nothing."""
import collections
import json
import os
import resource
import select
import socket
import threading
import time

import pytest

from lib.lint import lint
from lib.raw import post
from lib.wait import SLOW, until

LONG = bool(os.environ.get("RBK_LONG"))
HEAD_S, WRITE_S, IDLE_S = 10, 20, 60  # the server's deadlines
BODY_MAX = 4096  # the setting of this server; a body has 10 s, and 1 s for each KiB that it may have
BODY_S = 10 + BODY_MAX / 1024
ROOM_S = 5 * SLOW  # for a busy machine
DRIP_S = 2

HEAD = b"POST /api HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
BIG = b'{"id":1,"method":"test.big","params":{"bytes":%d}}'
Kind = collections.namedtuple("Kind", "n begin drip deadline status reads")
KINDS = {
    "head": Kind(350, HEAD, b"X-a: b\r\n", HEAD_S, 408, True),
    "request line": Kind(100, b"POST /api?", b"a", HEAD_S, 408, True),
    "body": Kind(300, HEAD + b"Content-Length: %d\r\n\r\n" % BODY_MAX, b" ", BODY_S, 408, True),
    "chunks": Kind(180, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", BODY_S, 408, True),
    "ranges": Kind(50, HEAD + b"Range: bytes=0-," + b"5-," * 1000 + b"\r\n", b"X: y\r\n", HEAD_S, 408, True),
    "reader": Kind(20, post(BIG % 5_000_000), b"", WRITE_S, None, False),
}
# Whose answer the kernel takes as a whole is idle to the server.
LONG_KINDS = {k: v._replace(n=1000) for k, v in KINDS.items() if k != "reader"} | {
    "reader": KINDS["reader"]._replace(n=40),
    "reader of less": Kind(1000, post(BIG % 200_000), b"", None, None, False),
    "silent": Kind(3000, b"", b"", IDLE_S, None, True),
}


class One:
    """One slow connection."""

    def __init__(self, name, kind, port):
        self.name, self.kind, self.got, self.ended = name, kind, b"", None
        self.sock = socket.socket()
        if not kind.reads:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.sock.settimeout(30)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.asked = self.begun = time.monotonic()
        self.say(kind.begin)

    def say(self, data):
        try:
            self.sock.send(data)
        except OSError:  # closed: read() sees it
            pass

    def read(self, everything):
        """A slow reader takes one byte; the others all there is. Closed when nothing more can come."""
        try:
            part = self.sock.recv(65536 if everything else 1)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if part:
            self.got = (self.got + part)[:4096]
        else:
            self.ended = time.monotonic()
            self.sock.close()


class Slow(threading.Thread):
    """All the slow ones, in one thread."""

    def __init__(self, port, kinds):
        super().__init__(daemon=True)
        self.port, self.kinds, self.ones, self.fault = port, kinds, [], None
        self.come, self.over = threading.Event(), threading.Event()
        self.start()

    def run(self):
        try:
            self.live()
        except Exception as e:  # noqa: BLE001: told by the test
            self.fault = e
            self.come.set()
        finally:
            for one in self.ones:
                one.sock.close()

    def live(self):
        poll, by_fd = select.epoll(), {}
        wanted = [(name, kind) for name, kind in self.kinds.items() for _ in range(kind.n)]
        drip = time.monotonic() + DRIP_S
        while not self.over.is_set():
            for name, kind in [wanted.pop() for _ in range(min(20, len(wanted)))]:
                one = One(name, kind, self.port)
                self.ones.append(one)
                by_fd[one.sock.fileno()] = one
                poll.register(one.sock, select.EPOLLIN)
            if not wanted:
                self.come.set()
            for fd, _ in poll.poll(0 if wanted else 0.1):
                one = by_fd[fd]
                first = not one.got
                one.read(one.kind.reads)
                if first and not one.kind.reads and not one.ended:  # from here only its end is of interest
                    one.begun = time.monotonic()
                    poll.modify(one.sock, select.EPOLLHUP)
                if one.ended:
                    del by_fd[fd]
            if time.monotonic() > drip:
                drip += DRIP_S
                for one in by_fd.values():
                    if one.kind.drip:
                        one.say(one.kind.drip)

    def left(self):
        assert self.fault is None, self.fault
        return collections.Counter(o.name for o in self.ones if o.kind.deadline and not o.ended)


class Healthy(threading.Thread):
    """Calls one after the other, on a kept and on new connections in turn; how long each took."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.took, self.fault, self.over = server, [], None, threading.Event()
        self.start()

    def run(self):
        try:
            with self.server.client() as kept:
                while not self.over.is_set():
                    with self.server.client() as new:
                        for c in (kept, new):
                            start = time.monotonic()
                            assert c.call("test.echo", {"a": 1}).json["result"] == {"a": 1}
                            self.took.append(time.monotonic() - start)
                    time.sleep(0.01)  # it is no load
        except Exception as e:  # noqa: BLE001: told by end()
            self.fault = e

    def end(self):
        """The 99th percentile in seconds."""
        self.over.set()
        self.join(60)
        assert self.fault is None, self.fault
        assert len(self.took) > 50, f"only {len(self.took)} calls"
        return sorted(self.took)[len(self.took) * 99 // 100]


def sockets(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def check_one(one):
    took = one.ended - one.begun
    assert one.got or not one.kind.begin, f"{one.name}: no byte of an answer"
    assert took <= one.kind.deadline + ROOM_S, f"{one.name}: there for {took:.1f} s"
    lived = one.ended - one.asked  # the server's time begins later, whenever this thread saw its first byte
    assert lived >= one.kind.deadline - 1, f"{one.name}: cut off after {lived:.1f} s"
    if one.kind.status is None:
        return
    head, _, body = one.got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % one.kind.status), (one.name, one.got)
    lint(one.kind.status, head, body)
    assert json.loads(body)["error"]["code"] == -32600


def test_slow_clients(make_server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 16384 and LONG:
        pytest.skip(f"RLIMIT_NOFILE is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16384)), hard))
    kinds = LONG_KINDS if LONG else KINDS
    server = make_server({"server.max_body": BODY_MAX, "method.max_result": "8M"})
    before, healthy = sockets(server), Healthy(server)
    slow = Slow(server.port, kinds)
    try:
        assert slow.come.wait(60 * SLOW) and len(slow.ones) >= 1000, slow.fault
        longest = IDLE_S if LONG else WRITE_S
        until(lambda: not slow.left(), longest + 2 * ROOM_S, lambda: f"gone are {slow.left()}", poll=0.2)
        # Who does not read does not see that it was an orderly end: the server's files say so.
        until(lambda: sockets(server) <= before + 2, ROOM_S, lambda: f"{sockets(server)} files, not {before}", poll=0.2)
    finally:
        slow.over.set()
        slow.join(20)
    p99 = healthy.end()
    print(f"p99 of {len(healthy.took)} calls: {p99 * 1000:.0f} ms, largest {max(healthy.took) * 1000:.0f} ms;",
          {n: f"{max(o.ended - o.begun for o in slow.ones if o.name == n):.1f} s" for n, k in kinds.items()
           if k.deadline})
    for one in slow.ones:
        if one.kind.deadline:
            check_one(one)
    assert p99 < 1 * SLOW
    server.stop()
