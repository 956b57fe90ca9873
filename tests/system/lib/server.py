# SPDX-License-Identifier: Apache-2.0
"""The real server, as a process of its own, in a folder of its own."""
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import urllib.parse

from .client import Client
from .wait import until

SANITIZER = re.compile(r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error:")
LISTENING = re.compile(r"server\.listening\b.*?\bport\"?[=:]\"?(\d+)")


def root():
    return pathlib.Path(__file__).resolve().parents[3]


def ringback():
    """$RINGBACK, or the newest build in the source folder."""
    if os.environ.get("RINGBACK"):
        return pathlib.Path(os.environ["RINGBACK"])
    built = sorted(root().glob("build*/src/app/ringback"), key=lambda p: p.stat().st_mtime)
    return built[-1] if built else root() / "build/src/app/ringback"


def build():
    return pathlib.Path(os.environ.get("RBK_BUILD") or ringback().parents[2])


def clean_env(extra=()):
    """The environment without what would configure the server behind the test's back."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("RINGBACK_")}
    env.setdefault("ASAN_OPTIONS", "abort_on_error=0:detect_leaks=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.update(extra)
    return env


def job_id(seq, rnd):
    """The id by which a stored job is known: a UUID of version 7."""
    text = f"{seq >> 12:012x}7{seq & 0xfff:03x}{(0b10 << 62) | rnd:016x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


class Server:
    """start(), stop(), kill(), restart(): always on the same store.

    `options` go last, so a test may overrule what stands here."""

    def __init__(self, folder, ca_pem, options=None, env=None, wrap=(), methods=True):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = self.folder / "ringback.db"
        self.options = {
            "server.listen": "127.0.0.1:0",
            "admin.listen": "127.0.0.1:0",
            "store.dsn": f"sqlite:{self.store}",
            "store.min_free": "1M",
            "callback.allow": "127.0.0.0/8",
            "callback.resolve": "no",  # names of the tests are nobody's: no name server is asked
            "delivery.ca_file": str(ca_pem),
        }
        if methods:
            demo = build() / "examples/demo.so"
            self.options['method."demo.*".module'] = str(demo)
            self.options['method."OrderService.*".module'] = str(demo)
            self.options['method."*".module'] = str(build() / "tests/system/journal.so")
        self.options.update(options or {})
        self.env, self.wrap = dict(env or {}), tuple(wrap)
        self.pass_fds = ()  # descriptors that the process inherits
        self.tls = None  # an ssl.SSLContext for clients, where server.tls_cert is set
        self.proc, self.port, self.starts = None, 0, 0

    # --- life ----------------------------------------------------------------
    def argv(self):
        sets = [f"--set={k}={v}" for k, v in self.options.items() if v is not None]
        return [*self.wrap, str(ringback()), "serve",
                *(x for s in sets for x in ("--set", s.removeprefix("--set=")))]

    def spawn(self):
        """Start the process without waiting for anything."""
        assert self.proc is None or self.proc.poll() is not None, "it runs already"
        self.starts += 1
        self.log_file = self.folder / f"log-{self.starts}.txt"
        with open(self.log_file, "wb") as out:
            self.proc = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                         cwd=self.folder, env=clean_env(self.env), pass_fds=self.pass_fds)
        return self

    def start(self, limit=20):
        self.spawn()
        m = until(self._listening, limit, lambda: f"the server listens; its log: {self.log()[-2000:]}")
        self.port = int(m.group(1))
        with self.client() as c:
            reply = c.post(b'{"id":1,"method":"no.such.method"}')
            expected = (401, -32001) if self.options.get("auth.tokens_file") else (200, -32601)
            assert (reply.status, reply.error["code"]) == expected, reply
        return self

    def _listening(self):
        m = LISTENING.search(self.log())
        if m is None and self.proc.poll() is not None:
            raise AssertionError(f"the server ended with {self.proc.returncode}: {self.log()[-2000:]}")
        return m

    @property
    def pid(self):
        """The server's own, also under a wrapper such as strace."""
        if not self.wrap:
            return self.proc.pid
        children = pathlib.Path(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children")
        return int(children.read_text().split()[0])

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, limit=30):
        try:
            return self.proc.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end within {limit} s: {self.log()[-2000:]}") from None

    def stop(self, expect=0, limit=40):
        if self.proc is None or self.proc.poll() is not None:
            return
        self.signal(signal.SIGTERM)
        code = self.wait(limit)
        assert code == expect, f"exit code {code}: {self.log()[-3000:]}"

    def kill(self):
        if self.proc is not None and self.proc.poll() is None:
            self.signal(signal.SIGKILL)
            self.wait()

    def restart(self):
        self.stop()
        return self.start()

    def alive(self):
        return self.proc.poll() is None

    def close(self):
        """The end of a test: gone, and no sanitizer had anything to say."""
        self.kill()
        self.check_sanitizers()

    def check_sanitizers(self):
        for f in sorted(self.folder.glob("log-*.txt")):
            text = f.read_text(errors="replace")
            m = SANITIZER.search(text)
            assert m is None, f"{f.name}: {text[max(0, m.start() - 500):m.start() + 4000]}"

    # --- what it says ----------------------------------------------------------
    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_log(self, pattern, limit=20):
        return until(lambda: re.search(pattern, self.log()), limit,
                     lambda: f"the log says {pattern}: {self.log()[-2000:]}")

    def client(self, **kw):
        return Client(self.port, **{"tls": self.tls, "path": self.options.get("server.path", "/api"), **kw})

    def listens(self):
        with socket.socket() as s:
            s.settimeout(2)
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    # --- what the store holds ----------------------------------------------------
    def rows(self, sql):
        """Of a server that runs a read transaction beside it; else of a copy, so that what a crash
        left is not touched."""
        if self.proc is not None and self.alive():
            return self._ask(f"file:{urllib.parse.quote(str(self.store))}?mode=ro", sql)
        with tempfile.TemporaryDirectory() as tmp:
            for suffix in ("", "-wal"):
                source = pathlib.Path(str(self.store) + suffix)
                if source.exists():
                    shutil.copy(source, pathlib.Path(tmp) / ("copy.db" + suffix))
            return self._ask(f"file:{urllib.parse.quote(tmp)}/copy.db", sql)

    @staticmethod
    def _ask(uri, sql):
        db = sqlite3.connect(uri, uri=True, timeout=10)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def dead(self):
        """Job ids on the dead shelf."""
        return {job_id(seq, rnd) for seq, rnd in self.rows("select seq, rnd from dead")}

    def pending(self):
        return self.rows("select (select count(*) from job) + (select count(*) from wait)")[0][0]
