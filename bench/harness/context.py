# SPDX-License-Identifier: Apache-2.0
"""One bench's surroundings: a folder on a real disk, what was asked for on the command
line, the processes. `with Bench(...) as b`; afterwards nothing is left of it."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from . import load
from .nginx import Nginx
from .processes import Processes, Wrong, cpu_seconds
from .ringback import Ringback

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACES = ":/usr/sbin:/usr/local/sbin"
CERT_NAMES = "subjectAltName=IP:127.0.0.1," + ",".join(f"IP:127.0.1.{i}" for i in range(1, 65))


def say(text):
    print(text, file=sys.stderr, flush=True)


def find(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + PLACES)


def tool(name):
    path = find(name)
    if path is None:
        raise Wrong(f"{name} is missing; script/bootstrap installs it")
    return path


def release_build():
    """The program to measure: $RINGBACK, or build-release, made when it is not there."""
    if os.environ.get("RINGBACK"):
        return pathlib.Path(os.environ["RINGBACK"]).resolve()
    build = ROOT / "build-release"
    if not (build / "build.ninja").exists():
        say("bench: setting up build-release")
        subprocess.run(["meson", "setup", "--buildtype=release", "-Dtests=false", str(build), str(ROOT)],
                       check=True, stdout=subprocess.DEVNULL)
    say("bench: building build-release")
    made = subprocess.run(["ninja", "-C", str(build)], capture_output=True, text=True)
    if made.returncode:
        raise Wrong(f"build-release cannot be built:\n{made.stdout[-3000:]}")
    return build / "src/app/ringback"


def file_system(folder):
    return subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True).stdout.strip()


class Bench:
    def __init__(self, program, quick=False, peers=True, rounds=3, size=1000000, kinds=(), sets=()):
        self.program, self.quick, self.peers, self.sets = program, quick, peers, list(sets)
        self.rounds = 1 if quick else rounds
        self.size = 2000 if quick else size
        self.kinds, self.notes = kinds, []

    def __enter__(self):
        for name in ("nginx", "wrk", "openssl", "cc"):
            tool(name)
        base = os.environ.get("BENCH_DIR") or ROOT
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="build-bench-", dir=base))
        self.folder.chmod(0o711)  # PostgreSQL, which refuses root, has a folder in it
        self.processes = Processes(self.folder)
        self.number = 0
        return self

    def __exit__(self, *exc):
        try:
            self.processes.end_all()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def note(self, text):
        """A line below the table."""
        if text not in self.notes:
            self.notes.append(text)

    def speaks(self, option):
        """Does this ringback know the option?"""
        return subprocess.run([str(self.program), "config", "--set", f"{option}=yes"], capture_output=True).returncode == 0

    def seconds(self, usual):
        return min(usual, 0.25) if self.quick else usual

    def next(self):
        self.number += 1
        return self.number

    def certificate(self):
        """One for every receiver of this run; it is its own authority."""
        path = self.folder / "receiver"
        if not path.with_suffix(".crt").exists():
            subprocess.run([tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                            "-nodes", "-days", "2", "-subj", "/CN=bench", "-addext", CERT_NAMES,
                            "-keyout", f"{path}.key", "-out", f"{path}.crt"], check=True, stderr=subprocess.DEVNULL)
        return path

    def compile(self, source, *flags):
        """A helper of the benches in C or C++."""
        out = self.folder / pathlib.Path(source).stem
        compiler = tool("c++" if str(source).endswith(".cpp") else "cc")
        made = subprocess.run([compiler, "-O2", "-o", str(out), str(ROOT / "bench" / source), *flags],
                              capture_output=True, text=True)
        if made.returncode:
            raise Wrong(f"{source}: {made.stderr[-2000:]}")
        return out

    def nginx(self, **kw):
        return Nginx(self, **kw)

    def ringback(self, **kw):
        return Ringback(self, **kw)

    def wrk(self, url, body, connections, seconds, watch=(), expect=None):
        return load.wrk(self, url, body, connections, self.seconds(seconds), watch, expect)

    def fdatasync_us(self, seconds=0.5):
        """The median of appending 4 KiB to a file of the same disk and syncing it."""
        block, took = bytes(4096), []
        path = self.folder / "fdatasync"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            end = time.monotonic() + self.seconds(seconds)
            while time.monotonic() < end:
                start = time.perf_counter()
                os.write(fd, block)
                os.fdatasync(fd)
                took.append((time.perf_counter() - start) * 1e6)
        finally:
            os.close(fd)
            path.unlink()
        return sorted(took)[len(took) // 2]


class Cpu:
    """Processor time of some processes from here on, a piece."""

    def __init__(self, *processes):
        self.pids = [p.pid for p in processes]
        self.start = cpu_seconds(self.pids)

    def us(self, pieces):
        return (cpu_seconds(self.pids) - self.start) * 1e6 / pieces
