# SPDX-License-Identifier: Apache-2.0
"""A receiver that does to each connection what a function says, TLS and TCP included.

`play(peer)` gets each connection before its first byte. What the server sent stays in
`requests`, and as decrypted bytes in `heard`; tap() keeps what came over the wire as well."""
import collections
import contextlib
import re
import socket
import sqlite3
import ssl
import struct
import threading
import time

from .server import Server, job_id
from .wait import SLOW, until

LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.I)
MARK = "for the receiver alone"
TIMEOUT, CONNECT_TIMEOUT = 5 * SLOW, 4 * SLOW
SHELVES = " union all ".join(f"select seq, rnd, '{t}', attempts, last_status, due from {t}"
                             for t in ("job", "wait", "done", "dead"))
NOTES = "select seq, number, status, reason, ms, at from attempt order by seq, n"
LIMIT = 60  # s: a peer that hears nothing ends by itself


class Request:
    def __init__(self, head, body, conn):
        self.head, self.body, self.conn = head, body, conn

    @property
    def headers(self):
        lines = (line.split(b": ", 1) for line in self.head.split(b"\r\n")[1:] if line)
        return {k.lower().decode(): v.decode() for k, v in lines}


class Peer:
    """One connection: raw until tls()."""

    def __init__(self, owner, sock, number):
        self.owner, self.sock, self.number, self.buf = owner, sock, number, bytearray()
        sock.settimeout(LIMIT)

    def tls(self, context=None):
        self.sock = (context or self.owner.context).wrap_socket(self.sock, server_side=True)
        return self

    def recv(self, n=65536):
        data = self.sock.recv(n)
        self.owner.count(self.number, data)
        return data

    def read(self):
        """A whole request, or None."""
        while (end := self.buf.find(b"\r\n\r\n")) < 0:
            if not (data := self.recv()):
                self.owner.drained.set()
                return None
            self.buf += data
        head = bytes(self.buf[:end + 2])
        m = LENGTH.search(head)  # a websocket's handshake has no body
        total = end + 4 + (int(m.group(1)) if m else 0)
        while len(self.buf) < total:
            if not (data := self.recv()):
                return None
            self.buf += data
        body = bytes(self.buf[end + 4:total])
        del self.buf[:total]
        request = Request(head, body, self.number)
        self.owner.requests.append(request)
        return request

    def say(self, data):
        self.sock.sendall(data)
        return self

    def flood(self, piece, most=1 << 30):
        """`piece` until nobody takes it; `sent` of the owner counts."""
        while self.owner.sent < most:
            self.sock.sendall(piece)
            self.owner.sent += len(piece)

    def drain(self):
        """Until the other end closes."""
        while self.recv():
            pass
        self.owner.drained.set()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Hostile:
    """`plays`: one for each connection in order; the last one stays."""

    def __init__(self, context, *plays, listen=True, backlog=128, rcvbuf=None):
        self.context, self.plays = context, list(plays)
        self.requests, self.raw, self.faults = [], b"", []
        self.heard = collections.defaultdict(bytes)  # by connection: the first bytes, decrypted
        self.connections = self.sent = 0
        self.drained = threading.Event()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.listener.bind(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open, self.threads, self.main = set(), [], None
        if listen:
            self.listen(backlog)

    def url(self, path="/x", host="127.0.0.1", scheme="https"):
        return f"{scheme}://{host}:{self.port}{path}"

    def count(self, number, data):
        if len(self.heard[number]) < 1 << 16:
            self.heard[number] += data

    def listen(self, backlog=128):
        self.listener.listen(backlog)
        self.serve()

    def serve(self):
        self.main = threading.Thread(target=self.accept, daemon=True)
        self.main.start()

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
            peer = Peer(self, sock, self.connections)
            self.open.add(peer)
            self.threads.append(threading.Thread(target=self.run, args=(peer, play), daemon=True))
            self.threads[-1].start()

    def run(self, peer, play):
        try:
            play(peer)
        except (OSError, ValueError):  # the other end has gone, or the test is over
            pass
        except Exception as e:  # a fault of the script itself
            self.faults.append(repr(e))
        finally:
            self.open.discard(peer)
            peer.sock.close()

    def stop(self):
        if self.main:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.main.join()
        self.listener.close()
        for peer in list(self.open):
            try:
                peer.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for t in self.threads:
            t.join()
        assert not self.faults, self.faults


def records(raw):
    """[(type, length)] of the TLS records in what one end sent."""
    found = []
    while len(raw) >= 5:
        n = int.from_bytes(raw[3:5], "big")
        found.append((raw[0], n))
        raw = raw[5 + n:]
    return found


def tap(answer):
    """A play that keeps every byte of the wire in `owner.raw`, and says `answer` to a request."""
    def play(peer):
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = peer.owner.context.wrap_bio(into, out, server_side=True)
        secret, up, asked = b"", False, False
        while True:
            try:
                if not up:
                    tls.do_handshake()
                    up = True
                while piece := tls.read(65536):
                    secret += piece
                    peer.owner.count(peer.number, piece)
                    if b"\r\n\r\n" in secret and not asked:
                        asked = True
                        tls.write(answer)
                break
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                break
            finally:
                if out.pending:
                    peer.say(out.read())
            data = peer.sock.recv(65536)
            if not data:
                break
            peer.owner.raw += data
            into.write(data)
        while data := peer.sock.recv(65536):
            peer.owner.raw += data
        peer.owner.drained.set()
    return play


class Stage:
    """The server, its receivers, and what the store says of a job."""

    def __init__(self, folder, ca, pairs, names, options=()):
        self.pairs, self.receivers, self.read, self.at = pairs, [], {}, 0.0
        self.contexts = {}
        for name, pair in pairs.items():
            for old in (False, True):
                context = self.contexts[name, old] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.load_cert_chain(*pair)
                if old:
                    context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.server = Server(folder, ca.pem, {
            "delivery.schedule": "300ms", "delivery.max_age": "7d", "delivery.jitter": "0", "delivery.breaker": "0",
            "delivery.connect_timeout": f"{int(CONNECT_TIMEOUT * 1000)}ms",
            "delivery.timeout": f"{int(TIMEOUT * 1000)}ms", "method.max_result": "16M", "log.level": "debug",
            "callback.name_servers": names.address, **dict(options)}).start()

    def receiver(self, *plays, cert="good", old=False, **kw):
        """`old`: with TLS 1.2."""
        r = Hostile(self.contexts[cert, old], *plays, **kw)
        r.pair = self.pairs[cert]
        self.receivers.append(r)
        return r

    def submit(self, url, size=0, **kw):
        method, params = ("test.big", {"bytes": size}) if size else ("test.echo", {"m": MARK})
        with self.server.client() as c:
            reply = c.call(method, params, callback=url, **kw)
        assert reply.jobs, reply
        return reply.jobs[0]

    def look(self):
        """{job: (shelf, attempts, last status, due, [attempt])} of all jobs, not older than 0.1 s."""
        if time.monotonic() - self.at > 0.1:
            notes, found = collections.defaultdict(list), {}
            with contextlib.closing(sqlite3.connect(f"file:{self.server.store}?mode=ro", uri=True, timeout=20)) as db:
                jobs = db.execute(SHELVES).fetchall()  # first: no job is ahead of its notes
                for seq, *note in db.execute(NOTES):
                    notes[seq].append(tuple(note))
            for seq, rnd, *rest in jobs:
                found[job_id(seq, rnd)] = (*rest, notes[seq])
            self.read, self.at = found, time.monotonic()
        return self.read

    def wait(self, job, condition, what):
        def seen():
            state = self.look().get(job)
            return state if state and condition(state) else None
        return until(seen, 40, lambda: f"{what}: {self.look().get(job)}; {self.lines(job)}", poll=0.05)

    def ended(self, job):
        return self.wait(job, lambda s: s[0] in ("done", "dead"), "the job ends")

    def lines(self, job):
        return [line for line in self.server.log().splitlines() if f"job={job}" in line]

    def stop(self):
        try:
            self.server.stop()
        finally:
            self.server.close()
            for r in self.receivers:
                r.stop()
