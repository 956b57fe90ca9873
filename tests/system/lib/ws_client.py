# SPDX-License-Identifier: Apache-2.0
"""A websocket client made by hand from RFC 6455, which can do what no library does: each byte is the
test's."""
import base64
import hashlib
import json
import os
import socket
import struct

from .ws_receiver import GUID

TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0


class Gone(OSError):
    """The server closed the connection."""


def frame(opcode, payload=b"", fin=True, masked=True, mask=None, rsv=0):
    n = len(payload)
    size, long = (n, b"") if n < 126 else (126, struct.pack(">H", n)) if n < 65536 else (127, struct.pack(">Q", n))
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, (0x80 if masked else 0) | size]) + long
    if not masked:
        return head + payload
    mask = mask or os.urandom(4)
    key = int.from_bytes((mask * (n // 4 + 1))[:n], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(n, "big")


class WsClient:
    def __init__(self, port, path="/api", headers=(), timeout=20, handshake=True, rcvbuf=None):
        self.addr, self.path = ("127.0.0.1", port), path
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        self.sock.connect(self.addr)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf, self.headers, self.pongs = b"", {}, []
        if handshake:
            self.open(headers)

    def close(self):
        self.sock.close()

    __enter__ = lambda self: self

    def __exit__(self, *exc):
        self.close()

    # --- the handshake -----------------------------------------------------------
    def ask(self, headers=(), line=None, behind=b""):
        """(status, headers, body) of any handshake; a header of None is left out."""
        self.key = base64.b64encode(os.urandom(16)).decode()
        all_of = {"Host": "%s:%d" % self.addr, "Upgrade": "websocket", "Connection": "Upgrade",
                  "Sec-WebSocket-Key": self.key, "Sec-WebSocket-Version": "13"}
        all_of.update(dict(headers))
        lines = [line or f"GET {self.path} HTTP/1.1", *(f"{k}: {v}" for k, v in all_of.items() if v is not None)]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + behind)
        while b"\r\n\r\n" not in self.buf:
            self._more()
        head, _, self.buf = self.buf.partition(b"\r\n\r\n")
        status, *rest = head.decode().split("\r\n")
        got = {}
        for h in rest:
            name, _, value = h.partition(": ")
            got.setdefault(name.lower(), value)
        body = b""
        if "content-length" in got:
            body = self._take(int(got["content-length"]))
        return int(status.split()[1]), got, body

    def open(self, headers=()):
        status, self.headers, body = self.ask(headers)
        assert status == 101, (status, body)
        want = base64.b64encode(hashlib.sha1(self.key.encode() + GUID).digest()).decode()
        assert self.headers["sec-websocket-accept"] == want
        assert self.headers["upgrade"] == "websocket" and self.headers["connection"] == "Upgrade"
        assert "sec-websocket-extensions" not in self.headers

    # --- bytes ---------------------------------------------------------------------
    def _more(self):
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionError as e:
            raise Gone(str(e)) from None
        if not data:
            raise Gone("closed")
        self.buf += data

    def _take(self, n):
        while len(self.buf) < n:
            self._more()
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def raw(self, data):
        self.sock.sendall(data)

    def frame(self):
        """(opcode, payload) of the next frame; the server's are whole, and never masked."""
        first, second = self._take(2)
        assert first & 0xf0 == 0x80 and not second & 0x80, (first, second)
        n = second & 0x7f
        if n > 125:
            n = int.from_bytes(self._take(2 if n == 126 else 8), "big")
        return first & 0xf, self._take(n)

    # --- messages --------------------------------------------------------------------
    def send(self, message):
        if not isinstance(message, bytes):
            message = json.dumps(message, separators=(",", ":")).encode()
        self.raw(frame(TEXT, message))

    def call(self, method, params=None, id=1, **rpc):
        params = dict(params or {})
        params.update({f"$rpc.{k}": v for k, v in rpc.items()})
        self.send({"id": id, "method": method, "params": params})

    def text(self):
        """The next message; pings are answered, pongs kept."""
        while True:
            opcode, payload = self.frame()
            if opcode == PING:
                self.raw(frame(PONG, payload))
            elif opcode == PONG:
                self.pongs.append(payload)
            else:
                assert opcode == TEXT, (opcode, payload)
                return payload

    def message(self):
        return json.loads(self.text())

    def closed(self, echo=True):
        """The code of the server's close, and then the end of the connection."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                break
            assert opcode in (PING, PONG, TEXT), (opcode, payload)
        code = struct.unpack(">H", payload[:2])[0] if payload else None
        if echo:
            try:
                self.raw(frame(CLOSE, payload[:2]))
            except OSError:
                pass
        self.gone()
        return code

    def gone(self):
        try:
            while True:
                self._take(1)
        except Gone:
            return

    def end(self, code=1000):
        """An orderly close, ours."""
        self.raw(frame(CLOSE, struct.pack(">H", code)))
        return self.closed(echo=False)
