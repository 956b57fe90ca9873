# SPDX-License-Identifier: Apache-2.0
"""What the benches share: nginx as the yardstick, wrk as the load, a release build of
ringback with its default configuration, all on loopback and gone at the end.

Figures of one run are ratios: both sides are measured in turn, within seconds of each
other, by the same load generator; what is printed at the end is the median."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
NEEDED = ("nginx", "wrk", "openssl")


def say(text):
    print(text, file=sys.stderr, flush=True)


def tool(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        sys.exit(f"{name} is missing; script/bootstrap installs it")
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
    subprocess.run(["ninja", "-C", str(build)], check=True, stdout=subprocess.DEVNULL)
    return build / "src/app/ringback"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, limit, what):
    end = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > end:
            sys.exit(f"not within {limit} s: {what}")
        time.sleep(0.01)
    return value


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Bench:
    """A folder on a real disk and the processes of one run: `with Bench() as b`."""

    def __enter__(self):
        for name in NEEDED:
            tool(name)
        self.ringback = release_build()
        base = os.environ.get("BENCH_DIR") or ROOT
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="build-bench-", dir=base))
        kind = subprocess.run(["stat", "-f", "-c", "%T", str(self.folder)], capture_output=True, text=True).stdout.strip()
        if kind in ("tmpfs", "ramfs"):
            say("bench: WARNING: the store is in memory; set BENCH_DIR to a folder on a disk")
        version = subprocess.run([str(self.ringback), "--version"], capture_output=True, text=True).stdout.strip()
        print(f"{version or 'ringback'}, {os.cpu_count()} cores, store on {kind}, default configuration")
        self.running = []
        return self

    def __exit__(self, *exc):
        for p in self.running:
            self.end(p)
        shutil.rmtree(self.folder, ignore_errors=True)

    def spawn(self, argv, log, **kw):
        with open(self.folder / log, "ab") as out:
            p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 cwd=self.folder, **kw)
        self.running.append(p)
        return p

    def end(self, p, number=signal.SIGTERM):
        if p.poll() is None:
            p.send_signal(number)
            try:
                p.wait(30)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    # --- nginx: a fixed answer to every POST, plain and over TLS -------------------
    def nginx(self):
        self.plain, self.tls = free_port(), free_port()
        self.ca = self.folder / "receiver.crt"
        subprocess.run([tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", str(self.folder / "receiver.key"), "-out", str(self.ca)],
                       check=True, stderr=subprocess.DEVNULL)
        text = (ROOT / "bench/nginx.conf").read_text()
        for key, value in (("FOLDER", self.folder), ("PLAIN", self.plain), ("TLS", self.tls),
                           ("USER", "user root;" if os.geteuid() == 0 else "")):
            text = text.replace(f"@{key}@", str(value))
        conf = self.folder / "nginx.conf"
        conf.write_text(text)
        p = self.spawn([tool("nginx"), "-p", self.folder, "-c", conf, "-g", "daemon off;"], "nginx.log")
        wait_for(lambda: listening(self.tls) or p.poll() is not None, 10, "nginx listens")
        if p.poll() is not None:
            sys.exit((self.folder / "nginx.log").read_text())
        self.asked = 0

    def received(self):
        """Requests that nginx has answered, without those of this function."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.plain}/status") as r:
            text = r.read().decode()
        self.asked += 1
        return int(re.search(r"requests\s+\d+ \d+ (\d+)", text).group(1)) - self.asked

    # --- ringback, on a fresh store --------------------------------------------------
    def serve(self):
        self.stores = getattr(self, "stores", 0) + 1
        log = f"ringback-{self.stores}.log"
        demo = self.ringback.parents[2] / "examples/demo.so"
        env = {k: v for k, v in os.environ.items() if not k.startswith("RINGBACK_")}
        sets = ["server.listen=127.0.0.1:0", "admin.listen=", f"store.dsn=sqlite:{self.folder}/store-{self.stores}.db",
                f'method."demo.*".module={demo}', "callback.allow=127.0.0.0/8", f"delivery.ca_file={self.ca}"]
        p = self.spawn([self.ringback, "serve", *(x for s in sets for x in ("--set", s))], log, env=env)

        def port():
            if p.poll() is not None:
                sys.exit((self.folder / log).read_text())
            m = re.search(r"server\.listening\b.*?\bport=(\d+)", (self.folder / log).read_text())
            return m and int(m.group(1))
        return p, wait_for(port, 20, "ringback listens")

    def stored(self):
        """Jobs in the newest store; ringback has ended."""
        import sqlite3
        db = sqlite3.connect(self.folder / f"store-{self.stores}.db")
        n = db.execute("select (select count(*) from job) + (select count(*) from wait)").fetchone()[0]
        db.close()
        return n

    def drop_store(self):
        for f in self.folder.glob(f"store-{self.stores}.db*"):
            f.unlink()

    # --- wrk ---------------------------------------------------------------------------
    def wrk(self, url, body, connections, seconds, threads=2):
        """Answers, and answers a second. Ends the bench when any was not 2xx."""
        script = self.folder / "body.json"
        script.write_bytes(body)
        out = subprocess.run([tool("wrk"), f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "-s",
                              str(ROOT / "bench/post.lua"), url, "--", str(script)],
                             capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in out or "Socket errors" in out:
            sys.exit(f"wrk met errors at {url}:\n{out}")
        n = int(re.search(r"(\d+) requests in", out).group(1))
        return n, float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
