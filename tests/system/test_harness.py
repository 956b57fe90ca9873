# SPDX-License-Identifier: Apache-2.0
"""The harness judges the server, so it is judged first: checkers that miss a planted
fault, or a receiver that loses POSTs, would make every other test worthless."""
import http.client
import ssl
import threading

import pytest

from lib import promise, trace
from lib.receiver import CLOSE, HANG, RESET, Answer


def https(receiver, ca):
    ctx = ssl.create_default_context(cafile=str(ca.pem))
    return http.client.HTTPSConnection(receiver.host, receiver.port, context=ctx, timeout=5)


def post(conn, path="/callback", body=b"{}", **headers):
    conn.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    r = conn.getresponse()
    return r.status, r.read(), r.headers


def test_receiver_records_every_post(receiver, ca):
    def work(k):
        conn = https(receiver, ca)
        for i in range(100):
            assert post(conn, f"/c/{k}", b'{"id":%d}' % i, webhook_id=f"{k}-{i}")[0] == 200
        conn.close()
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(receiver.wait(800)) == 800
    assert {p.webhook_id for p in receiver.posts} == {f"{k}-{i}" for k in range(8) for i in range(100)}
    assert [p.body for p in receiver.at("/c/3")] == [b'{"id":%d}' % i for i in range(100)]
    assert receiver.connections == 8, "connections are kept"


def test_receiver_misbehaves_as_told(receiver, ca):
    receiver.on("/s", Answer(500), Answer(302, {"Location": "https://127.0.0.1/x"}), Answer(delay=0.05))
    conn = https(receiver, ca)
    assert [post(conn, "/s")[0] for _ in range(4)] == [500, 302, 200, 200]
    for path, what, fault in (("/h", HANG, TimeoutError), ("/c", CLOSE, (http.client.HTTPException, OSError)),
                              ("/r", RESET, OSError)):
        receiver.on(path, what)
        conn = https(receiver, ca)
        conn.timeout = 0.2
        with pytest.raises(fault):
            post(conn, path)
        conn.close()
    assert len(receiver.posts) == 7


def test_receiver_down_and_up_on_the_same_port(receiver, ca):
    port = receiver.port
    assert post(https(receiver, ca))[0] == 200
    receiver.stop()
    with pytest.raises(OSError):
        post(https(receiver, ca))
    receiver.start()
    assert receiver.port == port
    assert post(https(receiver, ca))[0] == 200


def test_certificate_is_for_the_receiver_alone(make_receiver, ca):
    other = make_receiver(cert=ca.issue("other", names=("other.test",)))
    with pytest.raises(ssl.SSLCertVerificationError):
        post(https(other, ca))


# --- the promise ------------------------------------------------------------------

def good():
    return dict(acked=["A", "B"],
                posts=[("A", 1, b'{"id":1}', 50), ("B", 2, b'{"id":2}', 60), ("A", 1, b'{"id":1}', 70)],
                journal=[("A", 1, 10), ("A", 2, 20), ("B", 1, 30)], results={"A": 45})


def test_promise_kept():
    assert promise.violations(**good()) == []


@pytest.mark.parametrize("name, plant, says", [
    ("lost", lambda g: g["acked"].append("C"), "never delivered"),
    ("new body", lambda g: g["posts"].append(("A", 1, b'{"id": 1}', 80)), "two bodies"),
    ("new id", lambda g: g["posts"].append(("Z", 1, b'{"id":1}', 80)), "delivered as 2 jobs"),
    ("no id", lambda g: g["posts"].append((None, 1, b'{"id":1}', 80)), "without webhook-id"),
    ("run after send", lambda g: g["journal"].append(("B", 2, 61)), "after its result"),
    ("run after store", lambda g: g["journal"].append(("A", 3, 46)), "after its result"),
    ("same run twice", lambda g: g["journal"].append(("B", 1, 31)), "do not rise"),
    ("never run", lambda g: g["journal"].remove(("B", 1, 30)), "never run"),
])
def test_promise_broken(name, plant, says):
    g = good()
    plant(g)
    assert any(says in v for v in promise.violations(**g)), promise.violations(**g)


def test_promise_wrong_body():
    g = good()
    assert promise.violations(**g, expected=lambda i: b'{"id":%d}' % i) == []
    assert any("wrong body" in v for v in promise.violations(**g, expected=lambda i: b"{}"))


def test_journal_skips_a_line_cut_short(tmp_path):
    a, b, c, ns = "a" * 36, "b" * 36, "c" * 36, "1795470590575197000"
    (tmp_path / "j").write_text(f"{a} 1 {ns}\n{c[:20]}{b} 2 {ns}\n{c} 1 {ns[:9]}{b} 3 {ns}\n{c} 1")
    assert promise.read_journal(tmp_path / "j") == [(a, 1, int(ns)), (b, 2, int(ns)), (b, 3, int(ns))]
    assert promise.read_journal(tmp_path / "none") == []


# --- the trace --------------------------------------------------------------------

STORE = "/t/ringback.db"
TRACE = """\
10 1.000001 pwrite64(5</t/ringback.db-wal>, "\\0..tok-000001-tok..", 4096, 32) = 4096
10 1.000002 pwrite64(5</t/ringback.db-wal>, "\\0..tok-000002-tok..", 4096, 4152) = 4096
10 1.000003 fdatasync(5</t/ringback.db-wal> <unfinished ...>
11 1.000004 write(9<socket:[77]>, "HTTP/1.1 200 OK\\r\\nRingback-Job: 00aa-01\\r\\n\\r\\n{}", 40) = 40
10 1.000005 <... fdatasync resumed>) = 0
11 1.000006 writev(9<socket:[77]>, [{iov_base="HTTP/1.1 200 OK\\r\\nRingback-Job: 00aa-02\\r\\n", iov_len=40}], 1) = 40
"""


def check(text, jobs):
    return trace.check_acks(trace.parse(text.splitlines()), STORE, jobs)


def test_trace_in_order():
    assert check(TRACE, {"tok-000002-tok": "00aa-02"}) == []


def test_trace_ack_inside_the_sync_is_a_fault():
    assert any("without a sync" in v for v in check(TRACE, {"tok-000001-tok": "00aa-01"}))


@pytest.mark.parametrize("old, new, says", [
    ("resumed>) = 0", "resumed>) = -1 EIO (Input/output error)", "without a sync"),
    ("fdatasync(5</t/ringback.db-wal>", "fdatasync(6</t/other>", "without a sync"),
    ("tok-000002-tok", "tok-000009-tok", "no write to the store"),
    ("00aa-02", "00aa-03", "no write to a socket"),
    ("1.000002 pwrite64(5</t/ringback.db-wal>, \"\\0..tok-000002-tok..\", 4096, 4152) = 4096\n10 1.000003 "
     "fdatasync(5</t/ringback.db-wal> <unfinished ...>",
     "1.000002 fdatasync(5</t/ringback.db-wal> <unfinished ...>\n12 1.000003 "
     "pwrite64(5</t/ringback.db-wal>, \"\\0..tok-000002-tok..\", 4096, 4152) = 4096", "without a sync"),
])
def test_trace_planted_faults(old, new, says):
    assert old in TRACE
    assert any(says in v for v in check(TRACE.replace(old, new), {"tok-000002-tok": "00aa-02"}))
