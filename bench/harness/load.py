# SPDX-License-Identifier: Apache-2.0
"""wrk as the load, with its answers checked; and a client for what comes one at a time."""
import dataclasses
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse

from .processes import Wrong, cpu_seconds, memory_mib

SCRIPT = "bench/post.lua"


@dataclasses.dataclass
class Load:
    n: int          # answers that wrk counted
    most: int       # requests that were sent: those under way at the end are not counted
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float   # of the watched processes, a request
    memory: float   # theirs at the end, MiB


class Client:
    """One kept connection."""

    def __init__(self, url, ca=None, limit=120):
        u = urllib.parse.urlsplit(url)
        self.path, self.host = u.path or "/", u.netloc
        self.sock = socket.create_connection((u.hostname, u.port), limit)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if u.scheme == "https":
            context = ssl.create_default_context(cafile=ca) if ca else ssl._create_unverified_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=u.hostname)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def _more(self):
        more = self.sock.recv(1 << 20)
        if not more:
            raise Wrong(f"{self.host} closed the connection")
        self.buffer += more

    def request(self, method, path=None, body=None):
        """(status, body, bytes of the whole answer)"""
        head = f"{method} {path or self.path} HTTP/1.1\r\nHost: {self.host}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.sock.sendall(head.encode() + b"\r\n" + (body or b""))
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b":", 1) for line in lines[1:])
        size = int(fields.get(b"content-length", b"0"))
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            raise Wrong(f"{self.host} answers in chunks")
        while len(self.buffer) < size:
            self._more()
        answer, self.buffer = self.buffer[:size], self.buffer[size:]
        return int(lines[0].split()[1]), answer, len(head) + 4 + size

    def post(self, body):
        return self.request("POST", None, body)


def probe(url, body, expect):
    """Post once; the size of the whole answer, which must be 2xx and what `expect` says."""
    with Client(url) as c:
        status, answer, size = c.post(body)
    if status // 100 != 2 or (expect and not expect(answer)):
        raise Wrong(f"{url} answered {status}: {answer[:500]!r}")
    return size


def wrk(b, url, body, connections, seconds, watch, expect):
    """Post `body` over and over. An answer that is not 2xx, or not as long as the one that
    was looked at before, ends the bench: a JSON-RPC error would come with 200."""
    size = probe(url, body, expect)
    pids = [p.pid for p in watch]
    before = cpu_seconds(pids)
    (b.folder / "body.json").write_bytes(body)
    sums, out = run_wrk(b, url, connections, seconds)
    under_way = connections
    while b.quick and sums["requests"] == 0 and seconds < 8:  # a busy machine
        seconds *= 2
        under_way += connections
        sums, out = run_wrk(b, url, connections, seconds)
    cpu = cpu_seconds(pids) - before
    memory = memory_mib(pids)
    n = sums["requests"]
    if sums["errors"] or n == 0:
        raise Wrong(f"wrk met errors at {url}:\n{out}")
    if abs(sums["bytes"] - n * size) > (connections + n * 0.001) * size:
        raise Wrong(f"{url}: answers of {sums['bytes'] / n:.1f} bytes where {size} were expected")
    return Load(n, n + under_way, n / sums["us"] * 1e6, sums["p50_us"] / 1e3, sums["p99_us"] / 1e3, cpu * 1e6 / n, memory)


def run_wrk(b, url, connections, seconds):
    """The sum that post.lua writes, and all that wrk said."""
    from .context import ROOT, tool
    threads = max(1, min(2, os.cpu_count() or 1, connections))
    whole = seconds == int(seconds)
    p = b.processes.spawn([tool("wrk"), f"-t{threads}", f"-c{connections}", f"-d{int(seconds) + (0 if whole else 5)}s", "--timeout", "60s",
                           "-s", ROOT / SCRIPT, url, "--", b.folder / "body.json"], "wrk.log",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not whole:  # wrk knows whole seconds alone, and ends in good order at SIGINT
        time.sleep(seconds)
        p.send_signal(signal.SIGINT)
    out = p.communicate()[0]
    b.processes.end(p)
    try:
        return json.loads(out.splitlines()[-1]), out
    except (ValueError, IndexError):
        raise Wrong(f"wrk at {url}:\n{out}") from None
