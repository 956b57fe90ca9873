# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC over a kept HTTP/1.1 connection, byte-exact in both directions."""
import json
import re
import socket

from .lint import lint

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.I)


class Reply:
    __slots__ = ("status", "head", "body")

    def __init__(self, status, head, body):
        self.status, self.head, self.body = status, head, body

    @property
    def headers(self):
        ret = {}
        for line in self.head.split(b"\r\n")[1:]:
            name, sep, value = line.partition(b":")
            if sep:
                ret[name.strip().lower().decode()] = value.strip().decode()
        return ret

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def jobs(self):
        text = self.headers.get("ringback-job", "")
        return [j.strip() for j in text.split(",")] if text else []

    @property
    def error(self):
        return self.json["error"]

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Closed(OSError):
    """The server closed the connection before a whole answer came."""


class Client:
    """Not for two threads at once. Connects when it must, stays connected."""

    leaves = True  # when it is told that the server closes
    lints = True  # the answers are ringback's own

    def __init__(self, port, path="/api", host="127.0.0.1", timeout=30, tls=None):
        """`tls`: an ssl.SSLContext."""
        self.addr, self.path, self.timeout, self.tls = (host, port), path, timeout, tls
        self.sock, self.buf = None, b""

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock, self.buf = None, b""

    __enter__ = lambda self: self

    def __exit__(self, *exc):
        self.close()

    def send(self, data):
        if self.sock is None:
            self.sock = socket.create_connection(self.addr, self.timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                self.sock = self.tls.wrap_socket(self.sock, server_hostname=self.addr[0])
        self.sock.sendall(data)

    def _more(self):
        data = self.sock.recv(1 << 18)
        if not data:
            self.close()
            raise Closed("connection closed")
        self.buf += data

    def receive(self, head_only=False):
        """`head_only`: the answer to HEAD."""
        while (end := self.buf.find(b"\r\n\r\n")) < 0:
            self._more()
        head = self.buf[:end]
        status = int(head[9:12])
        m = None if head_only else LENGTH.search(head)
        total = end + 4 + (int(m.group(1)) if m else 0)
        while len(self.buf) < total:
            self._more()
        body, self.buf = self.buf[end + 4:total], self.buf[total:]
        if self.lints:
            lint(status, head, body, head_only)
        reply = Reply(status, head, body)
        if self.leaves and b"\r\nconnection: close" in head.lower():
            self.close()
        return reply

    def post(self, body, headers=(), content_type="application/json"):
        """`body`: bytes as they are, or anything else as JSON."""
        if not isinstance(body, bytes):
            body = json.dumps(body, separators=(",", ":")).encode()
        head = [f"POST {self.path} HTTP/1.1", f"Host: {self.addr[0]}:{self.addr[1]}",
                f"Content-Type: {content_type}", f"Content-Length: {len(body)}",
                *(f"{k}: {v}" for k, v in dict(headers).items()), "", ""]
        try:
            self.send("\r\n".join(head).encode() + body)
            return self.receive()
        except OSError:
            self.close()
            raise

    def call(self, method, params=None, id=1, headers=(), **rpc):
        """A request; keywords are service parameters: call("m", {}, callback=url)."""
        request = {"id": id, "method": method, "params": dict(params or {})}
        for name, value in rpc.items():
            request["params"][f"$rpc.{name}"] = value
        return self.post(request, headers)

    def notify(self, method, params=None, **rpc):
        request = {"method": method, "params": dict(params or {})}
        for name, value in rpc.items():
            request["params"][f"$rpc.{name}"] = value
        return self.post(request)
