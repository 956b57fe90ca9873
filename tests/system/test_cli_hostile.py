# SPDX-License-Identifier: Apache-2.0
"""The program in bad company: a reader that stands still, files that are no files, folders
of others, signals at the wrong time."""
import fcntl
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request

import pytest

from lib.certs import CA, DAY
from lib.client import Client
from lib.server import build, clean_env, ringback
from lib.wait import until
from test_cli import listener, run, start  # noqa: F401  (two of them are fixtures)


@pytest.fixture
def spawn(tmp_path):
    """A process whose pipes are the test's; killed at the end."""
    made = []

    def go(*words, **kw):
        made.append(subprocess.Popen([ringback(), *map(str, words)], env=clean_env(), cwd=tmp_path,
                                     stdin=subprocess.DEVNULL, **kw))
        return made[-1]
    yield go
    for p in made:
        if p.poll() is None:
            p.kill()
        p.wait()
        for stream in (p.stdout, p.stderr):
            if stream:
                stream.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# --- the log ---------------------------------------------------------------------------

def test_stalled_reader_of_the_log_holds_nobody(spawn, tmp_path):
    port = free_port()
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, b"x" * 512)
    except BlockingIOError:
        os.set_blocking(write_end, True)
    p = spawn("serve", "--set", "admin.listen=", "--set", f"server.listen=127.0.0.1:{port}", "--set", "store.dsn=memory:",
              "--set", f'method."demo.*".module={build() / "examples/demo.so"}', stderr=write_end)
    os.close(write_end)

    def answers():
        try:
            with Client(port) as c:
                return c.call("demo.echo", {"a": 1}).json["result"] == {"a": 1}
        except OSError:
            assert p.poll() is None
            return False
    until(answers, 20, "it answers although nobody reads its log")
    for _ in range(5):
        assert answers()
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 0
    os.close(read_end)


def test_refused_notifications_are_told_once_a_second(make_server):
    server = make_server()
    with server.client() as c:
        for _ in range(3):
            assert c.post([{"method": "no.such"}] * 100).status == 204
        server.wait_log(r"event=notification\.refused method=no\.such error=\S+ more=0")

        def more():
            assert c.post([{"method": "no.such"}]).status == 204
            return sum(map(int, re.findall(r"event=notification\.refused .*more=(\d+)", server.log()))) >= 299
        until(more, 20, "those left out are counted", poll=0.1)
    assert len(re.findall(r"notification\.refused", server.log())) < 25


def test_fault_at_the_start_reaches_stderr():
    with socket.create_server(("127.0.0.1", 0)) as s:
        p = run("serve", "--set", "admin.listen=", "--set", f"server.listen=127.0.0.1:{s.getsockname()[1]}", "--set", "store.dsn=memory:",
                code=1)
    assert p.stderr.startswith("ringback: ")


# --- files that are no files --------------------------------------------------------------

def test_fifo_as_configuration(tmp_path):
    os.mkfifo(tmp_path / "c.ini")
    for words in (["config", "-t"], ["serve"], ["check-dsn", "https://a/"]):
        assert "is not a regular file" in run(*words, "-c", tmp_path / "c.ini", code=2).stderr


def test_fifo_as_configuration_at_sighup(tmp_path, make_server):
    ini = tmp_path / "extra.ini"
    ini.write_text("[server]\nmax_batch = 3\n")
    server = make_server(start=False)
    before = server.argv
    server.argv = lambda: [*before(), "-c", str(ini)]
    server.start()
    ini.unlink()
    os.mkfifo(ini)
    server.signal(signal.SIGHUP)
    server.wait_log(r"event=config\.refused detail=\".*is not a regular file\"")
    server.stop()


def test_fifo_as_module(tmp_path):
    os.mkfifo(tmp_path / "m.so")
    p = run("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=memory:",
            "--set", f'method."*".module={tmp_path / "m.so"}', code=2)
    assert "m.so: it is not a regular file" in p.stderr


def test_demo_does_not_take_the_module_of_the_current_folder(tmp_path):
    deep = tmp_path / "/".join(["d" * 200] * 3)
    deep.mkdir(parents=True)
    program = shutil.copy(ringback(), deep / "ringback")
    shutil.copy(build() / "examples/demo.so", tmp_path / "demo.so")
    p = subprocess.run([program, "demo", "--once", "--port", "0"], cwd=tmp_path, env=clean_env(), timeout=60,
                       capture_output=True, text=True)
    assert p.returncode == 1 and "the program's own path" in p.stderr


# --- signals ---------------------------------------------------------------------------------

