# SPDX-License-Identifier: Apache-2.0
"""What ringback is compared with, from Debian's and npm's packages (bench/bootstrap).

Each `start_…` answers what is running, or None, with a note, where a package is missing."""
import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess

from .context import ROOT, find, say
from .nginx import free_port, listening
from .processes import Wrong, wait_for

FETCHED = ROOT / "build-peers"
LIBRARIES = FETCHED / "usr/lib" / f"{os.uname().machine}-linux-gnu"


class Peer:
    def __init__(self, b, name, url, processes, folder=None):
        self.bench, self.name, self.url, self.processes, self.folder = b, name, url, processes, folder

    def end(self):
        for p in reversed(self.processes):
            self.bench.processes.end(p)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def missing(b, name):
    b.note(f"{name} is not here: `bench/bootstrap` fetches it.")
    say(f"bench: {name} is missing, bench/bootstrap fetches it; going on without it")


def environment():
    return {**os.environ, "NODE_PATH": str(FETCHED / "node_modules"), "NODE_ENV": "production",
            "LD_LIBRARY_PATH": f"{LIBRARIES}:{FETCHED / 'lib' / LIBRARIES.name}"}


def package_version(name):
    try:
        return json.loads((FETCHED / "node_modules" / name / "package.json").read_text())["version"]
    except (OSError, ValueError):
        return ""


def has_npm(*names):
    return find("node") and all(package_version(n) for n in names)


def postgres_bin():
    found = sorted([*pathlib.Path("/usr/lib/postgresql").glob("*/bin"), *FETCHED.glob("usr/lib/postgresql/*/bin")],
                   key=lambda p: float(p.parent.name))
    return found[-1] if found and (found[-1] / "initdb").exists() else None


def redis_server():
    path = FETCHED / "usr/bin/redis-server"
    return path if path.exists() else find("redis-server")


def versions():
    """Of those that are here."""
    def ask(argv, pattern):
        out = subprocess.run(argv, capture_output=True, text=True, env=environment()).stdout
        m = re.search(pattern, out)
        return m.group(1) if m else ""
    found = {}
    libraries = list(LIBRARIES.glob("libjsonrpccpp-server.so.*.*")) or \
        list(pathlib.Path("/usr/lib").glob("*/libjsonrpccpp-server.so.*.*"))
    if libraries:
        found["libjson-rpc-cpp"] = libraries[0].name.partition(".so.")[2]
    found.update({name: package_version(name) for name in ("jayson", "bullmq", "pg-boss", "undici")})
    if find("node"):
        found["Node"] = ask([find("node"), "--version"], r"v(\S+)")
    if redis_server():
        found["Redis"] = ask([str(redis_server()), "--version"], r"v=(\S+)")
    if postgres_bin():
        found["PostgreSQL"] = ask([str(postgres_bin() / "postgres"), "--version"], r"(\d+[.\d]*)")
    return {k: v for k, v in found.items() if v}


def spawn_ready(b, argv, name, limit=30):
    """A program that says `listening PORT`, or `ready`."""
    p = b.processes.spawn(argv, f"{name}-{b.next()}.log", env=environment())

    def ready():
        if p.poll() is not None:
            raise Wrong(f"{name} ended with {p.returncode}: {p.log.read_text()[-2000:]}")
        return re.search(r"^(?:listening (\d+)|ready)$", p.log.read_text(), re.M)
    m = wait_for(ready, limit, lambda: f"{name} is ready: {p.log.read_text()[-2000:]}", pause=0.02)
    return p, m.group(1)


def node(b, script, name, *args):
    p, port = spawn_ready(b, [find("node"), ROOT / "bench/peers" / script, *args], name)
    return p, f"http://127.0.0.1:{port}/" if port else None


