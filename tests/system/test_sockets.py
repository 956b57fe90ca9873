# SPDX-License-Identifier: Apache-2.0
"""Unix sockets to listen on, and sockets that were passed by whoever started the server."""
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

from lib import passing
from lib.client import Client
from lib.server import clean_env
from lib.wait import until


class LocalClient(Client):
    def __init__(self, path, **kw):
        super().__init__(0, **kw)
        self.addr = ("ringback.example", 1)  # a Host that no list is asked for
        self.file = str(path)

    def send(self, data):
        if self.sock is None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self.file)
        self.sock.sendall(data)


def echoes(client, n=1):
    with client as c:
        for i in range(n):
            assert c.call("demo.echo", {"a": i}).json["result"] == {"a": i}


def started(server, places=1):
    server.spawn()
    until(lambda: server.log().count("event=server.listening") >= places or not server.alive(), 20,
          lambda: server.log()[-2000:])
    assert server.alive(), server.log()
    return server


def refused(server):
    run = subprocess.run(server.argv(), capture_output=True, text=True, timeout=30, cwd=server.folder,
                         env=clean_env())
    assert run.returncode in (1, 2), (run.returncode, run.stderr)
    return run.stderr


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s"


@pytest.fixture
def make_local(make_server, path):
    def make(options=None, start=True, listen=None, **kw):
        s = make_server({"server.listen": listen or f"unix:{path}", **(options or {})}, start=False, **kw)
        return started(s) if start else s
    return make


# --- Unix sockets ---------------------------------------------------------------------

