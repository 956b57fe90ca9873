# SPDX-License-Identifier: Apache-2.0
"""Connections that are cut anywhere: clients over TCP and a Unix socket, of HTTP and of websockets, that reset, close
or half-close in the middle of a request, while a method runs, in the instant in which the answer is written, or behind
it, while settings are read anew. Afterwards nothing of them is left and everybody else is served.

RBK_SEED=… repeats a run's dice (not its timing); RBK_LONG=1 runs for minutes."""
import collections
import json
import os
import random
import re
import signal
import socket
import struct
import threading
import time

from lib.client import Client
from lib.raw import post
from lib.wait import SLOW, until
from lib.ws_client import CLOSE, MORE, PING, TEXT, WsClient, frame
from test_limits import metrics
from test_sockets import LocalClient

LONG = bool(os.environ.get("RBK_LONG"))
SECONDS = float(os.environ.get("RBK_SECONDS") or (180 if LONG else 5))
SEED = int(os.environ.get("RBK_SEED", str(time.time_ns() & 0xffffffff)))
CLIENTS = 8
LINGER = struct.pack("ii", 1, 0)
HANDSHAKE = (b"GET /api HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n")
RESUME = re.compile(rb"Ringback-Resume: ([\w-]{43})\r")
JOB = re.compile(rb'"ringback":{"job":"([\w-]{36})')


class Places:
    """Where the server is, where callbacks go, and the sessions that were seen."""

    def __init__(self, port, file, callback):
        self.port, self.file, self.callback = port, str(file), callback
        self.sessions = collections.deque(maxlen=20)

    def connect(self, rng):
        if rng.random() < 0.4:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(30)
            s.connect(self.file)
            return s
        s = socket.create_connection(("127.0.0.1", self.port), 30)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s


# --- what is sent -----------------------------------------------------------------------------

def request(rng, callback):
    """One request, and how long its method takes."""
    ms = rng.choice((0, 0, 1, 3, 10))
    one = {"id": rng.randrange(1000), "method": "test.late", "params": {"ms": ms, "text": "x" * rng.randrange(200)}}
    dice = rng.random()
    if dice < 0.1:
        return {"id": 1, "method": "test.big", "params": {"bytes": rng.choice((70_000, 400_000))}}, 2
    if dice < 0.3:
        return one, ms
    if dice < 0.35:
        return {"id": 1, "method": "test.progress",
                "params": {"steps": 3, "ms": 1, "$rpc.callback": callback, "$rpc.events": ["progress"]}}, 3
    one["params"]["$rpc.callback"] = callback
    if dice < 0.8:
        one["params"]["$rpc.wait"] = rng.choice((0, 0.002, 1, 1, 1))
    if dice > 0.95:
        del one["id"]
    return one, ms


def text(rng, callback):
    """A body: mostly one request, now and then a batch or none at all."""
    if rng.random() < 0.05:
        return rng.choice((b"{", b"[]", b'{"id":1,"method":"none"}')), 0
    if rng.random() < 0.3:
        parts = [request(rng, callback) for _ in range(rng.randrange(1, 6))]
        for p, _ in parts:
            if rng.random() < 0.8:  # with one that waits a whole batch is an error
                p["params"].pop("$rpc.wait", None)
        return json.dumps([p for p, _ in parts]).encode(), max(ms for _, ms in parts)
    one, ms = request(rng, callback)
    return json.dumps(one).encode(), ms


def http(rng, places):
    """(bytes, how long they take)"""
    data, ms = b"", 0
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        body, took = text(rng, places.callback)
        headers = rng.choice(((), (), ("Connection: close",), ("Expect: 100-continue",)))
        data += post(body, headers=headers)
        ms = max(ms, took)
    return data, ms


def message(rng, callback):
    dice = rng.random()
    if dice < 0.04:
        return frame(PING, b"p" * rng.randrange(100)), 0
    if dice < 0.07:
        return frame(CLOSE, struct.pack(">H", 1000)), 0
    if dice < 0.09:
        return frame(TEXT, b"\xff"), 0
    if dice < 0.15:
        job = "0198c0de-9a44-7000-8abc-3f1be1a3d6c0"
        return frame(TEXT, b'{"id":2,"method":"rpc.job.ack","params":{"id":"%s"}}' % job.encode()), 0
    body, ms = text(rng, "ws:" if rng.random() < 0.6 else callback)
    if rng.random() < 0.2:
        at = rng.randrange(len(body) + 1)
        return frame(TEXT, body[:at], fin=False) + frame(MORE, body[at:]), ms
    return frame(TEXT, body), ms


