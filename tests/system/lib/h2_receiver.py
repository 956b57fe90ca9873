# SPDX-License-Identifier: Apache-2.0
"""An HTTP/2 receiver over TLS, made by hand from RFC 9113 (HPACK by python3-hpack), so that it can do
what no decent server does: each connection is played by a function of the test."""
import socket
import ssl
import struct
import threading

import hpack

from .wait import until

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 0, 1, 2, 7, 8
ENHANCE_YOUR_CALM, HTTP_1_1_REQUIRED = 11, 13
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**pairs):
    keys = {"max_streams": MAX_CONCURRENT_STREAMS, "window": INITIAL_WINDOW_SIZE}
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", keys[k], v) for k, v in pairs.items()))


def reset(stream, code):
    return frame(RST_STREAM, stream=stream, payload=struct.pack(">I", code))


def goaway(last, code=NO_ERROR, text=b""):
    return frame(GOAWAY, payload=struct.pack(">II", last, code) + text)


class Request:
    def __init__(self, stream, fields, conn):
        self.stream, self.fields, self.conn, self.body = stream, fields, conn, b""
        self.pseudo = {k: v for k, v in fields if k.startswith(":")}
        self.headers = {k: v for k, v in fields if not k.startswith(":")}
        assert len(self.pseudo) + len(self.headers) == len(fields), f"a header twice: {fields}"
        assert all(k == k.lower() for k, _ in fields), fields

    @property
    def webhook_id(self):
        return self.headers["webhook-id"]


class Conn:
    """One connection, its preface read and ours sent."""

    def __init__(self, r, s, number, first):
        self.r, self.s, self.number = r, s, number
        self.buf, self.open, self.resets = b"", {}, {}
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.last = self.pongs = 0
        assert self.take(len(PREFACE)) == PREFACE
        kind, _, _, payload = self.read()
        assert kind == SETTINGS, "the client's preface ends with SETTINGS"
        self.settings = dict(struct.unpack(">HI", payload[i:i + 6]) for i in range(0, len(payload), 6))
        if first:
            self.send(first + frame(SETTINGS, ACK))

    def take(self, n):
        while len(self.buf) < n:
            piece = self.s.recv(65536)
            if not piece:
                raise EOFError
            self.buf += piece
        ret, self.buf = self.buf[:n], self.buf[n:]
        return ret

    def send(self, data):
        self.s.sendall(data)

    def read(self):
        head = self.take(9)
        return head[3], head[4], int.from_bytes(head[5:9], "big"), self.take(int.from_bytes(head[:3], "big"))

    def handle(self):
        """The next frame; the request that it ends, if it ends one. The client's own rules are checked."""
        kind, flags, stream, payload = self.read()
        if kind == HEADERS:
            assert flags & END_HEADERS and not flags & PADDED and stream % 2 and stream > self.last, (flags, stream)
            self.last = stream
            if flags & 0x20:
                payload = payload[5:]
            self.open[stream] = Request(stream, self.decoder.decode(payload), self)
            self.r.most_open = max(self.r.most_open, len(self.open))
        elif kind == DATA:
            self.open[stream].body += payload
        elif kind == RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
            self.open.pop(stream, None)
        elif kind == PING:
            self.pongs += flags & ACK
        if kind in (HEADERS, DATA) and flags & END_STREAM and stream in self.open:
            self.r.requests.append(self.open[stream])
            return self.open.pop(stream)
        return None

    def request(self):
        while True:
            ret = self.handle()
            if ret:
                return ret

    def head(self, stream, status, *fields, end=True, flags=0):
        block = self.encoder.encode([(":status", str(status)), *fields])
        return frame(HEADERS, END_HEADERS | flags | (END_STREAM if end else 0), stream, block)

    def answer(self, request, status=200, *fields):
        self.send(self.head(request.stream, status, *fields))

    def hold(self, n):
        """Requests whose streams stay open until they are released."""
        ret = []
        while len(ret) < n:
            ret.append(self.request())
            self.open[ret[-1].stream] = ret[-1]
        return ret

    def release(self, request):
        del self.open[request.stream]
        self.answer(request)

    def ping(self):
        """There and back; no request may be on its way."""
        n = self.pongs
        self.send(frame(PING, payload=b"12345678"))
        while self.pongs == n:
            assert self.handle() is None, "a request more"

    def drain(self):
        """Until the client goes."""
        while True:
            self.handle()


def serve(conn):
    while True:
        conn.answer(conn.request())


class H2Receiver:
    """`plays`: one for each connection, the last for all that follow. `room`: bytes that the kernel takes
    while nobody reads."""

    def __init__(self, cert, *plays, alpn=("h2",), first=None, room=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*cert)
        self.context.set_alpn_protocols(list(alpn))
        self.plays, self.first = list(plays or [serve]), settings() if first is None else first
        self.requests, self.conns, self.faults, self.gone = [], [], [], []
        self.most_open = self.connections = 0
        self.old = None  # what to do with a connection that does not choose h2
        self.listener = socket.create_server(("127.0.0.1", 0))
        if room:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.port = self.listener.getsockname()[1]
        self.sockets, self.threads, self.stopping = set(), [], threading.Event()
        self.main = threading.Thread(target=self.accept)
        self.main.start()

    def url(self, path="/callback", host="127.0.0.1"):
        return f"https://{host}:{self.port}{path}"

    def wait(self, n=1, limit=20):
        until(lambda: len(self.requests) >= n, limit, lambda: f"{n} requests; {len(self.requests)} came")
        return self.requests

    def stop(self):
        self.stopping.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.main.join()
        self.listener.close()
        for s in list(self.sockets):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for t in self.threads:
            t.join()

    def accept(self):
        while True:
            try:
                s = self.listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self.sockets.add(s)
            self.threads.append(threading.Thread(target=self.talk, args=(s, self.connections)))
            self.threads[-1].start()

    def serve_old(self, raw, number):
        try:
            self.old(raw)
        except OSError:
            pass
        finally:
            self.gone.append(number)
            self.sockets.discard(raw)
            raw.close()

    def talk(self, raw, number):
        s = raw
        if self.old and number > 1:
            self.serve_old(raw, number)
            return
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s = self.context.wrap_socket(raw, server_side=True)
            self.sockets.add(s)
            assert s.selected_alpn_protocol() == "h2", "the client does not offer h2"
            conn = Conn(self, s, number, self.first)
            self.conns.append(conn)
            play(conn)
        except (OSError, EOFError):
            pass
        except AssertionError as e:
            self.faults.append(f"connection {number}: {e}")
        finally:
            self.gone.append(number)
            self.sockets -= {raw, s}
            s.close()
