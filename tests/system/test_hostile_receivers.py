# SPDX-License-Identifier: Apache-2.0
"""What a hostile or broken receiver does to a delivery: each case of the vectors over one
running server, each with a receiver of its own that tries it at the first attempt and behaves
from the second on. The verdict is read from the store, the log, and what the receiver got.

Times are the vectors' in small: 4 s for a connection, 5 s for an attempt."""
import gzip
import json
import re
import socket
import ssl
import threading
import warnings

import pytest

from lib.hostile import MARK, TIMEOUT, Stage
from lib.names import NXDOMAIN, NameServer
from lib.plays import (OK, answers, drips, early, floods, good, in_clear, late, old_hello, old_tls, silent,
                       silent_after_request, status, switches)
from lib.server import root
from lib.wait import SLOW, until
from lib.ws_receiver import frame
from test_burst import memory

MIB = 1 << 20


# --- what becomes of it ------------------------------------------------------------------

def delivered():
    return "delivered", ()


def failed(reason, code=0):
    """The first attempt; the next one delivers."""
    return "failed", (code, *reason.split())


def either():
    """A reset may sweep away the answer that was sent before it."""
    return "either", ()


def dead(code):
    return "dead", (code, "GONE")


def waits(code, least, most):
    return "waits", (code, "STATUS", least, most)


H200 = b"HTTP/1.1 200 OK\r\n"
CHUNKED = H200 + b"Transfer-Encoding: chunked\r\n\r\n"
H103 = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
H100 = b"HTTP/1.1 100 Continue\r\n\r\n"
BOMB = gzip.compress(b"\0" * (8 * MIB))