def websocket(rng, places):
    """The same; the handshake is a part of it."""
    data = HANDSHAKE
    if places.sessions and rng.random() < 0.4:  # somebody else may be on it
        data += b"Ringback-Resume: %s\r\n" % rng.choice(tuple(places.sessions))
    data, ms = data + b"\r\n", 0
    for _ in range(rng.choice((1, 2, 3, 10, 40))):
        more, took = message(rng, places.callback)
        data, ms = data + more, max(ms, took)
    return data, ms


# --- the cut ----------------------------------------------------------------------------------

def read(s, n, places):
    """`n` bytes; acknowledges what a websocket's session gets. False: the end."""
    seen = b""
    while n > 0:
        part = s.recv(min(n, 65536))
        if not part:
            return False
        n -= len(part)
        seen = seen[-100:] + part  # what was acknowledged may be so again
        places.sessions.extend(RESUME.findall(seen))
        for job in JOB.findall(seen):
            s.sendall(frame(TEXT, b'{"method":"rpc.job.ack","params":{"id":"%s"}}' % job))
    return True


def wait_for(rng, s, ms, places):
    """Until the moment of the cut."""
    how = rng.choice(("now", "soon", "ready", "some", "much"))
    if how == "soon":  # about when the method is done
        time.sleep(max(0, ms / 1000 + rng.uniform(-0.001, 0.003)))
    elif how == "ready":  # the first byte of an answer is there
        s.recv(1, socket.MSG_PEEK)
    elif how != "now":
        read(s, rng.randrange(1, 600) if how == "some" else rng.randrange(1, 100_000), places)


def cut(rng, s, places):
    how = rng.choice(("reset", "reset", "close", "half", "deaf"))
    if how == "reset":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    elif how == "half":
        s.shutdown(socket.SHUT_WR)
        s.settimeout(0.1)
        while read(s, 1 << 20, places):
            pass
    elif how == "deaf":
        s.shutdown(socket.SHUT_RD)


def one_connection(rng, places):
    data, ms = rng.choice((http, http, websocket))(rng, places)
    with places.connect(rng) as s:
        try:
            s.settimeout(rng.choice((0.02, 0.1, 0.5)))
            if rng.random() < 0.25:
                data = data[:rng.randrange(len(data))]
            at = rng.randrange(len(data) + 1) if rng.random() < 0.3 else 0
            s.sendall(data[:at])
            s.sendall(data[at:])
            wait_for(rng, s, ms, places)
            cut(rng, s, places)
        except OSError:  # the server was first, or has nothing to say
            pass


def cuts(number, places, end, done, faults):
    rng = random.Random(f"{SEED}-{number}")
    try:
        while time.monotonic() < end:
            one_connection(rng, places)
            done[number] += 1
            if done[number] % 10 == 0:  # others are served meanwhile; and no backlog grows on a slow machine
                with Client(places.port, timeout=60 * SLOW) as c:
                    assert c.call("demo.echo", {"a": 1}).json["result"] == {"a": 1}
    except Exception as e:  # noqa: BLE001 - it is told by the test
        faults.append(e)


# --- the test ---------------------------------------------------------------------------------

def gauges(server):
    m = metrics(server)
    return m["ringback_connections"], m["ringback_websockets"]


def serves(server, path, receiver):
    with server.client() as tcp, LocalClient(path) as local, WsClient(server.port) as ws:
        for c in (tcp, local):
            assert c.call("demo.echo", {"a": 1}).json["result"] == {"a": 1}
            assert c.call("demo.echo", {"a": 2}, callback=receiver.url("/last"), wait=10).json["result"] == {"a": 2}
        ws.call("demo.echo", {"a": 3}, callback="ws:")
        assert "result" in ws.message() and "result" in ws.message()


def test_connections_that_are_cut_anywhere(make_server, receiver, tmp_path):
    path = tmp_path / "s"
    server = make_server({"server.listen": f"127.0.0.1:0,unix:{path}", "server.threads": "2",
                          "server.per_address": "0"})
    print(f"seed {SEED}")
    places = Places(server.port, path, receiver.url("/cut"))
    done, faults, end = [0] * CLIENTS, [], time.monotonic() + SECONDS
    threads = [threading.Thread(target=cuts, args=(i, places, end, done, faults)) for i in range(CLIENTS)]
    for t in threads:
        t.start()
    rng = random.Random(f"{SEED}-reloads")
    while any(t.is_alive() for t in threads) and server.alive():
        server.signal(signal.SIGHUP)
        threads[0].join(rng.uniform(0.05, 0.5))
    for t in threads:
        t.join()
    assert server.alive(), f"seed {SEED}: {server.log()[-3000:]}"
    assert not faults, f"seed {SEED}: {faults}"
    assert min(done) > 0
    print(f"{sum(done)} connections")
    until(lambda: gauges(server) == (0, 0), 30, lambda: f"seed {SEED}: connections and websockets: {gauges(server)}")
    serves(server, path, receiver)
    assert server.log().count("config.reloaded") > 0
    server.stop()
