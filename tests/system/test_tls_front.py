# SPDX-License-Identifier: Apache-2.0
"""The callers' side under TLS: who may speak, who is refused and how soon, certificates that
change while a connection goes on, and what scanners say."""
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest

from lib.certs import CA
from lib.client import Closed
from lib.server import ringback
from lib.wait import until

SUITES_12 = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"}
SUITES_13 = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}


V = ssl.TLSVersion


def context(ca, *own, low=None, high=None, ciphers=None, alpn=("http/1.1",)):
    c = ssl.create_default_context(cafile=str(ca.pem))
    if ciphers or low:
        c.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    if low:
        c.minimum_version = low
    if high:
        c.maximum_version = high
    if alpn:
        c.set_alpn_protocols(list(alpn))
    if own:
        c.load_cert_chain(*map(str, own))
    return c


@pytest.fixture
def make_tls(make_server, ca, cert, tmp_path):
    """A server with a pair of its own that a test may overwrite."""
    def make(options=None, pair=cert, trust=ca, start=True, own=(), **kw):
        files = tmp_path / "own.crt", tmp_path / "own.key"
        for source, target in zip(pair, files):
            shutil.copy(source, target)
        s = make_server({"server.tls_cert": files[0], "server.tls_key": files[1], **(options or {})},
                        start=False, **kw)
        s.pair = files
        s.tls = context(trust, *own)
        return s.start() if start else s
    return make


@pytest.fixture
def tls_server(make_tls):
    return make_tls()


def connect(server, tls, name="127.0.0.1", session=None):
    raw = socket.create_connection(("127.0.0.1", server.port), 10)
    try:
        return tls.wrap_socket(raw, server_hostname=name, session=session)
    except BaseException:
        raw.close()
        raise


def serial(server, tls):
    """Of the certificate that a new connection is shown."""
    with connect(server, tls) as s:
        return s.getpeercert()["serialNumber"]


def replace(server, pair):
    for source, target in zip(pair, server.pair):
        shutil.copy(source, str(target) + ".new")
        os.replace(str(target) + ".new", target)


def exchange(sock):
    body = b'{"id":1,"method":"demo.echo","params":{"a":1}}'
    sock.sendall(b"POST /api HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    got = b""
    while b'"result"' not in got:
        data = sock.recv(65536)
        assert data, got
        got += data
    return got


# --- what is spoken ---------------------------------------------------------------

def test_job_over_tls(tls_server, receiver):
    """The whole contract, as without TLS."""
    with tls_server.client() as c:
        reply = c.call("demo.echo", {"a": 1}, callback=receiver.url("/x"))
        assert reply.status == 200 and reply.jobs
    assert b'"result":{"a":1}' in receiver.wait(1)[0].body
    assert "tls=yes" in tls_server.log()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_versions_and_suites(tls_server, ca):
    for version in (V.TLSv1_2, V.TLSv1_3):
        seen = set()
        for suite in (None, *sorted(SUITES_12)):
            ciphers = f"{suite}:@SECLEVEL=0" if suite and version == V.TLSv1_2 else None
            with connect(tls_server, context(ca, low=version, high=version, ciphers=ciphers)) as s:
                assert s.version() == version.name.replace("_", ".")
                assert s.selected_alpn_protocol() == "http/1.1"
                assert s.compression() is None
                exchange(s)
                seen.add(s.cipher()[0])
        assert seen <= (SUITES_12 if version == V.TLSv1_2 else SUITES_13)
        assert version == V.TLSv1_3 or seen == SUITES_12
    for version in (V.TLSv1, V.TLSv1_1):
        with pytest.raises(ssl.SSLError):
            connect(tls_server, context(ca, low=version, high=version))


def test_weak_suites_are_refused(tls_server, ca):
    for ciphers in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA", "aNULL", "PSK",
                    "DHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM8"):
        version = V.TLSv1_2
        weak = context(ca, low=version, high=version, ciphers=f"{ciphers}:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError):
            connect(tls_server, weak)


def test_other_protocols_are_refused(tls_server, ca):
    with pytest.raises(ssl.SSLError):
        connect(tls_server, context(ca, alpn=("h2",)))
    with connect(tls_server, context(ca, alpn=("h2", "http/1.1"))) as s:
        exchange(s)
    with connect(tls_server, context(ca, alpn=())) as s:
        exchange(s)


def test_any_name_may_be_asked_for(tls_server, ca):
    any_name = context(ca)
    any_name.check_hostname = False
    for name in ("receiver.test", "another.example", None):
        with connect(tls_server, any_name, name) as s:
            exchange(s)


def test_resumption(tls_server, ca):
    for version in (V.TLSv1_2, V.TLSv1_3):
        tls = context(ca, low=version, high=version)
        with connect(tls_server, tls) as s:
            exchange(s)  # under 1.3 the ticket is there by then
            session, again = s.session, s.session_reused
        assert not again and session
        with connect(tls_server, tls, session=session) as s:
            exchange(s)
            assert s.session_reused


# --- who has no business here ------------------------------------------------------

def ended(sock, limit):
    """All that came until the end, which must come."""
    got, sock_end = b"", time.monotonic() + limit
    while True:
        sock.settimeout(max(0.01, sock_end - time.monotonic()))
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            return got
        if not data:
            return got
        got += data


NO_TLS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /api HTTP/1.1\r\n", b"\0" * 64, b"\xff" * 4096,
    b"\x16\x03\x01\xff\xff" + b"\1" * 100,     # a record too long
    b"SSH-2.0-x\r\n", b"\x16\x03\x01\0\4\2\0\0\0",  # a server's hello
    b"\x15\x03\x03\0\2\2\x28",                  # an alert
    b"\x80\x2e\1\0\2\0\x15\0\0\0\x10" + b"\5" * 37,  # SSL 2
]