# --- JSON-RPC servers ---------------------------------------------------------------
def start_jsonrpccpp(b):
    here = (FETCHED / "usr/include/jsonrpccpp").exists()
    if not here and not pathlib.Path("/usr/include/jsonrpccpp").exists():
        return missing(b, "libjson-rpc-cpp")
    places = [f"-I{FETCHED}/usr/include", f"-I{FETCHED}/usr/include/jsoncpp", f"-L{LIBRARIES}",
              f"-Wl,-rpath-link,{LIBRARIES}"] if here else ["-I/usr/include/jsoncpp"]
    program = b.compile("peers/jsonrpccpp.cpp", *places, "-ljsonrpccpp-server", "-ljsonrpccpp-common", "-ljsoncpp",
                        "-lmicrohttpd")
    for _ in range(5):
        port = free_port()
        p = b.processes.spawn([program, port, os.cpu_count()], f"jsonrpccpp-{b.next()}.log", env=environment())
        wait_for(lambda: listening(port) or p.poll() is not None, 10, "libjson-rpc-cpp listens")
        if p.poll() is None:
            return Peer(b, "libjson-rpc-cpp", f"http://127.0.0.1:{port}/", [p])
    raise Wrong(f"libjson-rpc-cpp does not start: {p.log.read_text()}")


def start_jayson(b):
    if not has_npm("jayson"):
        return missing(b, "jayson")
    p, url = node(b, "jayson.js", "jayson")
    return Peer(b, "jayson", url, [p])


# --- Durable queues, with a front that takes a job and a worker that posts it -----------
def start_bullmq(b, receiver):
    if not has_npm("bullmq", "ioredis", "undici") or not redis_server():
        return missing(b, "BullMQ (with Redis)")
    folder = b.folder / f"redis-{b.next()}"
    folder.mkdir()
    for _ in range(5):
        port = free_port()
        redis = b.processes.spawn([redis_server(), "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--appendonly",
                                   "yes", "--appendfsync", "always", "--save", ""], f"redis-{b.next()}.log",
                                  env=environment())
        wait_for(lambda: listening(port) or redis.poll() is not None, 10, "Redis listens")
        if redis.poll() is None:
            break
    else:
        raise Wrong(f"Redis does not start: {redis.log.read_text()[-2000:]}")
    worker, _ = node(b, "bullmq-worker.js", "bullmq-worker", port, receiver.tls_url, receiver.ca)
    front, url = node(b, "bullmq-front.js", "bullmq-front", port)
    return Peer(b, "BullMQ", url, [redis, worker, front], folder)


def start_postgres(b, folder):
    """A cluster of its own, on a Unix socket in `folder`; PostgreSQL refuses to run as root."""
    who = {}
    if os.geteuid() == 0:
        names = {u.pw_name: u for u in pwd.getpwall()}
        user = names.get("postgres") or names["nobody"]
        os.chown(folder, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data = folder / "data"
    made = subprocess.run([str(postgres_bin() / "initdb"), "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8",
                           "--locale=C"], capture_output=True, text=True, cwd=folder, env=environment(), **who)
    if made.returncode:
        raise Wrong(f"initdb: {made.stderr[-2000:]}")
    p = b.processes.spawn([postgres_bin() / "postgres", "-D", data, "-c", "listen_addresses=", "-k", folder],
                          f"postgres-{b.next()}.log", env=environment(), cwd=folder, **who)
    wait_for(lambda: (folder / ".s.PGSQL.5432").exists() or p.poll() is not None, 20, "PostgreSQL listens")
    if p.poll() is not None:
        raise Wrong(f"PostgreSQL does not start: {p.log.read_text()[-2000:]}")
    return p


def start_pgboss(b, receiver):
    if not has_npm("pg-boss", "undici") or not postgres_bin():
        return missing(b, "pg-boss (with PostgreSQL)")
    folder = b.folder / f"pg-{b.next()}"
    folder.mkdir()
    if len(str(folder)) > 85:
        b.note("pg-boss was left out: the folder's name is too long for a Unix socket.")
        return None
    postgres = start_postgres(b, folder)
    worker, _ = node(b, "pgboss-worker.js", "pgboss-worker", folder, receiver.tls_url, receiver.ca)
    front, url = node(b, "pgboss-front.js", "pgboss-front", folder)
    return Peer(b, "pg-boss", url, [postgres, worker, front], folder)
