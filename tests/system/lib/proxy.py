# SPDX-License-Identifier: Apache-2.0
"""A proxy on loopback that knows CONNECT alone: records what it is asked, and leads on, or
answers by its script."""
import socket
import threading

from .wait import until

HANG = "hang"  # no answer, until the other end goes


class Proxy:
    """`with Proxy() as p`: p.asked has the head of each request. `script`: an answer for each
    connection in turn (bytes, or HANG), None or the end of it: lead on. `goes_to` says where an
    asked-for "host:port" is in truth."""

    def __init__(self, host="127.0.0.1", goes_to=()):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family)
        self.host, self.port = host, self.listener.getsockname()[1]
        self.goes_to, self.script = dict(goes_to), []
        self.asked, self.connections, self.open, self.threads = [], 0, set(), []
        self.lock = threading.Lock()
        self.main = threading.Thread(target=self.accept)

    def __enter__(self):
        self.main.start()
        return self

    def __exit__(self, *exc):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.main.join()
        self.listener.close()
        with self.lock:
            for s in self.open:
                self.cut(s)
        for t in self.threads:
            t.join()

    @property
    def url(self):
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def lines(self):
        return [head.split(b"\r\n")[0].decode() for head in list(self.asked)]

    def wait(self, n, limit=20):
        until(lambda: len(self.asked) >= n, limit, lambda: f"{n} requests; there are {self.lines}")

    @staticmethod
    def cut(s):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # --- one connection ---------------------------------------------------------
    def accept(self):
        while True:
            try:
                s = self.listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self.run(self.serve, s)

    def run(self, what, *args):
        t = threading.Thread(target=what, args=args)
        self.threads.append(t)
        t.start()
        return t

    def serve(self, s):
        with s:
            with self.lock:
                self.open.add(s)
                answer = self.script.pop(0) if self.script else None
            try:
                self.talk(s, answer)
            except OSError:
                pass
            with self.lock:
                self.open.discard(s)

    def talk(self, s, answer):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = s.recv(1)
            if not piece:
                return
            head += piece
        self.asked.append(head)
        if answer == HANG:
            s.recv(1)
        elif answer is not None:
            s.sendall(answer)
            s.recv(1)  # the client goes, so that nothing is lost by a reset
        else:
            self.lead_on(s, head.split(b" ")[1].decode())

    def lead_on(self, s, target):
        host, _, port = target.rpartition(":")
        where = self.goes_to.get(target, (host.strip("[]"), int(port)))
        with socket.create_connection(where, 10) as other:
            other.settimeout(None)
            with self.lock:
                self.open.add(other)
            s.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = self.run(self.pump, other, s)
            self.pump(s, other)
            back.join()
            with self.lock:
                self.open.discard(other)

    def pump(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        self.cut(a)
        self.cut(b)
