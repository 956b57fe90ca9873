# SPDX-License-Identifier: Apache-2.0
"""Deliveries through an egress proxy, and with a certificate of the client's own."""
import json
import socket
import ssl
import subprocess

import pytest

from lib.names import NameServer
from lib.proxy import HANG, Proxy
from lib.receiver import Receiver
from lib.server import clean_env, ringback
from lib.wait import until
from lib.ws_receiver import WsReceiver

FAST = {"delivery.schedule": ",".join(["100ms"] * 12), "delivery.max_age": "1m", "delivery.jitter": "0",
        "delivery.connect_timeout": "10s"}
VARIABLES = [v for name in ("http_proxy", "https_proxy", "all_proxy", "wss_proxy") for v in (name, name.upper())]


@pytest.fixture
def proxy():
    with Proxy() as p:
        yield p


@pytest.fixture(scope="module")
def named_cert(ca):
    return ca.issue("named", names=("in.hooks.test", "127.0.0.1"))


@pytest.fixture
def make_ws(named_cert):
    made = []

    def make():
        made.append(WsReceiver(named_cert))
        return made[-1]
    yield make
    for r in made:
        r.stop()
    assert not [f for r in made for f in r.faults], [f for r in made for f in r.faults]


@pytest.fixture(params=["https", "wss"])
def target(request, make_receiver, make_ws, named_cert):
    """A receiver of either scheme."""
    return Target(make_receiver(cert=named_cert)) if request.param == "https" else Target(make_ws())


class Target:
    def __init__(self, receiver):
        self.receiver, self.port = receiver, receiver.port
        self.scheme = "https" if isinstance(receiver, Receiver) else "wss"
        self.context = receiver.ctx if self.scheme == "https" else receiver.context

    def url(self, host="127.0.0.1"):
        if self.scheme == "wss":
            self.receiver.authority = f"{host}:{self.port}"
        return f"{self.scheme}://{host}:{self.port}/callback"

    @property
    def got(self):
        return list(self.receiver.posts if self.scheme == "https" else self.receiver.messages)


def submit(server, url, **kw):
    with server.client() as c:
        reply = c.call("test.echo", {"x": 1}, callback=url, **kw)
    assert reply.jobs, reply
    return reply.jobs[0]


def delivered(server, target, n=1):
    until(lambda: len(target.got) >= n, 20, lambda: f"{n} deliveries: {server.log()[-2000:]}")
    until(lambda: server.pending() == 0, 20, lambda: f"the jobs are done: {server.log()[-2000:]}")


# --- the way through ----------------------------------------------------------------------

def test_delivery(make_server, proxy, target):
    server = make_server({"delivery.proxy": proxy.url})
    job = submit(server, target.url())
    delivered(server, target)
    assert json.loads(target.got[0].body) == {"id": 1, "result": {"x": 1}}
    assert target.got[0].webhook_id == job
    where = f"127.0.0.1:{target.port}"
    assert proxy.asked == [f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode()]
    server.stop()


def test_a_tunnel_is_kept(make_server, proxy, make_receiver):
    receiver = make_receiver()
    server = make_server({"delivery.proxy": proxy.url})
    for n in range(1, 4):
        submit(server, receiver.url())
        receiver.wait(n)
        until(lambda: server.pending() == 0, 20, "the job is done")
    server.stop()
    assert len(proxy.asked) == 1 and {p.conn for p in receiver.posts} == {1}


def test_names_are_looked_up_here(make_server, proxy, target):
    """The proxy gets the address that was looked up and checked; the receiver sees its name, in
    the handshake of TLS (the certificate) and in Host."""
    address = "127.0.0.2"
    proxy.goes_to[f"{address}:{target.port}"] = ("127.0.0.1", target.port)
    with NameServer({"in.hooks.test": [[address]]}) as names:
        server = make_server({"delivery.proxy": proxy.url, "callback.name_servers": names.address})
        submit(server, target.url("in.hooks.test"))
        delivered(server, target)
        server.stop()
    assert proxy.lines == [f"CONNECT {address}:{target.port} HTTP/1.1"]
    assert target.got[0].headers["host"] == f"in.hooks.test:{target.port}"


