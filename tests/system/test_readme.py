# SPDX-License-Identifier: Apache-2.0
"""The README's commands do what they say.

Blocks marked ```sh whose first command is `ringback …` or `script/…` are run, in order,
in an empty folder. Servers among them stay up for the blocks that follow; scripts that
install, or that run these very tests, are only looked at.

The commands have ports of their own, so they run in a network namespace of their own, where
nobody else can have them. Where none is to be had they take turns with other runs of this test."""
import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from lib.server import build, clean_env, ringback, root
from lib.wait import until

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
STAYS = re.compile(r"^(ringback (serve|listen|demo)\b|script/demo\b)")
LOOKED_AT = re.compile(r"^script/(test|bootstrap)\b")


def blocks():
    readme = root() / "README.md"
    found = BLOCK.findall(readme.read_text()) if readme.exists() else []
    return [b for b in found if re.match(r"(ringback |script/)", b)]


# Brings loopback up (SIOCSIFFLAGS: IFF_UP | IFF_RUNNING), says so, and holds the namespace until its input ends.
HOLD = """
import fcntl, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
print("up", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def namespace():
    """What runs a command in a new network namespace, or None: no tool, or no right to make one."""
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        yield None
        return
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    p = subprocess.Popen(["unshare", *user, "--net", sys.executable, "-c", HOLD], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        kind = ["--user", "--preserve-credentials"] if user else []
        yield ["nsenter", f"--target={p.pid}", *kind, "--net", "--"] if p.stdout.readline() == b"up\n" else None
    finally:
        p.communicate()


@pytest.fixture
def place():
    """What leads to where the commands' ports are free."""
    with namespace() as prefix:
        if prefix is not None:
            yield prefix
            return
    with open(pathlib.Path(tempfile.gettempdir()) / f"ringback-readme-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield []


@pytest.fixture
def shell(place):
    """Runs a block, where `ringback` and script/ are the ones under test."""
    folder = tempfile.mkdtemp(prefix="readme-")
    os.symlink(root() / "script", os.path.join(folder, "script"))
    env = clean_env({"PATH": f"{ringback().parent}:{os.environ['PATH']}"})
    running = []

    def start(text):
        out = tempfile.TemporaryFile()
        p = subprocess.Popen([*place, "bash", "-euc", text], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out,
                             stderr=subprocess.STDOUT, start_new_session=True)
        running.append(p)

        def output():
            return os.pread(out.fileno(), 1 << 20, 0).decode(errors="replace")
        return p, output
    yield start
    for p in running:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGTERM)
            p.wait(30)
    shutil.rmtree(folder)


def test_readme_has_commands():
    assert any(b.startswith("script/demo") for b in blocks())
    assert any(b.startswith("script/test") for b in blocks())


def test_settings_of_the_readme(tmp_path):
    """The blocks of ringback.ini, together, are good settings, and serve what the README calls."""
    text = "".join(re.findall(r"^```ini\n(.*?)^```$", (root() / "README.md").read_text(), re.M | re.S))
    (tmp_path / "ringback.ini").write_text(text)
    shutil.copy(build() / "examples/demo.so", tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ca.pem").write_text("")
    p = subprocess.run([ringback(), "config", "-t", "-c", "ringback.ini"], cwd=tmp_path, env=clean_env(),
                       capture_output=True, text=True, timeout=20)
    assert (p.stdout, p.stderr) == ("good\n", "")
    for method in ("OrderService.processOrder", "demo.echo"):
        assert f'[method "{method.split(".")[0]}.*"]' in text


def test_commands_of_the_readme(shell):
    for text in blocks():
        first = text.split("\n", 1)[0]
        if LOOKED_AT.match(first):
            script = root() / first.split()[0]
            assert os.access(script, os.X_OK), script
            continue
        p, output = shell(text)
        if STAYS.match(first):
            until(lambda: p.poll() is not None or output(), 300, lambda: f"{first} says something")
            if "demo" in first:
                until(lambda: p.poll() is not None or output().count("99.99") >= 1, 300,
                      lambda: f"{first} shows the order's callback: {output()[-2000:]}")
            assert p.poll() is None, f"{first} ended with {p.returncode}: {output()[-2000:]}"
        else:
            assert p.wait(60) == 0, f"{first}: {output()[-2000:]}"