def test_no_tls_is_closed_at_once(tls_server):
    for sent in NO_TLS:
        with socket.create_connection(("127.0.0.1", tls_server.port), 10) as s:
            s.sendall(sent)
            got = ended(s, 5)  # less than the deadline of a handshake
        assert b"HTTP" not in got and len(got) <= 7, sent  # an alert at most
    with tls_server.client() as c:
        assert c.call("demo.echo", {"a": 1}).status == 200


def test_slow_handshakes_end(tls_server, ca):
    """None at all, half a hello, a byte now and then: gone when 10 s are over, and told."""
    hello = ssl.MemoryBIO()
    half = context(ca).wrap_bio(ssl.MemoryBIO(), hello, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    text = hello.read()
    start = time.monotonic()
    socks = [socket.create_connection(("127.0.0.1", tls_server.port), 10) for _ in range(3)]
    socks[1].sendall(text[:len(text) // 2])
    try:
        sent = 0
        while time.monotonic() - start < 30:
            try:
                socks[2].sendall(text[sent:sent + 1])
                sent += 1
            except OSError:
                break
            time.sleep(0.2)  # the peer's pace, not a wait for the server
        assert 9 < time.monotonic() - start < 14
        for s in socks:
            ended(s, 4)
    finally:
        for s in socks:
            s.close()
    tls_server.wait_log("event=tls.refused .*too slowly")


def test_silent_looks_are_not_logged(tls_server):
    for _ in range(5):
        socket.create_connection(("127.0.0.1", tls_server.port), 10).close()
    with tls_server.client() as c:
        assert c.call("demo.echo", {"a": 1}).status == 200
    assert "tls.refused" not in tls_server.log()


def test_refusals_are_logged_at_a_pace(tls_server):
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", tls_server.port), 10) as s:
            s.sendall(b"GET / HTTP/1.1\r\n\r\n")
            ended(s, 5)
    lines = [x for x in tls_server.log().splitlines() if "event=tls.refused" in x]
    assert 1 <= len(lines) < 25 and "127.0.0.1:" in lines[0] and "http request" in lines[0], lines


def test_no_renegotiation(tls_server, ca):
    """`R` of openssl s_client asks for one; nothing comes of it."""
    run = subprocess.Popen(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{tls_server.port}", "-CAfile",
                            str(ca.pem)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        run.stdin.write(b"R\n")
        run.stdin.flush()
        out = run.stdout.read()  # it gives up by itself
    finally:
        run.kill()
        run.communicate()
    assert b"RENEGOTIATING" in out and b"no renegotiation" in out, out[-1500:]


def test_no_early_data(tls_server, ca, tmp_path):
    """A ticket allows none: the client does not even try."""
    at = f"127.0.0.1:{tls_server.port}"
    ticket = tmp_path / "ticket"
    base = ["openssl", "s_client", "-tls1_3", "-connect", at, "-CAfile", str(ca.pem)]
    early = tmp_path / "early"
    early.write_bytes(b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
                      b"Content-Length: 28\r\n\r\n{\"id\":1,\"method\":\"demo.echo\"}")
    first = subprocess.run([*base, "-sess_out", str(ticket), "-ign_eof"], input=early.read_bytes(),
                           capture_output=True, timeout=30)
    assert ticket.exists(), first.stdout[-1500:]
    second = subprocess.run([*base, "-sess_in", str(ticket), "-early_data", str(early)], input=b"Q\n",
                            capture_output=True, timeout=30)
    assert b"Max Early Data: 0" in first.stdout
    assert b"Early data was accepted" not in second.stdout


# --- the pair changes ---------------------------------------------------------------

def reload(server, event):
    before = server.log().count(f"event={event}")
    server.signal(signal.SIGHUP)
    until(lambda: server.log().count(f"event={event}") > before, 10, lambda: f"{event}: {server.log()[-1500:]}")


def test_reload(tls_server, ca):
    first = serial(tls_server, tls_server.tls)
    tls = context(ca)
    with connect(tls_server, tls) as kept:
        exchange(kept)
        session = kept.session
        replace(tls_server, ca.issue("second"))
        reload(tls_server, "config.reloaded")
        exchange(kept)  # the old connection goes on
        assert serial(tls_server, tls_server.tls) != first
        with connect(tls_server, tls, session=session) as s:
            exchange(s)
            assert not s.session_reused  # of other settings
        exchange(kept)
    assert tls_server.log().count("event=tls.certificate ") == 2


def test_faulty_pairs_keep_the_old(tls_server, ca, tmp_path):
    first = serial(tls_server, tls_server.tls)
    pair = ca.issue("third")
    other_key = ca.issue("fourth")[1]
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("no certificate")
    loose = tmp_path / "loose.key"
    shutil.copy(pair[1], loose)
    cases = [((pair[0], other_key), "key values mismatch"), ((rubbish, pair[1]), "no start line"),
             ((pair[0], rubbish), "own.key")]
    rubbish.chmod(0o600)
    for faulty, says in cases:
        replace(tls_server, faulty)
        reload(tls_server, "config.refused")
        assert says in tls_server.log()
        assert serial(tls_server, tls_server.tls) == first
    replace(tls_server, (pair[0], loose))
    os.chmod(tls_server.pair[1], 0o640)
    reload(tls_server, "config.refused")
    assert "others than its owner" in tls_server.log()
    assert serial(tls_server, tls_server.tls) == first
    os.chmod(tls_server.pair[1], 0o600)
    reload(tls_server, "config.reloaded")
    assert serial(tls_server, tls_server.tls) != first


def test_reload_under_load(tls_server, ca):
    """Requests of kept and of new connections meanwhile: none fails."""
    pairs = [ca.issue(f"turn{i}") for i in range(4)]
    with tls_server.client() as kept:
        for i in range(12):
            replace(tls_server, pairs[i % 4])
            tls_server.signal(signal.SIGHUP)
            for _ in range(5):
                with tls_server.client() as c:
                    assert c.call("demo.echo", {"a": i}).status == 200
                assert kept.call("demo.echo", {"a": i}).status == 200
    until(lambda: tls_server.log().count("event=config.reloaded") >= 2, 10, "reloads are made")


@pytest.mark.parametrize("start,life", [(None, -1), (2, 4)])
def test_certificate_out_of_time(make_tls, ca, start, life):
    pair = ca.issue(f"late{life}", life=ca.day * life, start=ca.day * start if start else None)
    server = make_tls(pair=pair, start=False)
    server.tls = ssl.create_default_context()
    server.tls.check_hostname, server.tls.verify_mode = False, ssl.CERT_NONE
    server.start()
    server.wait_log("level=warn event=tls.certificate_invalid .*from=.* until=")


# --- bad settings --------------------------------------------------------------------

@pytest.mark.parametrize("change,says", [
    ({"server.tls_key": ""}, "server.tls_cert: goes with server.tls_key"),
    ({"server.tls_cert": ""}, "server.tls_cert: goes with server.tls_key"),
    ({"server.tls_cert": "", "server.tls_key": "", "server.tls_client_ca": "/x"}, "server.tls_client_ca: needs"),
    ({"server.tls_cert": "/nowhere.pem"}, "/nowhere.pem: No such file"),
    ({"server.tls_cert": "/"}, "/: is no file"),
    ({"server.tls_client_ca": "/nowhere.pem"}, "/nowhere.pem: No such file"),
])
def test_bad_settings(make_tls, change, says):
    server = make_tls(change, start=False)
    for argv in (server.argv(), [str(ringback()), "config", "-t", *server.argv()[2:]]):
        run = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        assert run.returncode == 2 and says in run.stderr, (run.returncode, run.stderr)


def test_fifo_and_loose_key(make_tls, tmp_path):
    server = make_tls(start=False)
    os.chmod(server.pair[1], 0o644)
    run = subprocess.run(server.argv(), capture_output=True, text=True, timeout=30)
    assert run.returncode == 2 and "chmod 600" in run.stderr
    os.unlink(server.pair[0])
    os.mkfifo(server.pair[0])
    run = subprocess.run(server.argv(), capture_output=True, text=True, timeout=30)
    assert run.returncode == 2 and "is no file" in run.stderr


# --- clients with certificates ----------------------------------------------------------

@pytest.fixture(scope="module")
def client_ca(tmp_path_factory):
    return CA(tmp_path_factory.mktemp("client-ca"))


def asked(server, tls):
    with server.client(tls=tls) as c:
        return c.call("demo.echo", {"a": 1}).status


def test_client_certificates(make_tls, ca, client_ca):
    good = client_ca.issue("good", names=(), client=True)
    server = make_tls({"server.tls_client_ca": client_ca.pem}, own=good)
    bad = {
        "none": context(ca),
        "of another authority": context(ca, *ca.issue("stranger", names=(), client=True)),
        "out of time": context(ca, *client_ca.issue("old", names=(), client=True, life=ca.day * -1)),
        "for servers": context(ca, *client_ca.issue("purpose", names=("x.example",))),
        "signed by itself": context(ca, *client_ca.issue("self", names=(), client=True, own=True)),
    }
    for what, tls in bad.items():
        with pytest.raises((ssl.SSLError, Closed, ConnectionResetError)):
            pytest.fail(f"{what}: {asked(server, tls)}")
    assert asked(server, server.tls) == 200
    server.wait_log("event=tls.refused .*peer did not return a certificate")
    assert "CN=" not in server.log() and "good" not in server.log()


def test_sessions_of_clients_with_certificates(make_tls, ca, client_ca):
    own = client_ca.issue("kept", names=(), client=True)
    server = make_tls({"server.tls_client_ca": client_ca.pem}, own=own)
    for version in (V.TLSv1_2, V.TLSv1_3):
        tls = context(ca, *own, low=version, high=version)
        with connect(server, tls) as s:
            exchange(s)
            session = s.session
        with connect(server, tls, session=session) as s:
            exchange(s)
            assert s.session_reused


def test_authorities_change(make_tls, ca, client_ca, tmp_path):
    """Whom the new authorities do not know is out with the next connection, ticket or not."""
    trusted = tmp_path / "clients.pem"
    shutil.copy(client_ca.pem, trusted)
    own = client_ca.issue("leaves", names=(), client=True)
    server = make_tls({"server.tls_client_ca": trusted}, own=own)
    tls = context(ca, *own)
    with connect(server, tls) as s:
        exchange(s)
        session = s.session
    shutil.copy(ca.pem, trusted)
    reload(server, "config.reloaded")
    for old in (None, session):
        with pytest.raises((ssl.SSLError, ConnectionResetError, AssertionError)), connect(server, tls, session=old) as s:
            pytest.fail(exchange(s))
    assert asked(server, context(ca, *ca.issue("joins", names=(), client=True))) == 200


# --- a scanner ------------------------------------------------------------------------

def test_sslscan(tls_server):
    if shutil.which("sslscan") is None:
        pytest.skip("sslscan is not installed")
    out = subprocess.run(["sslscan", "--no-colour", "--no-check-certificate", f"127.0.0.1:{tls_server.port}"],
                         capture_output=True, text=True, timeout=120).stdout
    for version in ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"):
        assert re.search(rf"^{version} +disabled", out, re.M), out
    for good in ("TLSv1.2   enabled", "TLSv1.3   enabled", "Session renegotiation not supported",
                 "TLSv1.2 not vulnerable to heartbleed"):
        assert good in out, out
    accepted = {line.split()[4] for line in out.splitlines() if line.startswith(("Accepted", "Preferred"))}
    assert accepted == SUITES_12 | SUITES_13, out