def test_the_name_in_the_tunnel_is_verified(make_server, proxy, target):
    """Who takes the tunnel elsewhere gets nothing: the name is not in the certificate there."""
    with NameServer({"out.hooks.test": [["127.0.0.1"]]}) as names:
        server = make_server({"delivery.proxy": proxy.url, "callback.name_servers": names.address,
                              "delivery.schedule": "1h"})
        submit(server, target.url("out.hooks.test"))
        server.wait_log(r"event=delivery\.failed .*error=TLS ")
        server.stop()
    assert not target.got and len(proxy.asked) == 1


def test_a_proxy_with_a_name(make_server, target):
    host = socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)[0][4][0]
    with Proxy(host) as proxy:
        server = make_server({"delivery.proxy": f"http://localhost:{proxy.port}"})
        submit(server, target.url())
        delivered(server, target)
        server.stop()
        assert len(proxy.asked) == 1


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "127.0.0.3"])
def test_refused_addresses_never_reach_the_proxy(make_server, proxy, target, address):
    """Neither a literal nor what a name leads to; the proxy's own address is under no such
    rule."""
    with NameServer({"in.hooks.test": [[address]], "mixed.hooks.test": [["127.0.0.2", address]]}) as names:
        server = make_server({"delivery.proxy": proxy.url, "callback.allow": "127.0.0.2/32",
                              "callback.name_servers": names.address, "delivery.schedule": "1h"})
        with server.client() as c:
            assert "error" in c.call("test.echo", callback=f"{target.scheme}://{address}:{target.port}/").json
        for host in ("in.hooks.test", "mixed.hooks.test"):
            submit(server, target.url(host))
            server.wait_log(rf"event=delivery\.failed .*host={host} .*error=ADDRESS ")
        server.stop()
    assert proxy.connections == 0 and not target.got


def test_the_environment_is_not_asked(make_server, proxy, target):
    server = make_server(env={v: proxy.url for v in VARIABLES})
    submit(server, target.url())
    delivered(server, target)
    server.stop()
    assert proxy.connections == 0


def test_the_environment_takes_nothing_out(make_server, proxy, target):
    server = make_server({"delivery.proxy": proxy.url}, env={"no_proxy": "*", "NO_PROXY": "127.0.0.1"})
    submit(server, target.url())
    delivered(server, target)
    server.stop()
    assert len(proxy.asked) == 1


# --- faults of the proxy -------------------------------------------------------------------

