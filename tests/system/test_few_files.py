# SPDX-License-Identifier: Apache-2.0
"""A process that may open few files: callers wait for a place, deliveries do not fail."""
import json
import socket
import subprocess

import pytest
from lib.receiver import Answer
from lib.server import clean_env, ringback
from lib.wait import until

LIMIT, THREADS = 128, {"server.threads": "2"}


def post_until_served(server, body):
    """A caller who is told 503, or cut off, tries again; that it is never for long is the point."""
    def served():
        try:
            with server.client(timeout=5) as c:
                reply = c.post(body)
        except OSError:
            return None
        assert reply.status in (200, 503), reply
        return reply if reply.status == 200 else None
    return until(served, 10, "the call is answered", poll=0.05)


def batch(first, n, url):
    one = {"method": "test.echo", "params": {"$rpc.callback": url}}
    return json.dumps([{"id": i, **one} for i in range(first, first + n)]).encode()


def test_idle_callers_and_many_receivers(make_server, make_receiver):
    """Idle callers hold all they can get, and twenty receivers take their time."""
    receivers = [make_receiver() for _ in range(20)]
    server = make_server({**THREADS, "delivery.schedule": "30s"},
                         wrap=("prlimit", f"--nofile={LIMIT}:{LIMIT}"))
    server.wrap = ()  # it has become the server
    line = server.wait_log(r"server\.few_files\b.*limit=128 wanted=(\d+) connections=(\d+) in_flight=(\d+)")
    wanted, connections, in_flight = map(int, line.groups())
    assert wanted > 10000 + 4096 and 8 <= in_flight < 64 and 4 <= connections < 64
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    try:
        for k, r in enumerate(receivers):
            r.answer = Answer(200, delay=0.02)
            reply = post_until_served(server, batch(k * 15, 15, r.url()))
            assert reply.body.count(b'"result"') == 15, reply
        for k, r in enumerate(receivers):
            posts = r.wait(15, limit=40)
            assert {json.loads(p.body)["id"] for p in posts} == set(range(k * 15, k * 15 + 15))
            assert {p.headers["ringback-attempt"] for p in posts} == {"1"}, "an attempt had failed"
    finally:
        for s in idle:
            s.close()
    until(lambda: server.pending() == 0, 20, "nothing is left over")
    assert server.dead() == set() and "too many open files" not in server.log().lower()
    server.stop()


@pytest.mark.parametrize("limit", [30, 70])
def test_too_few_to_start(tmp_path, limit):
    r = subprocess.run(["prlimit", f"--nofile={limit}:{limit}", str(ringback()), "serve",
                        "--set", "server.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0",
                        "--set", "server.threads=2", "--set", f"store.dsn=sqlite:{tmp_path}/a.db"],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                       env=clean_env(), cwd=tmp_path)
    assert r.returncode == 1 and f"RLIMIT_NOFILE is {limit}" in r.stderr, r
    assert not (tmp_path / "a.db").exists()