def default_signals():
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_call_can_be_interrupted(spawn, number):
    with socket.create_server(("127.0.0.1", 0)) as s:
        s.settimeout(20)
        p = spawn("call", f"http://127.0.0.1:{s.getsockname()[1]}/", "m", preexec_fn=default_signals)
        peer, _ = s.accept()
        with peer:
            p.send_signal(number)
            assert p.wait(20) == -number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_of_serve_can_be_interrupted(spawn, tmp_path, number):
    fifo = tmp_path / "ca.pem"
    os.mkfifo(fifo)
    p = spawn("serve", "--set", "admin.listen=", "--set", "server.listen=127.0.0.1:0", "--set", "store.dsn=memory:",
              "--set", f"delivery.ca_file={fifo}", preexec_fn=default_signals)

    def open_writer():  # works as soon as the server has opened it to read
        assert p.poll() is None
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return 0
    fd = until(open_writer, 20, "the start reads the file")
    try:
        p.send_signal(number)
        assert p.wait(20) == -number
    finally:
        os.close(fd)


def test_listen_ends_when_its_terminal_is_closed(start, tmp_path):  # noqa: F811
    r = start("listen", "--port", 0, env={"TMPDIR": str(tmp_path)})
    r.wait_for(r"^  ca_file = ")
    assert r.end(signal.SIGHUP) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["listen.out"]


def test_demo_ends_when_its_terminal_is_closed(start, tmp_path):  # noqa: F811
    d = start("demo", "--port", 0, env={"TMPDIR": str(tmp_path)})
    d.wait_for(r"^  curl ")
    assert d.end(signal.SIGHUP) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["demo.out"]


def test_ignored_sighup_stays_ignored(spawn):
    p = spawn("listen", "--port", 0, stdout=subprocess.PIPE,
              preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert b"https://" in p.stdout.readline()
    sets = dict(line.split(":\t") for line in open(f"/proc/{p.pid}/status").read().splitlines() if "Sig" in line[:3])
    bit = 1 << (signal.SIGHUP - 1)
    assert int(sets["SigIgn"], 16) & bit and not int(sets["SigBlk"], 16) & bit
    p.send_signal(signal.SIGTERM)
    p.stdout.read()
    assert p.wait(20) == 0


# --- the folder of listen ------------------------------------------------------------------

def serves_with(r):
    """The receiver answers to those who trust its ca.pem."""
    request = urllib.request.Request(f"https://127.0.0.1:{r.port}/", b"{}")
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=str(r.ca)), timeout=20) as answer:
        return answer.status == 200


def test_listen_does_not_follow_links(listener, tmp_path):  # noqa: F811
    other = tmp_path / "other"
    other.write_text("of somebody")
    (tmp_path / "dev").mkdir(mode=0o700)
    for name in ("receiver.key", "receiver.pem", "ca.pem"):
        (tmp_path / "dev" / name).symlink_to(other)
    r = listener()
    assert other.read_text() == "of somebody"
    files = list((tmp_path / "dev").iterdir())
    assert sorted(f.name for f in files) == ["ca.pem", "receiver.key", "receiver.pem"]
    assert all(not f.is_symlink() and f.stat().st_mode & 0o777 == 0o600 for f in files)
    assert serves_with(r)


def spoil_mode(dev):
    (dev / "receiver.key").chmod(0o644)


def spoil_key(dev):
    key = dev.parent / "other.key"
    key.write_bytes((CA(dev.parent).issue("other")[1]).read_bytes())
    key.chmod(0o600)
    key.rename(dev / "receiver.key")


def spoil_ca(dev):
    (dev / "ca.pem").write_bytes(CA(dev.parent).pem.read_bytes())


def spoil_life(dev):
    ca = CA(dev.parent)
    cert, key = ca.issue("receiver", life=-DAY)
    for source, name in ((ca.pem, "ca.pem"), (cert, "receiver.pem"), (key, "receiver.key")):
        (dev / name).write_bytes(source.read_bytes())


def spoil_text(dev):
    (dev / "receiver.pem").write_text("")


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_key, spoil_ca, spoil_life, spoil_text])
def test_listen_makes_a_new_set_of_files(listener, tmp_path, spoil):  # noqa: F811
    first = listener()
    assert first.end() == 0
    key = (tmp_path / "dev/receiver.key").read_bytes()
    spoil(tmp_path / "dev")
    second = listener()
    assert serves_with(second)
    assert (tmp_path / "dev/receiver.key").read_bytes() != key
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in (tmp_path / "dev").iterdir())


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_listen_refuses_a_folder_that_others_may_write_to(tmp_path, mode):
    dev = tmp_path / "dev"
    dev.mkdir()
    dev.chmod(mode)
    assert "others may write to it" in run("listen", "--port", 0, "--dir", dev, code=1).stderr
    assert list(dev.iterdir()) == []


def test_listen_refuses_what_is_no_folder_of_its_own(tmp_path):
    (tmp_path / "dev").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "dev")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        assert "is not a folder" in run("listen", "--port", 0, "--dir", tmp_path / name, code=1).stderr
    if os.geteuid() == 0:
        os.chown(tmp_path / "dev", 12345, -1)
        theirs = tmp_path / "dev"
    else:
        theirs = "/"
    assert "belongs to another user" in run("listen", "--port", 0, "--dir", theirs, code=1).stderr
