# SPDX-License-Identifier: Apache-2.0
"""Bytes to a server as they are, and all the answers that come back, each of them linted."""
import socket

from .client import Client, Closed


class Raw(Client):
    """A connection for what no decent client sends; one of its own, and its end is looked at."""

    leaves = False

    def __init__(self, port, timeout=20, **kw):
        super().__init__(port, timeout=timeout, **kw)

    def push(self, data, step=None):
        """In pieces of `step` bytes. False when the server would not take it all."""
        step = step or max(1, len(data))
        try:
            for at in range(0, len(data), step):
                self.send(data[at:at + step])
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def ended(self):
        """Nothing more comes: the orderly end, within the time-out."""
        try:
            while not self.buf:
                self._more()
        except Closed:
            return True
        raise AssertionError(f"more than was asked for: {self.buf[:200]!r}")

    def all(self):
        """Every answer until the server closes."""
        found = []
        while True:
            try:
                while not self.buf:
                    self._more()
            except Closed:
                return found
            found.append(self.receive())

    def reset(self):
        """Gone without a goodbye: the kernel says RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()


def exchange(port, data, step=None, **kw):
    """All the answers to `data` on a connection of its own, until the server closes it."""
    with Raw(port, **kw) as c:
        c.push(data, step)
        return c.all()


def post(body, path="/api", headers=(), length=None):
    """The bytes of one request."""
    head = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json",
            f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(head).encode("latin-1") + body