NO = "HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n"
FAULTS = {
    "407": ((NO % 407).encode(), "SYS", "the proxy answered 407"),
    "403": ((NO % 403).encode(), "SYS", "the proxy answered 403"),
    "503": ((NO % 503).encode(), "SYS", "the proxy answered 503"),
    "garbage": (b"SSH-2.0-proxy\r\n\r\n", "SYS", "the proxy's answer is not HTTP"),
    "endless": (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 9000, "SYS", "the proxy's answer is too long"),
    "eager": (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n", "SYS", "the proxy sent bytes behind its answer"),
    "hang": (HANG, "SYS", "no answer of the proxy in time"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_retried_and_pause_nobody(make_server, proxy, target, fault):
    answer, error, detail = FAULTS[fault]
    proxy.script = [answer] * 3
    server = make_server({**FAST, "delivery.proxy": proxy.url, "delivery.breaker": "2",
                          **({"delivery.connect_timeout": "1s"} if answer is HANG else {})})
    submit(server, target.url())
    delivered(server, target)
    server.stop()  # all is said
    said = [line for line in server.log().splitlines() if "event=delivery.failed" in line]
    assert len(said) == 3 and all(f"error={error} " in s and detail in s for s in said), said
    assert "receiver.paused" not in server.log() and len(proxy.asked) == 4


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_that_does_not_reach_the_receiver(make_server, proxy, target, status):
    """It says so of the receiver, which is paused as it would be without the proxy."""
    proxy.script = [(NO % status).encode()] * 2
    server = make_server({**FAST, "delivery.proxy": proxy.url, "delivery.breaker": "2"})
    submit(server, target.url())
    server.wait_log(r"event=receiver\.paused ")
    server.stop()
    said = [line for line in server.log().splitlines() if "event=delivery.failed" in line]
    assert len(said) == 2 and all("error=CONNECT " in s and f"the proxy answered {status}" in s for s in said)


def test_an_absent_proxy(make_server, target):
    """Nothing goes round it; when it comes back, neither has the receiver been paused."""
    with Proxy() as gone:
        pass
    server = make_server({**FAST, "delivery.proxy": gone.url, "delivery.breaker": "2"})
    submit(server, target.url())
    until(lambda: server.log().count("event=delivery.failed") >= 4, 20, lambda: f"four attempts: {server.log()}")
    said = [line for line in server.log().splitlines() if "event=delivery.failed" in line]
    assert all("error=SYS " in s and "proxy: " in s for s in said), said
    assert "receiver.paused" not in server.log() and not target.got
    server.stop()


@pytest.mark.parametrize("value", ["https://127.0.0.1:3128", "127.0.0.1:3128", "http://127.0.0.1",
                                   "http://u:hidden@127.0.0.1:3128", "http://127.0.0.1:3128/path"])
def test_what_is_no_proxy(tmp_path, value):
    run = subprocess.run([ringback(), "serve", "--set", f"delivery.proxy={value}"], capture_output=True, text=True,
                         cwd=tmp_path, env=clean_env(), timeout=30)
    assert run.returncode == 2 and "delivery.proxy" in run.stderr
    assert "hidden" not in run.stderr and ("user info" in run.stderr) == ("@" in value)


# --- a certificate of the client's own --------------------------------------------------------

@pytest.fixture
def client_pair(ca, tmp_path):
    """A certificate for clients: (certificate, key)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    import datetime
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ringback of the test")])
    now = datetime.datetime.utcnow()
    day = datetime.timedelta(days=1)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(ca.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(ca.key, hashes.SHA256()))
    cert_file, key_file = tmp_path / "client.crt", tmp_path / "client.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.touch(0o600)
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    return cert_file, key_file


def note_clients(context):
    """The subjects of the certificates that come in, at the end of each handshake."""
    seen = []

    class Noting(ssl.SSLObject):
        def do_handshake(self):
            super().do_handshake()
            seen.append(dict(x[0] for x in self.getpeercert()["subject"])["commonName"])

    class NotingSocket(ssl.SSLSocket):
        def do_handshake(self, *args):
            super().do_handshake(*args)
            seen.append(dict(x[0] for x in self.getpeercert()["subject"])["commonName"])
    context.sslobject_class, context.sslsocket_class = Noting, NotingSocket
    return seen


@pytest.mark.parametrize("proxied", [False, True])
def test_client_certificate(make_server, proxy, target, ca, client_pair, proxied):
    target.context.load_verify_locations(ca.pem)
    target.context.verify_mode = ssl.CERT_REQUIRED
    seen = note_clients(target.context)
    server = make_server({"delivery.client_cert": client_pair[0], "delivery.client_key": client_pair[1],
                          "delivery.proxy": proxy.url if proxied else ""})
    submit(server, target.url())
    delivered(server, target)
    assert seen == ["ringback of the test"] and len(proxy.asked) == proxied
    server.stop()


def test_without_the_certificate(make_server, target, ca):
    """The control: a receiver that asks for one gets nothing from a client that has none."""
    target.context.load_verify_locations(ca.pem)
    target.context.verify_mode = ssl.CERT_REQUIRED
    server = make_server({"delivery.schedule": "1h"})
    submit(server, target.url())
    server.wait_log(r"event=delivery\.failed .*error=(TLS|CLOSED) ")
    server.stop()
    assert not target.got


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_may_read(tmp_path, ca, client_pair, mode):
    client_pair[1].chmod(mode)
    run = subprocess.run([ringback(), "serve", "--set", "store.dsn=memory:",
                          "--set", f"delivery.client_cert={client_pair[0]}",
                          "--set", f"delivery.client_key={client_pair[1]}"], capture_output=True, text=True,
                         cwd=tmp_path, env=clean_env(), timeout=30)
    assert run.returncode == 2 and "client.key" in run.stderr and "chmod 600" in run.stderr, run


def test_a_key_without_its_certificate(tmp_path, client_pair):
    run = subprocess.run([ringback(), "serve", "--set", f"delivery.client_key={client_pair[1]}"],
                         capture_output=True, text=True, cwd=tmp_path, env=clean_env(), timeout=30)
    assert run.returncode == 2 and "delivery.client_cert" in run.stderr