def rows():
    """(case of the vectors, label, play, verdict, more)"""
    def row(case, play, verdict, label="", **more):
        return case, label, play, verdict, more
    ret = [
        row("never accepts", good, failed("TIMEOUT"), silent="full"),
        row("refuses", good, failed("CONNECT"), silent="refuses"),
        row("accepts, never speaks TLS", silent, failed("TIMEOUT")),
        row("plain HTTP on the https port", in_clear, failed("TLS"), clear=True),
        row("TLS 1.0/1.1 only", old_tls, failed("TLS"), clear=True),
        row("TLS 1.0/1.1 only", old_hello(1), failed("TLS"), "chosen 1.0", clear=True),
        row("TLS 1.0/1.1 only", old_hello(2), failed("TLS"), "chosen 1.1", clear=True),
        row("revoked certificate", good, delivered(), cert="revoked"),
        row("reads the request, never answers", silent_after_request, failed("TIMEOUT"), ms=TIMEOUT),
        # The contract: 2xx after the whole request was written. What the receiver said before is
        # no answer to it; the reset may have swept it away.
        row("answers 200 before reading the body", early, failed("STATUS CLOSED CONNECT", 200), size=8 * MIB),
        row("answers 200 before reading the body", answers(OK, "reset"), either(), "reset after the request"),
        row("answers 200 before reading the body", answers(OK, "close"), delivered(), "closed after the request"),
        row("answers one byte per second", drips(H200 + b"X: ", b"y", 0.2), failed("TIMEOUT"), ms=TIMEOUT),
        row("answers one byte per second", drips(b"", b"H", 0.2), failed("PROTOCOL"), "of nonsense"),
        row("answers one byte per second", drips(H200 + b"Content-Length: 9999\r\n\r\n", b"y", 0.2), delivered(),
            "of the body", closes=True),
        row("endless 100 Continue or 103", floods(b"", H100 * 100), failed("PROTOCOL"), "100", most=16 * MIB),
        row("endless 100 Continue or 103", floods(b"", H103 * 100), failed("PROTOCOL"), "103", most=16 * MIB),
        row("endless 100 Continue or 103", answers(H100 * 16 + OK), delivered(), "16"),
        row("endless 100 Continue or 103", answers(H100 * 17 + OK), failed("PROTOCOL"), "17"),
        row("endless 100 Continue or 103", drips(b"", H100, 0.5), failed("TIMEOUT"), "slow", ms=TIMEOUT),
        row("endless headers", floods(H200, b"X-Y: z\r\n" * 1000), failed("PROTOCOL"), "lines", most=16 * MIB),
        row("endless headers", floods(H200 + b"X: ", b"y" * 8192), failed("PROTOCOL"), "one line", most=16 * MIB),
        row("endless headers", floods(H200, b"y" * 8192), failed("PROTOCOL"), "one name", most=16 * MIB),
        row("endless headers", floods(b"HTTP/1.1 200 ", b"y" * 8192), failed("PROTOCOL"), "one reason", most=16 * MIB),
        row("endless headers", answers(H200 + b"X: " + b"y" * 31000 + b"\r\nContent-Length: 0\r\n\r\n"), delivered(),
            "31 KiB"),
        row("endless headers", answers(H200 + b"X: " + b"y" * 33000 + b"\r\nContent-Length: 0\r\n\r\n"),
            failed("PROTOCOL"), "33 KiB"),
        row("huge body with 200", floods(H200 + b"Content-Length: 10737418240\r\n\r\n", b"z" * 65536), delivered(),
            closes=True, most=32 * MIB),
        row("huge body with 200", floods(H200 + b"\r\n", b"z" * 65536), delivered(), "to the end", closes=True,
            most=32 * MIB),
        row("huge body with 200", floods(b"HTTP/1.1 500 X\r\nContent-Length: 10737418240\r\n\r\n", b"z" * 65536),
            failed("STATUS", 500), "500", closes=True, most=32 * MIB),
        row("endless chunked body with 200", floods(CHUNKED, b"1\r\nz\r\n" * 5000), delivered(), closes=True,
            most=32 * MIB),
        row("endless chunked body with 200", floods(CHUNKED, b"1;" + b"e" * 60000 + b"\r\nz\r\n"), delivered(),
            "extensions", closes=True, most=32 * MIB),
        row("endless chunked body with 200", floods(CHUNKED + b"0\r\n", b"X-Y: z\r\n" * 1000), delivered(),
            "trailers", closes=True, most=32 * MIB),
        row("gzip bomb", answers(H200 + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
            delivered()),
        row("Content-Length shorter than body", answers(H200 + b"Content-Length: 2\r\n\r\nokay"), delivered()),
        row("Content-Length longer than body", answers(H200 + b"Content-Length: 9\r\n\r\nok", "close"), delivered()),
        row("Content-Length longer than body", answers(H200 + b"Content-Length: 9\r\n\r\nok", "reset"), either(),
            "reset"),
        row("two responses", answers(OK + b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"), delivered()),
        row("bad framing (CL+TE, bad chunk size)", answers(H200 + b"Content-Length: 5\r\n" + CHUNKED[17:] +
            b"0\r\n\r\n"), failed("PROTOCOL"), "CL+TE", closes=True),
        row("bad framing (CL+TE, bad chunk size)", answers(H200 + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nok"),
            failed("PROTOCOL"), "two lengths", closes=True),
        row("bad framing (CL+TE, bad chunk size)", answers(CHUNKED + b"zz\r\nok\r\n0\r\n\r\n"), delivered(),
            "chunk size", closes=True),
        row("bad framing (CL+TE, bad chunk size)", answers(b"HTTP/1.1 410 X\r\n" + CHUNKED[17:] + b"-1\r\n"), dead(410),
            "chunk size of a 410", closes=True),
        row("HTTP/2 preface", answers(b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x64"), failed("PROTOCOL"), closes=True),
        row("410 Gone", status(410), dead(410)),
        row("410 Gone", status(410, "Retry-After: 1"), dead(410), "with Retry-After"),
        row("429 with Retry-After: 120", status(429, "Retry-After: 120"), waits(429, 120, 130)),
        row("503 with Retry-After: date in the past", status(503, "Retry-After: Mon, 01 Jan 2024 00:00:00 GMT"),
            failed("STATUS", 503)),
        row("Retry-After: 999999999999999999999", status(429, "Retry-After: 999999999999999999999"),
            waits(429, 86400, 86410)),
        row("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", status(503, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"),
            failed("STATUS", 503)),
        # 500 says nothing of a time; 504 does, as the contract has it.
        row("429 with Retry-After: 120", status(500, "Retry-After: 120"), failed("STATUS", 500), "500"),
        row("429 with Retry-After: 120", status(504, "Retry-After: 120"), waits(504, 120, 130), "504"),
        row("RST after our FIN, delayed 2xx", late, failed("TIMEOUT"), ms=TIMEOUT),
        row("expired certificate", good, failed("TLS"), cert="expired", clear=True),
        row("self-signed", good, failed("TLS"), cert="self-signed", clear=True),
        row("wrong host name in the certificate", good, failed("TLS"), cert="other", clear=True, host="a.hooks.test"),
        row("certificate for the IP but URL has a name", good, failed("TLS"), cert="address", clear=True,
            host="a.hooks.test"),
        row("weak certificate (RSA 1024, SHA-1)", good, failed("TLS"), "RSA 1024", cert="rsa1024", clear=True),
        row("weak certificate (RSA 1024, SHA-1)", good, failed("TLS"), "SHA-1", cert="sha1", clear=True),
    ]
    for n in ("000", "99", "600", "2000", "20x", "0200", "-01", "+200", "2 0"):
        ret.append(row("status 0, 99, 600, 2000, 20x", status(n), failed("PROTOCOL"), n, closes=True))
    for text in (b"<html>it works</html>", b"HTTP/0.9 200 OK\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n", b"\r\n" + OK,
                 b"\0" * 4096, b"SSH-2.0-x\r\n", b"ICY 200 OK\r\n\r\n"):
        ret.append(row("HTTP/0.9 or garbage", answers(text, "close"), failed("PROTOCOL"), repr(text[:12])))
    ret.append(row("HTTP/0.9 or garbage", answers(b"", "close"), failed("CLOSED"), "nothing"))
    for n in (204, 202, 201, 206, 226, 299):
        ret.append(row("204, 202, 201, 206, 226, 299", status(n), delivered(), str(n)))
    ret.append(row("199, 300-308, 400-599", answers(b"HTTP/1.1 199 X\r\n\r\n", "close"), failed("CLOSED"), "199"))
    for value in ("-1", "1.5", "abc", "", "120 s", "0x78", "1e3", "Thu, 99 Foo 2099 00:00:00 GMT"):
        ret.append(row("Retry-After: -1, 1.5, abc, empty, two headers (Svix rounds 1.5 up instead)",
                       status(429, f"Retry-After: {value}"), failed("STATUS", 429), value or "empty"))
    ret.append(row("Retry-After: -1, 1.5, abc, empty, two headers (Svix rounds 1.5 up instead)",
                   status(429, "Retry-After: 120", "Retry-After: 120"), failed("STATUS", 429), "two"))
    return ret


ROWS = rows()
# Cases with a test of their own, below.
APART = {
    "199, 300-308, 400-599": "test_every_status",
    "closes idle keep-alive connection at the moment of reuse": "test_closed_at_the_moment_of_reuse",
    "one endpoint hangs, 10000 others are fine": "test_one_hangs_and_others_do_not_wait",
    "receiver flips between 200 and 500": "test_each_job_is_judged_alone",
    "DNS name removed after accept": "test_a_name_that_is_removed",
    "Content-Length shorter than body": "test_reuse",
    "two responses": "test_reuse",
    "HTTP/2 preface": "test_alpn",
    "gzip bomb": "test_nothing_is_asked_for",
    "revoked certificate": "test_nobody_is_asked_about_revocation",
}


def test_no_case_is_left_out(data):
    listed = json.loads(data("http/hostile-receivers.json").read_text())["cases"]
    assert len(listed) == 39
    assert {c["name"] for c in listed} == {r[0] for r in ROWS} | set(APART)
    assert all(callable(globals()[name]) for name in APART.values())


# --- one server for all -----------------------------------------------------------------

@pytest.fixture(scope="module")
def names():
    with NameServer(default=["127.0.0.1"]) as ns:
        yield ns


@pytest.fixture(scope="module")
def stage(ca, cert, names, tmp_path_factory):
    pairs = {
        "good": cert,
        "revoked": ca.issue("revoked", asks=ASKED.start()),
        "expired": ca.issue("expired", life=-ca.day),
        "self-signed": ca.issue("self-signed", own=True),
        "other": ca.issue("other", names=("b.hooks.test",)),
        "address": ca.issue("address", names=("127.0.0.1",)),
        "rsa1024": ca.issue("rsa1024", rsa=1024),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weak it is
        pairs["sha1"] = ca.issue("sha1", sha1=True)
    s = Stage(tmp_path_factory.mktemp("hostile"), ca, pairs, names)
    yield s
    s.stop()
    ASKED.stop()


class Asked:
    """Who would be asked whether a certificate is revoked."""

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def stop(self):
        self.listener.close()

    def was_asked(self):
        try:
            self.listener.accept()[0].close()
            return True
        except BlockingIOError:
            return False


ASKED = Asked()


class Try:
    """One row at work."""

    def __init__(self, stage, row):
        self.name, self.label, play, _, self.more = row
        mode = self.more.get("silent")
        kw = {"cert": self.more.get("cert", "good"), "rcvbuf": 65536 if "size" in self.more else None}
        self.stoppers = []
        if mode:
            self.r = stage.receiver(good, listen=False, **kw)
        elif "cert" in self.more:
            self.r = stage.receiver(play, **kw)
        else:
            self.r = stage.receiver(play, good, **kw)
        if mode == "full":  # a queue of one, taken: further SYNs are dropped
            self.r.listener.listen(0)
            self.stoppers.append(socket.create_connection(("127.0.0.1", self.r.port)))
        self.job = stage.submit(self.r.url(host=self.more.get("host", "127.0.0.1")), self.more.get("size", 0))

    def behave(self):
        """For those that the first attempt does not reach: from now on they do. And a large body is read."""
        if "size" in self.more:
            self.r.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if self.more.get("silent") == "refuses":
            self.r.listen()
        elif self.stoppers:
            self.r.serve()
        for s in self.stoppers:
            s.close()


@pytest.fixture(scope="module")
def tries(stage):
    return [Try(stage, row) for row in ROWS]


def check_delivered(stage, t):
    state = stage.ended(t.job)
    assert state[0] == "done" and state[1] == 1 and state[4] == [], state
    assert 200 <= state[2] <= 299
    assert len(t.r.requests) == 1


def check_failed(stage, t, code, *reasons):
    state = stage.wait(t.job, lambda s: s[4], "an attempt failed")
    number, got, reason, ms, _ = state[4][0]
    assert number == 1 or "cert" in t.more, state  # of those that never end the store keeps the last notes
    assert reason in reasons and got in (code, 0), state
    assert code == 0 or reason != "STATUS" or got == code
    if "ms" in t.more:
        assert t.more["ms"] * 900 <= ms <= t.more["ms"] * 3000, state
    line = stage.lines(t.job)
    assert any(re.search(rf"event=delivery\.failed .*attempt=1 .*error={reason} ", x) for x in line), line
    t.behave()
    if "cert" in t.more:  # it stays as it is
        state = stage.wait(t.job, lambda s: len(s[4]) >= 2, "it is tried again")
        assert state[0] in ("job", "wait") and {n[2] for n in state[4]} == set(reasons), state
        return
    state = stage.ended(t.job)
    assert state[0] == "done" and state[1] == len(state[4]) + 1, state
    if not t.more.get("silent"):
        assert len(state[4]) == 1, state
    assert {r.headers["webhook-id"] for r in t.r.requests} == {t.job}
    assert len({r.body for r in t.r.requests}) == 1
    assert t.r.requests[-1].headers["ringback-attempt"] == str(state[1])


def check_either(stage, t):
    state = stage.ended(t.job)
    assert state[0] == "done" and state[1] == len(state[4]) + 1 <= 2, state
    assert all(n[2] in ("CLOSED", "CONNECT") for n in state[4]), state
    assert len(t.r.requests) == state[1]


def check_waits(stage, t, code, reason, least, most):
    state = stage.wait(t.job, lambda s: s[4], "an attempt failed")
    number, got, why, _, at = state[4][0]
    assert state[0] == "wait" and len(state[4]) == 1 and (number, got, why) == (1, code, reason), state
    assert least * 1000 <= state[3] - at <= (most + 10 * SLOW) * 1000, state


def check_dead(stage, t, code, reason):
    state = stage.ended(t.job)
    assert state[0] == "dead" and state[1:3] == (1, code) and len(state[4]) == 1, state
    assert state[4][0][:3] == (1, code, reason)
    assert t.job in stage.server.dead()
    assert any("event=job.dead" in x and "error=GONE" in x for x in stage.lines(t.job))


CHECKS = {"delivered": check_delivered, "failed": check_failed, "either": check_either, "waits": check_waits,
          "dead": check_dead}


@pytest.mark.parametrize("i", range(len(ROWS)), ids=[" ".join(r[:2]).strip() for r in ROWS])
def test_case(stage, tries, i):
    t = tries[i]
    kind, rest = ROWS[i][3]
    CHECKS[kind](stage, t, *rest)
    if t.more.get("closes"):
        until(t.r.drained.is_set, 20, "the connection is closed")
    if "most" in t.more:
        until(t.r.drained.is_set, 20, "the flood ends")
        assert t.r.sent < t.more["most"], f"{t.r.sent} bytes were taken"
    if t.more.get("clear"):
        assert MARK.encode() not in t.r.heard[1] and b"POST" not in t.r.heard[1]
    if "cert" in t.more and kind == "failed":
        assert not any(t.r.heard.values()) and t.r.requests == [] and t.r.connections >= 2


# --- the rest of the cases -----------------------------------------------------------------

def test_a_good_receiver(stage):
    """The control: one attempt, and the connection serves the next job."""
    r = stage.receiver(good)
    for n in (1, 2):
        job = stage.submit(r.url())
        state = stage.ended(job)
        assert state[:3] == ("done", 1, 200) and state[4] == []
        assert r.requests[-1].headers["webhook-id"] == job
        assert json.loads(r.requests[-1].body)["result"]["m"] == MARK
    assert [q.conn for q in r.requests] == [1, 1]


def test_nothing_is_asked_for(stage):
    r = stage.receiver(good)
    stage.ended(stage.submit(r.url()))
    headers = r.requests[0].headers
    assert not {"accept-encoding", "te", "upgrade", "expect", "transfer-encoding", "cookie"} & set(headers), headers


@pytest.mark.parametrize("wants", [["http/1.1"], [], ["http/1.0", "http/1.1"]])
def test_alpn(stage, wants):
    """HTTP/1.1 is spoken with all that do not want HTTP/2 (test_http2.py has those that do)."""
    chosen = []

    def play(peer):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if wants:
            context.set_alpn_protocols(wants)
        context.load_cert_chain(*peer.owner.pair)
        peer.tls(context)
        chosen.append((peer.sock.selected_alpn_protocol(), peer.sock.version()))
        peer.read()
        peer.say(OK)
    state = stage.ended(stage.submit(stage.receiver(play).url()))
    assert state[0] == "done" and chosen == [("http/1.1" if wants else None, "TLSv1.3")]


@pytest.mark.parametrize("answer", [
    H200 + b"Content-Length: 2\r\n\r\nokay", OK + b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
    H200 + b"Connection: close\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    CHUNKED + b"zz\r\n", H200 + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
], ids=["extra bytes", "two responses", "close", "HTTP/1.0", "bad chunk", "gzip"])
def test_reuse(stage, answer):
    """After an answer that two readers could frame in two ways, nothing more is asked on that
    connection, and nothing of what follows is an answer to the next job."""
    r = stage.receiver(answers(answer), good)
    for _ in range(2):
        state = stage.ended(stage.submit(r.url()))
        assert state[:2] == ("done", 1) and state[4] == [], state
    assert [q.conn for q in r.requests] == [1, 2]


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 2"], ids=["no byte", "a byte"])
def test_closed_at_the_moment_of_reuse(stage, words):
    """Tried once more at once, as the same attempt; after the first byte of an answer only
    along the schedule."""
    def play(peer):
        peer.tls().read()
        peer.say(OK)
        peer.read()
        if words:
            peer.say(words)
        else:
            peer.reset()
    r = stage.receiver(play, good)
    stage.ended(stage.submit(r.url()))
    job = stage.submit(r.url())
    state = stage.ended(job)
    numbers = [(q.conn, q.headers["webhook-id"], q.headers["ringback-attempt"]) for q in r.requests[1:]]
    last = "2" if words else "1"
    assert numbers == [(1, job, "1"), (2, job, last)]
    assert state[0] == "done" and state[1] == int(last)
    assert [n[2] for n in state[4]] == (["CLOSED"] if words else [])


def test_every_status(stage):
    """300 to 308 and 400 to 599: failed and tried again; 410 ends it."""
    codes = [*range(300, 309), *range(400, 600)]
    tried, lock = set(), threading.Lock()

    def play(peer):
        peer.tls()
        while q := peer.read():
            code = int(q.head.split(b" ", 2)[1][1:])
            with lock:
                first = code not in tried
                tried.add(code)
            peer.say(b"HTTP/1.1 %d X\r\nLocation: https://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n" %
                     (code if first else 200))
    r = stage.receiver(play)
    batch = [{"id": n, "method": "test.echo", "params": {"$rpc.callback": r.url(f"/{n}")}} for n in codes]
    jobs = {}
    with stage.server.client() as c:
        for i in range(0, len(batch), 50):
            reply = c.post(batch[i:i + 50])
            assert all("result" in a for a in reply.json)
    until(lambda: len(tried) == len(codes), 40, "all were tried")
    for q in list(r.requests):
        jobs[int(q.head.split(b" ", 2)[1][1:])] = q.headers["webhook-id"]
    for code in codes:
        state = stage.ended(jobs[code])
        assert state[0] == ("dead" if code == 410 else "done"), (code, state)
        assert [n[:3] for n in state[4]] == [(1, code, "GONE" if code == 410 else "STATUS")], state


def test_each_job_is_judged_alone(stage):
    said, lock = {}, threading.Lock()

    def play(peer):
        peer.tls()
        while q := peer.read():
            with lock:
                code = 500 if sum(map(len, said.values())) % 2 else 200
                said.setdefault(q.headers["webhook-id"], []).append(code)
            peer.say(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % code)
    r = stage.receiver(play)
    jobs = [stage.submit(r.url()) for _ in range(20)]
    for job in jobs:
        state = stage.ended(job)
        assert state[0] == "done" and [n[1] for n in state[4]] == said[job][:-1], state
        assert said[job][-1] == 200 and state[1] == len(said[job])
    assert any(len(codes) > 1 for codes in said.values())


def test_one_hangs_and_others_do_not_wait(stage):
    hanging, fine = stage.receiver(silent_after_request), stage.receiver(good)
    stuck = [stage.submit(hanging.url()) for _ in range(64)]
    for _ in range(4):
        batch = [{"id": n, "method": "test.echo", "params": {"$rpc.callback": fine.url()}} for n in range(50)]
        with stage.server.client() as c:
            assert all("result" in a for a in c.post(batch).json)
    until(lambda: len({q.headers["webhook-id"] for q in list(fine.requests)}) == 200, 40, "all others are delivered")
    state = stage.look()
    assert any(state[j][1] == 0 for j in stuck), "while some have not even been tried"


def test_nobody_is_asked_about_revocation(stage, tries):
    """No CRL and no OCSP: the certificate's own word for whom to ask is another way to make the
    server call somebody. The documents say so."""
    t = next(t for t in tries if t.name == "revoked certificate")
    assert stage.ended(t.job)[0] == "done"
    assert not ASKED.was_asked()
    assert "OCSP" in (root() / "docs/operations.md").read_text()


def test_a_name_that_is_removed(make_server, names):
    """To the end of the schedule, then dead."""
    names.zone["gone.hooks.test"] = [["127.0.0.1"], NXDOMAIN]
    server = make_server({"callback.name_servers": names.address, "callback.resolve": "yes",
                          "callback.resolve_timeout": "10s", "delivery.schedule": "300ms", "delivery.jitter": "0",
                          "delivery.max_age": "1s", "delivery.breaker": "0"})
    with server.client() as c:
        job = c.call("test.echo", callback="https://gone.hooks.test:4443/").jobs[0]
    until(lambda: server.dead() == {job}, 20, lambda: f"it is dead: {server.log()[-1000:]}")
    notes = server.rows("select number, status, reason from attempt order by n")
    assert len(notes) >= 2 and {n[1:] for n in notes} == {(0, "RESOLVE")}
    server.stop()


# --- bounds -----------------------------------------------------------------------------------

ENDLESS = b"\x82\x7f\x7f" + b"\xff" * 7 + b"z" * 65536  # a frame of 2^63 - 1 bytes
WSS = {
    "TLS 1.0/1.1 only": (old_tls, "TLS"),
    "TLS 1.1 chosen": (old_hello(2), "TLS"),
    "not HTTP": (answers(b"\x81\x02ok", "close"), "PROTOCOL"),
    "headers": (floods(H200, b"X-Y: z\r\n" * 1000), "PROTOCOL"),
    "103": (floods(b"", H103 * 100), "PROTOCOL"),
    "body": (floods(H200 + b"\r\n", b"z" * 65536), "STATUS"),
    "slow head": (drips(b"HTTP/1.1 101 X\r\nX: ", b"y", 0.2), "TIMEOUT"),
    "endless frame": (switches(ENDLESS), "PROTOCOL TOO_LARGE LIMIT TIMEOUT CLOSED"),
    "pings": (switches(frame(9, b"p" * 125) * 500), "PROTOCOL TIMEOUT"),
    "fragments": (switches(b"\x01\x01a" + b"\x00\x01b" * 5000), "PROTOCOL TIMEOUT"),
    "messages": (switches(frame(1, b"m" * 125) * 500), "PROTOCOL TIMEOUT"),
    "slow pings": (switches(frame(9, b"p"), 0.2), "PROTOCOL TIMEOUT"),
}


@pytest.fixture(scope="module")
def wss(stage):
    return {label: stage.receiver(play) for label, (play, _) in WSS.items()}


@pytest.fixture(scope="module")
def wss_jobs(stage, wss):
    return {label: stage.submit(r.url(scheme="wss")) for label, r in wss.items()}


@pytest.mark.parametrize("label", WSS)
def test_wss(stage, wss, wss_jobs, label):
    """A websocket's receiver has the same bounds: never delivered, and over in time."""
    state = stage.wait(wss_jobs[label], lambda s: s[4], "an attempt failed")
    first = "\n".join(x for x in stage.lines(wss_jobs[label]) if "attempt=1 " in x)
    m = re.search(r"event=delivery\.failed .*error=(\w+) .*ms=([0-9]+)", first)
    assert m, first
    reason, ms = m[1], int(m[2])
    assert reason in WSS[label][1].split() and ms <= TIMEOUT * 2000, first
    assert state[0] in ("job", "wait") and bool(wss[label].requests) == (reason != "TLS")


@pytest.mark.alone  # memory under load
def test_floods_cost_nothing(ca, cert, names, tmp_path):
    """Many floods at once: memory stays, and no attempt outlives its deadline. A body of 1 GiB
    is not even taken."""
    stage = Stage(tmp_path, ca, {"good": cert}, names)
    try:
        if not memory(stage.server):
            pytest.skip("a sanitizer makes the figure meaningless")
        fine = stage.receiver(good)
        for _ in range(50):
            job = stage.submit(fine.url())
        stage.ended(job)
        flood_it(stage)
    finally:
        stage.stop()


def flood_it(stage):
    bad = [(floods(H200 + b"Content-Length: 1073741824\r\n\r\n", b"z" * 65536), "done", "https"),
           (floods(CHUNKED, b"1\r\nz\r\n" * 5000), "done", "https"),
           (floods(H200, b"X-Y: z\r\n" * 1000), "wait", "https"), (floods(b"", H100 * 100), "wait", "https"),
           (drips(H200, b"X: y\r\n" * 10, 0.2), "wait", "https"), (switches(ENDLESS), "wait", "wss"),
           (switches(frame(9, b"p" * 125) * 500), "wait", "wss")]
    most = before = memory(stage.server)
    jobs = []
    for play, end, scheme in bad * 6:
        r = stage.receiver(play)
        jobs.append((stage.submit(r.url(scheme=scheme)), r, end))
    for job, r, end in jobs:
        state = stage.wait(job, lambda s: s[4] or s[0] == "done", "an attempt ended")
        most = max(most, memory(stage.server))
        assert (state[0] == "done") == (end == "done"), state
        assert all(n[3] <= TIMEOUT * 2000 for n in state[4]), state
    print(f"RssAnon: {before} KiB before, {most} KiB at most")
    assert most - before < 16 << 10, f"{before} KiB before, {most} KiB at most"
