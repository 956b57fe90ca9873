# SPDX-License-Identifier: Apache-2.0
"""An HTTPS receiver that records every POST and misbehaves on demand.

One asyncio loop in a thread of its own. The parser is made by hand: it must keep up
with several thousand POSTs a second, and it must be stricter than a library would be.
What it finds wrong with a request is kept in `faults`; the fixture asserts that there
are none."""
import asyncio
import re
import socket
import ssl
import struct
import threading
import time

from .wait import until

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.I)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.I)


class Answer:
    """What the receiver does with one POST."""

    def __init__(self, status=200, headers=(), body=b"", delay=0.0, then=None):
        head = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in dict(headers).items()),
                f"Content-Length: {len(body)}", "", ""]
        self.status = status
        self.bytes = "\r\n".join(head).encode() + body
        self.delay = delay
        self.then = then  # None, "hang", "close" (no answer), "reset", "answer+close"


OK = Answer()
HANG = Answer(then="hang")
CLOSE = Answer(then="close")
RESET = Answer(then="reset")


class Post:
    __slots__ = ("ns", "head", "body", "conn", "answer")

    def __init__(self, ns, head, body, conn, answer):
        self.ns, self.head, self.body, self.conn, self.answer = ns, head, body, conn, answer

    @property
    def target(self):
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self):
        """Names in lower case; a name that stands twice is a fault of the test's subject."""
        ret = {}
        for line in self.head.split(b"\r\n")[1:]:
            if line:
                name, _, value = line.partition(b":")
                name = name.strip().lower().decode()
                assert name not in ret, f"header {name} twice"
                ret[name] = value.strip().decode()
        return ret

    @property
    def webhook_id(self):
        return self.headers.get("webhook-id")


class _Connection(asyncio.Protocol):
    def __init__(self, owner):
        self.owner, self.buf, self.busy, self.transport = owner, b"", False, None

    def connection_made(self, transport):
        self.transport = transport
        if self.owner.stopped:  # its handshake was under way when the receiver stopped
            transport.abort()
            return
        self.owner.connections += 1
        self.number = self.owner.connections
        self.owner.open.add(self)
        self.owner.most_open = max(self.owner.most_open, len(self.owner.open))

    def connection_lost(self, exc):
        self.owner.open.discard(self)
        if self.buf and not self.busy:
            self.owner.cut += 1

    def data_received(self, data):
        self.buf = self.buf + data if self.buf else data
        if not self.busy:
            self.parse()

    def parse(self):
        while self.buf and not self.busy:
            end = self.buf.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buf[:end + 2]
            m = LENGTH.search(head)
            if m is None or CHUNKED.search(head) or not head.startswith(b"POST /"):
                self.owner.faults.append(f"not a framed POST: {head[:200]!r}")
                self.transport.abort()
                return
            total = end + 4 + int(m.group(1))
            if len(self.buf) < total:
                return
            body, self.buf = self.buf[end + 4:total], self.buf[total:]
            self.take(head, body)

    def take(self, head, body):
        answer = self.owner.choose(head)
        self.owner.posts.append(Post(time.time_ns(), head, body, self.number, answer))
        if answer.delay == 0 and answer.then is None:
            self.transport.write(answer.bytes)
            return
        self.busy = True
        self.owner.busy += 1
        self.owner.most_busy = max(self.owner.most_busy, self.owner.busy)
        if answer.delay:
            self.owner.loop.call_later(answer.delay, self.finish, answer)
        else:
            self.finish(answer)

    def finish(self, answer):
        self.owner.busy -= 1
        if answer.then == "hang" or self.transport.is_closing():
            return
        if answer.then == "reset":
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif answer.then == "close":
            self.transport.close()
        else:
            self.transport.write(answer.bytes)
            if answer.then == "answer+close":
                self.transport.close()
                return
            self.busy = False
            self.parse()


class Receiver:
    """`with Receiver(cert)`: listens on a free port of 127.0.0.1; keeps it over stop/start."""

    def __init__(self, cert, host="127.0.0.1"):
        self.host, self.port = host, 0
        self.ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ctx.load_cert_chain(*cert)
        self.posts, self.faults, self.open = [], [], set()
        self.connections = self.cut = self.most_open = 0
        self.busy = self.most_busy = 0  # POSTs whose answer takes its time
        self.answer, self.by_path, self.scripts = OK, {}, {}
        self.server, self.stopped = None, False
        self.loop = asyncio.new_event_loop()
        # A handshake that the peer cuts off is the peer's matter, not a line on stderr.
        self.loop.set_exception_handler(lambda loop, context: None)
        self.thread = threading.Thread(target=self.loop.run_forever, name="receiver", daemon=True)
        self.thread.start()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    # --- what it answers -----------------------------------------------------
    def on(self, path, *answers):
        """The answers for a path in order; the last one stays."""
        self.scripts[path.encode()] = list(answers)

    def choose(self, head):
        script = self.scripts.get(head.split(b" ", 2)[1]) if self.scripts else None
        if script:
            return script.pop(0) if len(script) > 1 else script[0]
        return self.answer

    # --- life ----------------------------------------------------------------
    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def start(self):
        async def go():
            self.stopped = False
            return await self.loop.create_server(lambda: _Connection(self), self.host, self.port,
                                                 ssl=self.ctx, backlog=1024)
        self.server = self._run(go())
        self.port = self.server.sockets[0].getsockname()[1]

    def stop(self):
        """Nobody listens any more; connections that are open are cut."""
        async def go():
            self.stopped = True
            self.server.close()
            while self.open:
                for c in list(self.open):
                    c.transport.abort()
                await asyncio.sleep(0.001)
        if self.server:
            self._run(go())
            self.server = None

    def drop_connections(self):
        async def go():
            for c in list(self.open):
                c.transport.abort()
        self._run(go())

    # --- what came -----------------------------------------------------------
    def url(self, path="/callback"):
        return f"https://{self.host}:{self.port}{path}"

    def at(self, path):
        start = b"POST " + path.encode() + b" "
        return [p for p in list(self.posts) if p.head.startswith(start)]

    def wait(self, n=1, path=None, limit=20):
        """Wait for `n` POSTs (to `path`), and give all that came."""
        def enough():
            got = self.at(path) if path else list(self.posts)
            return got if len(got) >= n else None
        if n == 0:
            return self.at(path) if path else list(self.posts)
        return until(enough, limit, lambda: f"{n} POSTs to {path or 'the receiver'}, "
                     f"{len(self.at(path) if path else self.posts)} came")