def test_jobs_and_calls(make_local, receiver, path):
    server = make_local({"server.threads": 4})
    with LocalClient(path) as c:
        reply = c.call("demo.echo", {"a": 1}, callback=receiver.url("/x"))
        assert reply.status == 200 and reply.jobs
        assert receiver.wait(1)[0].webhook_id == reply.jobs[0]
    threads = [threading.Thread(target=echoes, args=(LocalClient(path), 20)) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    server.stop()


def test_beside_tcp_and_tls(make_local, path, cert):
    """TLS is of TCP alone."""
    server = make_local({"server.tls_cert": cert[0], "server.tls_key": cert[1]},
                        listen=f"127.0.0.1:0,unix:{path}", start=False)
    started(server, 2)
    lines = [x for x in server.log().splitlines() if "event=server.listening" in x]
    assert "tls=yes" in lines[0] and f"addr=unix:{path} port=0" in lines[1] and "tls=no" in lines[1]
    echoes(LocalClient(path))


@pytest.mark.parametrize("mode", [None, "0600", "0660", "0666"])
def test_mode(make_local, path, mode):
    before = os.umask(0o077)  # takes nothing from it
    try:
        make_local({"server.socket_mode": mode} if mode else {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == int(mode or "0600", 8)


def test_file_goes_with_the_server(make_local, path):
    server = make_local()
    assert path.is_socket()
    server.stop()
    assert not path.exists()


def test_file_goes_when_the_start_fails(make_local, path, tmp_path):
    server = make_local({"store.dsn": f"sqlite:{tmp_path}/no/such/folder.db"}, start=False)
    refused(server)
    assert not path.exists()


def test_stale_file_is_replaced(make_local, path):
    server = make_local()
    server.kill()
    assert path.is_socket()
    started(server)
    echoes(LocalClient(path))


def test_second_server_is_refused(make_local, path, tmp_path):
    server = make_local()
    other = make_local({"store.dsn": f"sqlite:{tmp_path}/other.db"}, start=False)
    assert "another server is there" in refused(other)
    assert path.is_socket()
    echoes(LocalClient(path))
    server.stop()


def test_file_of_another_stays(make_local, path):
    """Somebody took our place meanwhile: what is there now is not ours to remove."""
    server = make_local()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        server.stop()
        assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_something_else_is_there(make_local, path, kind):
    target = path.with_name("target")
    target.write_text("precious")
    path.mkdir() if kind == "folder" else path.symlink_to(target) if kind == "link" else path.write_text("precious")
    assert "something else than a socket" in refused(make_local(start=False))
    assert target.read_text() == "precious" and path.exists()


def test_bad_places(make_local, tmp_path):
    long = "x" * 108
    for place, says in [("unix:", "has no path"), (f"unix:/{long}", "more than 107 bytes"), ("unix:@x", "no path of a file"),
                        (f"unix:{tmp_path}/none/s", "No such file"), ("fd:a b", "not the name"), ("unixx", "is not an address like"),
                        ("fd:", "no such socket was passed"), ("fd:web", "no such socket was passed")]:
        said = refused(make_local({"auth.open": "yes"}, listen=place, start=False))
        assert says in said and "server.listen" in said, said
    assert "auth.tokens_file" in refused(make_local(listen="fd:", start=False))
    for mode in ("600", "0999", "01777", "rw", ""):
        assert "server.socket_mode" in refused(make_local({"server.socket_mode": mode}, start=False))


def test_operators(make_server, tmp_path, path):
    """The operators' side has it too, and asks nobody for a Host there."""
    server = make_server({"admin.listen": f"unix:{path}"})
    curl = ["curl", "-s", "--unix-socket", str(path)]
    assert subprocess.run([*curl, "http://anything.example/healthz"], capture_output=True).stdout == b"ok\n"
    server.stop()
    assert not path.exists()


def test_no_descriptors_left(make_local, path):
    """Connections come and go; descriptors do not add up."""
    server = make_local({"server.threads": 2})
    echoes(LocalClient(path))

    def count():
        return len(os.listdir(f"/proc/{server.pid}/fd"))
    before = count()
    for _ in range(100):
        echoes(LocalClient(path))
    until(lambda: count() <= before + 1, 10, "descriptors are closed")


# --- passed sockets -------------------------------------------------------------------------

@pytest.fixture
def passed():
    """Listening sockets of the test's own."""
    made = []

    def make(family=socket.AF_INET, address=("127.0.0.1", 0)):
        s = socket.socket(family)
        made.append(s)
        s.bind(address)
        s.listen(16)
        os.set_inheritable(s.fileno(), True)
        return s
    yield make
    for s in made:
        s.close()


@pytest.fixture
def make_passed(make_server):
    def make(socks, names, listen="fd:", options=None, start=True, env=None):
        wrap = [sys.executable, passing.__file__, names, *(str(s.fileno()) for s in socks), "--"]
        s = make_server({"server.listen": listen, "auth.open": "yes", **(options or {})}, start=False, env=env)
        argv = s.argv
        s.argv = lambda: [*wrap, *argv()]
        s.pass_fds = tuple(x.fileno() for x in socks)
        return started(s) if start else s
    return make


def port_of(sock):
    return sock.getsockname()[1]


def test_passed_tcp(make_passed, passed):
    """All loops share it; who connected before the start is served."""
    sock = passed()
    early = Client(port_of(sock))
    early.send(b"")
    server = make_passed([sock], "web", options={"server.threads": 4})
    with early:
        assert early.call("demo.echo", {"a": 1}).status == 200
    threads = [threading.Thread(target=echoes, args=(Client(port_of(sock)), 20)) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert f"addr=127.0.0.1 port={port_of(sock)}" in server.log()
    server.stop()
    # The socket is not the server's: whoever comes next is served by the next one.
    late = Client(port_of(sock))
    late.send(b"")
    started(server)
    with late:
        assert late.call("demo.echo", {"a": 2}).status == 200


def test_passed_unix(make_passed, passed, path):
    sock = passed(socket.AF_UNIX, str(path))
    server = make_passed([sock], "web")
    echoes(LocalClient(path))
    server.stop()
    assert path.is_socket()  # its maker's


def test_names(make_passed, passed, path):
    a, b, c = passed(), passed(socket.AF_UNIX, str(path)), passed()
    server = make_passed([a, b, c], "web:web:admin", "fd:web", {"admin.listen": "127.0.0.1:0"})
    echoes(Client(port_of(a)))
    echoes(LocalClient(path))
    assert server.log().count("event=server.listening") == 2
    assert f"port={port_of(c)}" not in server.log()


def test_own_address_is_no_callback(make_passed, passed):
    sock = passed()
    make_passed([sock], "web", options={"callback.ports": f"{port_of(sock)},443"})
    with Client(port_of(sock)) as c:
        reply = c.call("demo.echo", {}, callback=f"https://127.0.0.1:{port_of(sock)}/x")
    assert reply.error["data"] == {"$rpc.callback": "address not allowed"}


def test_nothing_is_inherited(make_passed, passed, tmp_path):
    """What the server starts gets neither the sockets nor the variables."""
    sock, spare = passed(), passed()
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    told = [k for k in os.environ if k.startswith('LISTEN_')]\n"
        "    links = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')\n"
        "             if os.path.lexists(f'/proc/self/fd/{n}')]\n"
        "    r = {'id': json.loads(line)['id'], 'result': {'told': told, 'links': links}}\n"
        "    print(json.dumps(r), flush=True)\n")
    make_passed([sock, spare], "web:spare", "fd:web",
                {'method."w.*".worker': f"{sys.executable} {worker}", 'method."w.*".workers': "1"})
    with Client(port_of(sock)) as c:
        got = c.call("w.look").json["result"]
    own = {f"socket:[{os.fstat(s.fileno()).st_ino}]" for s in (sock, spare)}
    assert got["told"] == [] and not own & set(got["links"]), got


def test_wrong_process(make_passed, passed):
    """Variables that were meant for another process are not ours."""
    server = make_passed([passed()], "web", start=False, env={"WRONG_PID": "1"})
    server.spawn()
    assert server.wait() in (1, 2)
    assert "no such socket was passed" in server.log()


def test_no_listening_socket(make_passed, tmp_path):
    files = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(), open(os.devnull)]
    for f in files:
        with f:
            os.set_inheritable(f.fileno(), True)
            server = make_passed([f], "web", start=False)
            server.spawn()
            assert server.wait() in (1, 2)
            assert "no socket that listens" in server.log()
