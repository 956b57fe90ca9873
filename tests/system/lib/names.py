# SPDX-License-Identifier: Apache-2.0
"""A name server on loopback, UDP and TCP, that says what the test wants.

zone[name] is what a name answers: a list with one item for each look-up in time order, the
last one stays. An item is a list of addresses, or one of the words below. A and AAAA
queries are counted apart, so that one look-up takes one item."""
import collections
import ipaddress
import socket
import struct
import threading

NXDOMAIN = "NXDOMAIN"  # with the SOA record that says who knows
DENIED = "DENIED"      # the same answer with nobody's word for it
EMPTY = "EMPTY"        # the name is there and has no address
SERVFAIL = "SERVFAIL"
SILENT = "SILENT"
TYPES = {1: 4, 28: 6}


class Alias:
    """A CNAME and what the other name has; `addresses` None: an alias again of the first."""

    def __init__(self, other, addresses):
        self.other, self.addresses = other, addresses


class Spoofed:
    """Wrong answers in front of the right one: another id, another name."""

    def __init__(self, wrong, right):
        self.wrong, self.right = wrong, right


def pack_name(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0"


def record(name, kind, ttl, data):
    return pack_name(name) + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def addresses(name, kind, ttl, texts):
    made = (ipaddress.ip_address(t) for t in texts)
    return [record(name, kind, ttl, a.packed) for a in made if a.version == TYPES[kind]]


def message(query, rcode=0, answers=(), authority=(), flags=0x8180, number=None, question=None):
    head = struct.pack(">HHHHHH", number if number is not None else query.number, flags | rcode, 1,
                       len(answers), len(authority), 0)
    return head + (question or query.question) + b"".join(answers) + b"".join(authority)


class Query:
    def __init__(self, data):
        self.number = struct.unpack(">H", data[:2])[0]
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode())
            at += data[at] + 1
        self.name = ".".join(labels).lower()
        self.kind = struct.unpack(">H", data[at + 1:at + 3])[0]
        self.question = data[12:at + 5]


class NameServer:
    """`with NameServer() as ns`: ns.port; ns.queries[(name, 1 or 28)] counts."""

    def __init__(self, zone=(), default=NXDOMAIN):
        self.zone, self.default, self.ttl = dict(zone), default, {}
        self.queries = collections.Counter()
        self.lock = threading.Lock()
        while True:  # one number for both protocols
            self.tcp = socket.create_server(("127.0.0.1", 0))
            self.port = self.tcp.getsockname()[1]
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self.udp.bind(("127.0.0.1", self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.serve_udp, self.serve_tcp)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.ended.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"", ("127.0.0.1", self.port))
        socket.create_connection(("127.0.0.1", self.port), 5).close()
        for t in self.threads:
            t.join(10)
        self.udp.close()
        self.tcp.close()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    # --- answers ---------------------------------------------------------------
    def answers(self, q, count):
        """Packets for one query, in order."""
        says = self.zone.get(q.name, [self.default])
        with self.lock:
            at = self.queries[(q.name, q.kind)]
            self.queries[(q.name, q.kind)] += count
        return self.compose(q, says[min(at, len(says) - 1)])

    def compose(self, q, what):
        ttl = self.ttl.get(q.name, 60)
        soa = record("test", 6, 60, b"\1a\0\1a\0" + struct.pack(">IIIII", 1, 60, 60, 60, 60))
        if what == SILENT:
            return []
        if what == SERVFAIL:
            return [message(q, rcode=2)]
        if what == DENIED:
            return [message(q, rcode=3)]
        if what == NXDOMAIN or q.kind not in TYPES:
            return [message(q, rcode=3, authority=[soa])]
        if what == EMPTY:
            return [message(q, authority=[soa])]
        if isinstance(what, Spoofed):
            wrong = addresses(q.name, q.kind, ttl, what.wrong)
            other = pack_name("other.test") + q.question[-4:]
            return [message(q, answers=wrong, number=q.number ^ 1),
                    message(q, answers=wrong, question=other), *self.compose(q, what.right)]
        if isinstance(what, Alias):
            alias = record(q.name, 5, ttl, pack_name(what.other))
            more = (addresses(what.other, q.kind, ttl, what.addresses) if what.addresses is not None
                    else [record(what.other, 5, ttl, pack_name(q.name))])
            return [message(q, answers=[alias, *more])]
        found = addresses(q.name, q.kind, ttl, what)
        return [message(q, answers=found, authority=() if found else [soa])]

    # --- transports --------------------------------------------------------------
    def serve_udp(self):
        while True:
            data, peer = self.udp.recvfrom(4096)
            if self.ended.is_set():
                return
            q = Query(data)
            for packet in self.answers(q, 1):
                if len(packet) > 512:
                    packet = message(q, flags=0x8380)  # cut: ask again by TCP
                self.udp.sendto(packet, peer)

    def serve_tcp(self):
        while True:
            conn, _ = self.tcp.accept()
            if self.ended.is_set():
                conn.close()
                return
            threading.Thread(target=self.serve_one, args=(conn,), daemon=True).start()

    def serve_one(self, conn):
        with conn, conn.makefile("rb") as f:
            while len(head := f.read(2)) == 2:
                q = Query(f.read(struct.unpack(">H", head)[0]))
                for packet in self.answers(q, 0):
                    conn.sendall(struct.pack(">H", len(packet)) + packet)
